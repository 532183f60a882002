"""What step 2 is worth, and against fastai: test NLL and errors of row 0, of the kept row after so many minutes, and of peers.

    python benchmarks/quality.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...]
        [--seeds 3] [--minutes 3] [--also-minutes 1 10] [--peer-python PYTHON_WITH_FASTAI]
        [--only headstart|layers|decided|fastai|bare|trainer ...] [--head-only] [--peer-minutes fastai=30 ...] [--report]
    python benchmarks/quality.py ... --time fastai       first, on the idle machine: how long fastai's epochs take

headstart: with a head that sees the last layer (`features="last"`); layers: all of them; decided: what the evidence says, which is
what a user gets who says nothing.

solar_cells and textile come from the packages elpv-dataset and conformal-clip-data, of this Python or of the peer's. Each seed
is a new split: 60 % train, 20 % choose the row, 20 % judge; every entrant gets the very same three folders. Whole processes,
one after another, each with an empty cache. fastai knows no deadline: it trains for as many epochs as fit into its minutes
(30 by default; so do the other peers, the bare loop into 3) at the pace that `--time fastai` measured, so it may run beside other work,
or at a low priority, without changing its figures. What its Python needs (timm and the weights too) stands at the head of
peers/fastai_fine_tune.py; the extra `bench` installs it. `--report` runs nothing. Rows already in results/quality.jsonl are
not run again; a failed entrant is told and left out.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import entrants
from harness import RESULTS, Table, stoppable
from paired import NO_ERRORS, Errors, Interval, compared, markdown, paired_t, ratios
from sets import PLACE, SETS, Divided, available, divided, parse_folders

Row = dict[str, Any]
HEAD = "headstart head"
WIDER = {"layers": ("{}, all layers", "layers"), "decided": ("{}, decided", "auto")}
"""Entrants whose head sees more than the last layer, or what the evidence says: their names, and what they ask for."""


def ours(minutes: float) -> str:
    """The name of headstart given so many minutes."""
    return f"headstart {minutes:g} min"


# ------------------------------------------------------------------------------------------------------------- running


def run_set(table: Table, split: Divided, asked: argparse.Namespace) -> None:
    """Whatever is missing of one set and seed."""
    once = partial(table.tried, case=split.name, repeat=split.seed, split=split.digest)
    for entrant, (name, seen) in {"headstart": ("{}", "last"), **WIDER}.items():
        if entrant not in asked.only:
            continue
        settings = [*asked.set, f'features="{seen}"']
        once(name.format(HEAD), run=partial(entrants.headstart, split, "--epochs", "0", settings=settings))
        for minutes in () if asked.head_only else (asked.minutes, *asked.also_minutes):
            run = partial(entrants.headstart, split, "--minutes", f"{minutes:g}", settings=settings)
            once(name.format(ours(minutes)), run=run)
    for name, minutes in entrants.parse_minutes(asked.peer_minutes).items():
        if name in asked.only:
            pace = entrants.pace(table, name, split)
            if pace is None:
                print(f"{name}: its pace is not known; run --time {name} on the idle machine first.", flush=True)
                continue
            once(entrants.theirs(name, minutes), run=partial(_peer_row, name, pace, minutes, split, asked))


def _peer_row(name: str, pace: entrants.Pace, minutes: float, split: Divided, asked: argparse.Namespace) -> Row:
    epochs = pace.epochs(minutes)
    row = entrants.peer(name, asked.peer_python, split, epochs, asked.peer_options.split())
    planned = {"epochs": epochs, "minutes_at_pace": round(pace.after(epochs) / 60, 2)}
    return {**row, **planned, "pace": [pace.before, pace.epoch, pace.source]}


# ----------------------------------------------------------------------------------------------------------- reporting


def pairs(rows: Iterable[Row], name: str, one: str, other: str) -> list[tuple[Row, Row]]:
    """Rows of two entrants on the same splits of a set, by seed."""
    by: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        if row["case"] == name and "split" in row:
            by[row["entrant"], row["repeat"], row["split"]] = row
    first = {key[1:]: row for key, row in by.items() if key[0] == one}
    return [(first[key], by[other, *key]) for key in sorted(first) if (other, *key) in by]


def errors(both: Sequence[tuple[Row, Row]]) -> Errors:
    """Errors of the pairs summed, the first against the second."""
    return sum((compared(a["wrong"], b["wrong"], a["test"]["n"]) for a, b in both), NO_ERRORS)


def nll(both: Sequence[tuple[Row, Row]]) -> tuple[Interval, list[float]]:
    """Ratio of the second's NLL to the first's: geometric mean with interval, and each seed's."""
    first, second = ([pair[side]["test"]["nll"] for pair in both] for side in (0, 1))
    return ratios(second, first), [b / a for a, b in zip(first, second)]


def report(rows: list[Row], one: str, other: str, names: Sequence[str], nll_goal: str) -> str:
    """Two entrants compared on every set where both have rows, as Markdown."""
    lines, means, pooled = [], [], NO_ERRORS
    for name in names:
        both = pairs(rows, name, one, other)
        if not both:
            continue
        interval, each = nll(both)
        wrong = errors(both)
        plain = paired_t([b["test"]["nll"] - a["test"]["nll"] for a, b in both])
        # not above: the interval of the ratio does not lie wholly above 1
        verdict = "lower" if interval.high < 1 else "ABOVE" if interval.low > 1 else "not told apart"
        seconds = [sum(pair[side].get("taken", pair[side]["wall"]) for pair in both) / len(both) / 60 for side in (0, 1)]
        took = f"{_minutes(both, 0, seconds[0])}, {_minutes(both, 1, seconds[1])}"
        lines.append([name, " ".join(f"{ratio:.2f}" for ratio in each), interval, verdict, plain, wrong, took])
        means.append(interval.mean)
        pooled += wrong
    if not lines:
        return f"## {one} -> {other}\n\nno split has rows of both.\n"
    head = ["set", "NLL ratios by seed", "geometric mean (95 %)", "NLL", "NLL difference", "errors", "minutes of each"]
    middle = ratios(means, [1.0] * len(means)).mean
    below = sum(mean < 1 for mean in means)
    return (
        f"## {one} -> {other}\n\n{markdown(head, lines)}\n\n"
        f"Geometric mean of the NLL ratios of {len(means)} sets: **{middle:.3f}** ({nll_goal}); lower on {below} of {len(means)}.\n"
        f"Errors pooled: {pooled}.\n"
    )


def _minutes(both: Sequence[tuple[Row, Row]], side: int, walled: float) -> str:
    """Minutes on the idle machine where a pace tells them, else as they were taken."""
    planned = [pair[side]["minutes_at_pace"] for pair in both if "minutes_at_pace" in pair[side]]
    return f"{sum(planned) / len(planned):.1f} (at its pace)" if planned else f"{walled:.1f}"


def main() -> None:
    """Runs what is missing, then prints the tables of all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--also-minutes", type=float, nargs="*", default=[], help="further runs for the curves")
    parser.add_argument(
        "--only", nargs="+", choices=["headstart", *WIDER, *entrants.PEERS], default=["headstart", *entrants.PEERS]
    )
    parser.add_argument("--head-only", action="store_true", help="no training by the clock")
    parser.add_argument("--time", nargs="+", choices=list(entrants.PEERS), default=[], help="measure the pace, run nothing else")
    parser.add_argument("--peer-minutes", nargs="+", default=[], metavar="NAME=MINUTES", help=f"by default {entrants.MINUTES}")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-options", default="", help="for the peers' scripts, e.g. '--workers 0'")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of headstart, in JSON")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--place", type=Path, default=PLACE, help="where the prepared folders are kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    asked = parser.parse_args()
    stoppable()
    table = Table("quality", asked.results)
    if not asked.report:
        read = available(asked.sets, parse_folders(asked.data), asked.peer_python)
        for seed in range(asked.first_seed, asked.first_seed + (1 if asked.time else asked.seeds)):
            for name in read:
                split = divided(name, read[name], seed, asked.place)
                for peer in asked.time:
                    run = partial(entrants.timed, peer, asked.peer_python, split, asked.peer_options.split())
                    table.tried(f"{peer} pace", name, seed, run, split=split.digest)
                if not asked.time:
                    run_set(table, split, asked)
    rows, main_run = table.rows(), ours(asked.minutes)
    names = [name for name in dict.fromkeys((*SETS, *(row["case"] for row in rows))) if name in asked.sets]
    print(report(rows, HEAD, main_run, names, "goal: at most 0.85"))
    for name in (HEAD, main_run):
        for wider, _ in WIDER.values():
            print(report(rows, name, wider.format(name), names, "below 1: seeing more than the last layer is better"))
    for name, minutes in entrants.parse_minutes(asked.peer_minutes).items():
        if any(row["entrant"] == entrants.theirs(name, minutes) for row in rows):
            print(report(rows, entrants.theirs(name, minutes), main_run, names, "below 1: headstart is better"))


if __name__ == "__main__":
    main()
