"""Other tasks than one class for an image, each against a peer on the same files: so far texts against transformers' Trainer.

    python benchmarks/tasks.py --sst2 FOLDER [--seeds 1] [--minutes 15] [--only head headstart trainer] [--peer-python PYTHON] [--report]

FOLDER holds train.tsv and dev.tsv (sentence, label). Each seed divides train.tsv anew: four fifths to train on, one to choose the
row; dev.tsv is read by nothing but the last judgement. Whole processes, one after another, on an idle machine: both entrants
have the same minutes (headstart's hold everything, Trainer's only its epochs). `--report` runs nothing. Rows already in
results/tasks.jsonl are not run again.
"""

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from entrants import ours_environment
from harness import RESULTS, ROOT, Table, last_json, measure, stoppable
from paired import compared, markdown, paired_t

Row = dict[str, Any]
SHARE = 0.2
"""Of train.tsv that chooses the row."""


def prepared(folder: Path, place: Path, seed: int) -> tuple[Path, Path, str]:
    """The table to train on with its parts, the one to judge by, and a name for the division."""
    table, test = place / "table.csv", place / "test.csv"
    rows = _read(folder / "train.tsv")
    order = np.random.default_rng(seed).permutation(len(rows))
    valid = set(order[: round(SHARE * len(rows))].tolist())
    parts = ["valid" if number in valid else "train" for number in range(len(rows))]
    _write(table, ["text", "label", "part"], [[*row, part] for row, part in zip(rows, parts, strict=True)])
    _write(test, ["text", "label"], _read(folder / "dev.tsv"))
    digest = hashlib.blake2b(table.read_bytes() + test.read_bytes(), digest_size=6).hexdigest()
    return table, test, digest


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [[row["sentence"], row["label"]] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def ours(table: Path, test: Path, seed: int, options: Sequence[str]) -> Row:
    """A process of headstart with a cache of its own."""
    with tempfile.TemporaryDirectory() as place:
        script = ROOT / "benchmarks/peers/headstart_text.py"
        command = [sys.executable, str(script), str(table), str(test), f"{place}/run", "--seed", str(seed), *options]
        found = measure(command, ours_environment(Path(place) / "cache"), Path(place))
    return {**found, **last_json(found.pop("printed"))}


def theirs(python: str, table: Path, test: Path, minutes: float, seed: int) -> Row:
    """A process of the peer."""
    with tempfile.TemporaryDirectory() as place:
        script = ROOT / "benchmarks/peers/hf_text.py"
        found = measure([python, str(script), str(table), str(test), f"{minutes:g}", "--seed", str(seed)], cwd=Path(place))
    return {**found, **last_json(found.pop("printed"))}


def report(rows: Sequence[Row], minutes: float) -> str:
    """Each entrant against headstart on the same divisions, paired by test text."""
    by = {(row["entrant"], row["repeat"], row["split"]): row for row in rows if row["case"] == "sst2"}
    name, lines = f"headstart {minutes:g} min", []
    for other in sorted({entrant for entrant, _, _ in by} - {name}):
        for entrant, repeat, split in sorted(by):
            if entrant != other or (name, repeat, split) not in by:
                continue
            one, two = by[other, repeat, split], by[name, repeat, split]
            differences = (np.array(two["losses"]) - np.array(one["losses"])).tolist()
            nll = f"{one['test']['nll']:.3f} -> {two['test']['nll']:.3f} ({paired_t(differences)})"
            errors = str(compared(one["wrong"], two["wrong"], one["test"]["n"]))
            lines.append([other, repeat, nll, errors, f"{one['seconds']:.0f} s, {two['seconds']:.0f} s"])
    return f"## -> {name}\n\n" + markdown(["entrant", "seed", "NLL (difference, 95 %)", "errors", "took"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sst2", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", default=["head", "headstart", "trainer"], choices=["head", "headstart", "trainer"])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    stoppable()
    table = Table("tasks", asked.results)
    for seed in () if asked.report else range(asked.seeds):
        with tempfile.TemporaryDirectory() as place:
            train, test, digest = prepared(asked.sst2, Path(place), seed)
            once = partial(table.tried, case="sst2", repeat=seed, split=digest)
            if "head" in asked.only:
                once("headstart head", run=partial(ours, train, test, seed, []))
            if "headstart" in asked.only:
                options = ["--minutes", f"{asked.minutes:g}"]
                once(f"headstart {asked.minutes:g} min", run=partial(ours, train, test, seed, options))
            if "trainer" in asked.only:
                once(f"trainer {asked.minutes:g} min", run=partial(theirs, asked.peer_python, train, test, asked.minutes, seed))
    print(report(table.rows(), asked.minutes))


if __name__ == "__main__":
    main()
