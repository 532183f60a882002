"""Other tasks than one class for an image, each against a peer on the same files.

    python benchmarks/tasks.py [--jobs sst2 camvid solar camvid_masks] [--sst2 FOLDER] [--camvid FOLDER] [--seeds 1] [--only head headstart pace peer]
        [--peer-python PYTHON] [--report]

sst2: texts, 15 minutes each, against transformers' Trainer. FOLDER holds train.tsv and dev.tsv (sentence, label); each seed divides
train.tsv anew (four fifths to train on, one to choose the row), dev.tsv is read by nothing but the last judgement.
camvid: the labels of street scenes (FOLDER/multilabel.csv), one minute against fastai's ten; mAP over labels that vary in the test part.
solar: the defect probability of the 2,624 cells of elpv-dataset, five minutes against fastai's fifty; RMSE and NLL. Both: 60 % train,
20 % choose the row, 20 % judge, by the seed.
camvid_masks: the masks of street scenes, ten minutes against thirty of fastai's U-Net (scenes.py).

Whole processes, one after another, on an idle machine: headstart's minutes hold everything, those of a peer only its epochs. fastai gets
as many epochs as fit at the pace that is measured once (`--only pace`, idle), so its rows may run beside other work. `--report` runs
nothing. Rows already in results/tasks.jsonl are not run again.
"""

import argparse
import csv
import hashlib
import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scenes
from entrants import paced, script_of_ours, script_of_peer
from harness import RESULTS, Table, stoppable
from paired import compared, markdown, paired_t

Row = dict[str, Any]
TEXT = "headstart_text.py"
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


def text_rows(table: Table, asked: argparse.Namespace, seed: int) -> None:
    """Whatever is missing of the texts and one seed."""
    with tempfile.TemporaryDirectory() as place:
        train, test, digest = prepared(asked.sst2, Path(place), seed)
        once = partial(table.tried, case="sst2", repeat=seed, split=digest)
        if "head" in asked.only:
            once("headstart head", run=partial(script_of_ours, TEXT, train, test, seed, []))
        if "headstart" in asked.only:
            options = ["--minutes", f"{asked.minutes:g}"]
            once(f"headstart {asked.minutes:g} min", run=partial(script_of_ours, TEXT, train, test, seed, options))
        if "peer" in asked.only:
            once(
                f"trainer {asked.minutes:g} min",
                run=partial(script_of_peer, "hf_text.py", asked.peer_python, train, test, asked.minutes, "--seed", seed),
            )


# ------------------------------------------------------------------------------------------------------- tables of images


def image_table(place: Path, rows: Sequence[Mapping[str, object]], seed: int) -> tuple[Path, str]:
    """The table with a part for each row, and a name for the division."""
    order = np.random.default_rng(seed).permutation(len(rows))
    shares = np.array(["train"] * len(rows), dtype=object)
    judged = round(SHARE * len(rows))
    shares[order[:judged]], shares[order[judged : 2 * judged]] = "test", "valid"
    table = place / "table.csv"
    head = [*rows[0], "part"]
    _write(table, head, [[*map(str, row.values()), part] for row, part in zip(rows, shares, strict=True)])
    return table, hashlib.blake2b(table.read_bytes(), digest_size=6).hexdigest()


def camvid(folder: Path) -> tuple[Path, list[dict[str, object]]]:
    """The folder of the scenes, and their labels."""
    with (folder / "multilabel.csv").open(newline="", encoding="utf-8") as file:
        return folder, [{"image": row.pop("file"), **row} for row in csv.DictReader(file)]


def solar(_: Path) -> tuple[Path, list[dict[str, object]]]:
    """The folder of the cells, and the probability of each that it is defective."""
    package = Path(str(importlib.import_module("elpv_dataset").__file__)).parent / "data"
    lines = (line.split() for line in (package / "labels.csv").read_text(encoding="utf-8").splitlines())
    return package, [{"image": line[0], "probability": float(line[1])} for line in lines if line]


def judged_labels(truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """mAP over the labels that some test images have and some lack; NLL over all."""
    from sklearn.metrics import average_precision_score

    vary = [at for at in range(truth.shape[1]) if 0 < truth[:, at].sum() < len(truth)]
    found = np.clip(said, 1e-7, 1 - 1e-7)
    losses = -(truth * np.log(found) + (1 - truth) * np.log(1 - found)).sum(1)
    mean = float(np.mean([average_precision_score(truth[:, at], said[:, at]) for at in vary]))
    return {"test": {"mAP": mean, "nll": float(losses.mean()), "n": len(truth), "labels": len(vary)}, "losses": losses.tolist()}


def judged_numbers(truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """RMSE, and the NLL of the Gaussians."""
    mean, deviation = said[:, 0], said[:, 1]
    away = truth[:, 0] - mean
    losses = 0.5 * np.log(2 * np.pi * deviation**2) + 0.5 * (away / deviation) ** 2
    rmse = float(np.sqrt((away**2).mean()))
    return {
        "test": {"rmse": rmse, "nll": float(losses.mean()), "n": len(truth)},
        "losses": losses.tolist(),
        "squares": (away**2).tolist(),
    }


@dataclass(frozen=True)
class Job:
    """A set of images, what is learned of it, and the minutes of both."""

    task: str
    read: Callable[[Path], tuple[Path, list[dict[str, object]]]]
    judged: Callable[[np.ndarray, np.ndarray], dict[str, Any]]
    minutes: float
    peer_minutes: float


JOBS = {
    "camvid": Job("multi_label", camvid, judged_labels, 1, 10),
    "solar": Job("regression", solar, judged_numbers, 5, 50),
}


def image_rows(table: Table, name: str, asked: argparse.Namespace, seed: int) -> None:
    """Whatever is missing of one set of images and seed."""
    job = JOBS[name]
    folder, rows = job.read(asked.camvid)
    with tempfile.TemporaryDirectory() as place:
        file, digest = image_table(Path(place), rows, seed)
        once = partial(table.tried, case=name, repeat=seed, split=digest)
        if "head" in asked.only:
            once("headstart head", run=partial(_ours, job, file, folder, seed, []))
        if "headstart" in asked.only:
            once(f"headstart {job.minutes:g} min", run=partial(_ours, job, file, folder, seed, ["--minutes", f"{job.minutes:g}"]))
        if {"peer", "pace"} & set(asked.only):
            script = partial(script_of_peer, "fastai_table.py", asked.peer_python, file, folder, "--task", job.task)
            paced(table, "fastai", name, seed, digest, job.peer_minutes, script, partial(_judged, job, file), asked.only)


def _ours(job: Job, file: Path, folder: Path, seed: int, options: list[str]) -> Row:
    return _judged(job, file, script_of_ours("headstart_table.py", file, folder, seed, ["--task", job.task, *options]))


def _judged(job: Job, file: Path, told: Row) -> Row:
    """The row with its figures on the test part, by one rule for every entrant."""
    with file.open(newline="", encoding="utf-8") as opened:
        test = [row for row in csv.DictReader(opened) if row["part"] == "test"]
    truth = np.array([[float(row[name]) for name in told["names"]] for row in test])
    judged = job.judged(truth, np.array(told.pop("said")))
    return {**told, **judged}


# ---------------------------------------------------------------------------------------------------------------- report


def report_images(rows: Sequence[Row]) -> str:
    """Every row of the sets of images, with the difference in NLL to headstart by the minutes on the same division."""
    lines = []
    judged = [row for row in rows if row["case"] in JOBS and "test" in row]
    for row in judged:
        name = f"headstart {JOBS[row['case']].minutes:g} min"
        same = [each for each in judged if (each["entrant"], each["split"]) == (name, row["split"])]
        differs = "" if not same else str(paired_t((np.array(same[0]["losses"]) - np.array(row["losses"])).tolist()))
        figures = ", ".join(f"{key} {value:.4g}" for key, value in row["test"].items())
        lines.append([row["case"], row["repeat"], row["entrant"], figures, differs, f"{row['seconds']:.0f} s"])
    return markdown(["set", "seed", "entrant", "test part", "NLL of headstart by the minutes, less this", "took"], lines)


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
    parser.add_argument("--jobs", nargs="+", default=["sst2"], choices=["sst2", *JOBS, scenes.CASE])
    parser.add_argument("--sst2", type=Path, default=Path("sst2"))
    parser.add_argument("--camvid", type=Path, default=Path("camvid"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", default=["head", "headstart", "peer"], choices=["head", "headstart", "pace", "peer"])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    stoppable()
    table = Table("tasks", asked.results)
    for seed in () if asked.report else range(asked.seeds):
        for name in asked.jobs:
            if name == scenes.CASE:
                scenes.rows(table, asked.camvid, asked.peer_python, asked.only, seed)
            elif name in JOBS:
                image_rows(table, name, asked, seed)
            else:
                text_rows(table, asked, seed)
    print(report(table.rows(), asked.minutes))
    print(report_images(table.rows()))
    print(scenes.report(table.rows()))


if __name__ == "__main__":
    main()
