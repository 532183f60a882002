"""The masks of street scenes: ten minutes of headstart against thirty of fastai's U-Net with the same encoder. A part of tasks.py.

The 160 training scenes are divided anew by each seed (four fifths to train on, one to choose the row); the other 60 are read by nothing
but the last judgement, at their full size: mIoU over 11 classes, the NLL of a pixel.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from entrants import paced, script_of_ours, script_of_peer
from harness import Table
from paired import markdown, paired_t

Row = dict[str, Any]
CASE = "camvid_masks"
SHARE = 0.2
MINUTES, PEER_MINUTES = 10.0, 30.0
DRAWS = 1000


def divided(folder: Path, place: Path, seed: int) -> str:
    """Links to the training scenes and their masks in folders train and valid, and a name for the division."""
    images = sorted((folder / "train").iterdir())
    order = np.random.default_rng(seed).permutation(len(images))
    valid = set(order[: round(SHARE * len(images))].tolist())
    names = []
    for number, image in enumerate(images):
        part = "valid" if number in valid else "train"
        names.append(f"{part} {image.name}")
        for side, file in ((part, image), (f"{part}_masks", folder / "train_masks" / f"{image.stem}.png")):
            (place / side).mkdir(exist_ok=True)
            (place / side / file.name).symlink_to(file)
    return hashlib.blake2b("\n".join(names).encode(), digest_size=6).hexdigest()


def rows(table: Table, folder: Path, peer_python: str, only: Sequence[str], seed: int) -> None:
    """Whatever is missing of one seed."""
    with tempfile.TemporaryDirectory() as place:
        split = divided(folder, Path(place), seed)
        once = partial(table.tried, case=CASE, repeat=seed, split=split)
        if "head" in only:
            once("headstart head", run=partial(_ours, Path(place), folder, seed, []))
        if "headstart" in only:
            once(f"headstart {MINUTES:g} min", run=partial(_ours, Path(place), folder, seed, ["--minutes", f"{MINUTES:g}"]))
        if {"peer", "pace"} & set(only):
            script = partial(script_of_peer, "fastai_masks.py", peer_python, place, folder)
            paced(table, "fastai", CASE, seed, split, PEER_MINUTES, script, _judged, only)


def _ours(data: Path, test: Path, seed: int, options: Sequence[str]) -> Row:
    return _judged(script_of_ours("headstart_masks.py", data, test, seed, options))


def _judged(told: Row) -> Row:
    every = _tables(told)
    figures = {"miou": miou(every.sum(0)), "pixel_accuracy": float(np.trace(every.sum(0)) / every.sum())}
    return {**told, "test": {**figures, "nll": float(np.mean(told["losses"])), "n": len(every)}}


def _tables(row: Row) -> np.ndarray:
    flat = np.array(row["confusions"], float)
    side = round(flat.shape[1] ** 0.5)
    return flat.reshape(len(flat), side, side)


def miou(total: np.ndarray) -> float:
    """Mean intersection over union of the classes that are there or named."""
    shared = np.diag(total)
    whole = total.sum(0) + total.sum(1) - shared
    return float((shared[whole > 0] / whole[whole > 0]).mean())


def differs(one: Row, other: Row) -> str:
    """How much larger the mIoU of `other` is, with the 95 % percentile interval over images drawn anew, the same for both."""
    a, b = _tables(one), _tables(other)
    counts = np.random.default_rng(0).multinomial(len(a), np.full(len(a), 1 / len(a)), DRAWS)
    found = [miou(np.tensordot(each, b, 1)) - miou(np.tensordot(each, a, 1)) for each in counts]
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{miou(b.sum(0)) - miou(a.sum(0)):+.3f} ({low:+.3f} to {high:+.3f})"


def report(found: Sequence[Row]) -> str:
    """Every row, with headstart by the minutes against it on the same division."""
    lines = []
    judged = [row for row in found if row["case"] == CASE and "test" in row]
    for row in judged:
        name = f"headstart {MINUTES:g} min"
        same = [each for each in judged if (each["entrant"], each["split"]) == (name, row["split"])]
        pair = ["", ""]
        if same and same[0] is not row:
            losses = (np.array(same[0]["losses"]) - np.array(row["losses"])).tolist()
            pair = [differs(row, same[0]), str(paired_t(losses))]
        figures = ", ".join(f"{key} {value:.4g}" for key, value in row["test"].items())
        lines.append([row["repeat"], row["entrant"], figures, *pair, f"{row['seconds']:.0f} s"])
    return markdown(["seed", "entrant", "test part", "mIoU of headstart more by", "its NLL less this", "took"], lines)
