"""Is "more" a restart? 5 epochs and then 5 more, in a process of their own, against 10 straight.

    python benchmarks/more.py --data trashnet=FOLDER --data cats_dogs=FOLDER [--sets ...] [--seeds 5] [--epochs 5]

The same splits as in quality.py. Told for each set: test errors and NLL of the kept rows of both, the compute (optimizer steps,
those that are trained again included, and seconds of training), and whether the continued table is one: epochs 0, 1, 2, ... once
each. Both find pixels and features in the cache. Rows already in results/more.jsonl are not run again.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import entrants
from harness import RESULTS, Table, last_json, measure, stoppable
from paired import NO_ERRORS, compared, markdown, ratios
from sets import PLACE, Divided, available, divided, parse_folders

Row = dict[str, Any]
SUMMED = ("wall", "cpu", "steps", "training_seconds")


def process(split: Divided, run: Path, cache: Path, epochs: int, settings: list[str], *options: str) -> Row:
    """One process of headstart on a run folder."""
    named = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, str(entrants.OURS), str(split.folder), str(run), "--epochs", str(epochs)]
    found = measure([*command, "--seed", str(split.seed), *options, *named], entrants.ours_environment(cache), run.parent)
    said = last_json(found.pop("printed"))
    return {**found, **entrants.flat(said)}


def straight(split: Divided, cache: Path, epochs: int, settings: list[str]) -> Row:
    """All epochs at once."""
    with tempfile.TemporaryDirectory() as place:
        row = process(split, Path(place) / "run", cache, 2 * epochs, settings)
    return described(row, 2 * epochs)


def continued(split: Divided, cache: Path, epochs: int, settings: list[str]) -> Row:
    """Half of them, and the other half in a second process."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        first = process(split, run, cache, epochs, settings)
        second = process(split, run, cache, epochs, [], "--go-on")
    return described({**second, **{key: first[key] + second[key] for key in SUMMED}}, 2 * epochs)


def described(row: Row, epochs: int) -> Row:
    """The row with what its table says."""
    numbers = [each["epoch"] for each in row["rows"]]
    return {**row, "continuous": numbers == list(range(epochs + 1)), "last_valid": row["rows"][-1]["valid_loss"]}


def warmed(split: Divided, cache: Path, settings: list[str]) -> None:
    """Pixels and features into the cache, so that neither of the two pays for them alone."""
    with tempfile.TemporaryDirectory() as place:
        process(split, Path(place) / "run", cache, 0, settings)


def report(rows: list[Row], epochs: int) -> str:
    """Straight against continued, set by set."""
    lines, pooled, steps, seconds = [], NO_ERRORS, [], []
    by = {(row["entrant"], row["case"], row["repeat"], row["split"]): row for row in rows}
    one, other = f"{2 * epochs} straight", f"{epochs} then {epochs} more"
    for name in dict.fromkeys(row["case"] for row in rows):
        keys = [key[1:] for key in by if key[:2] == (one, name) and (other, *key[1:]) in by]
        if not keys:
            continue
        a, b = [by[one, *key] for key in keys], [by[other, *key] for key in keys]
        wrong = sum((compared(x["wrong"], y["wrong"], x["test"]["n"]) for x, y in zip(a, b)), NO_ERRORS)
        pooled += wrong
        nll = ratios([y["test"]["nll"] for y in b], [x["test"]["nll"] for x in a])
        last = ratios([y["last_valid"] for y in b], [x["last_valid"] for x in a])
        steps += [y["steps"] / x["steps"] for x, y in zip(a, b)]
        seconds += [y["training_seconds"] / x["training_seconds"] for x, y in zip(a, b)]
        costs = [f"{steps[-1]:.3f}", f"{sum(seconds[-len(a) :]) / len(a):.2f}"]
        kept = " ".join(f"{x['kept']}/{y['kept']}" for x, y in zip(a, b))
        whole = f"{sum(y['continuous'] for y in b)} of {len(b)}"
        lines.append([name, wrong, nll, last, *costs, whole, kept])
    if not lines:
        return f"no split has rows of both {one} and {other} yet."
    head = ["set", "errors straight -> continued", "test NLL ratio", "last row's valid NLL ratio", "steps ratio", "seconds ratio"]
    table = markdown([*head, "one continuous table", "kept rows of both"], lines)
    most = f"most steps {max(steps):.3f}, most seconds {max(seconds):.2f} times those of straight"
    return f"{table}\n\nerrors pooled, straight -> continued: {pooled} (goal: within 0.3 points)\n{most} (goal: at most 1.2)\n"


def main() -> None:
    """Runs what is missing, then prints the table of all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", default=["solar_cells", "trashnet", "cats_dogs"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of each half")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of headstart, in JSON")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that may have the packages of images")
    parser.add_argument("--place", type=Path, default=PLACE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    stoppable()
    table = Table("more", asked.results)
    read = {} if asked.report else available(asked.sets, parse_folders(asked.data), asked.peer_python)
    both = ((f"{2 * asked.epochs} straight", straight), (f"{asked.epochs} then {asked.epochs} more", continued))
    for seed in range(asked.seeds):
        for name in read:
            split = divided(name, read[name], seed, asked.place)
            missing = [pair for pair in both if table.kept(pair[0], name, seed, split=split.digest) is None]
            with tempfile.TemporaryDirectory() as cache:
                if missing:
                    try:
                        warmed(split, Path(cache), asked.set)
                    except RuntimeError as error:
                        print(f"{name}, seed {seed}: {error}", flush=True)
                        continue
                for entrant, run in missing if seed % 2 else reversed(missing):  # neither is always first
                    run_it = partial(run, split, Path(cache), asked.epochs, asked.set)
                    table.tried(entrant, name, seed, run_it, split=split.digest)
    print(report(table.rows(), asked.epochs))


if __name__ == "__main__":
    main()
