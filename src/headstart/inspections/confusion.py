"""Which classes a model takes for each other."""

import numpy as np

from headstart.core import Finding
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import proportion, wilson

QUESTION = "Which classes does it mix up?"
NEEDS = ("classes",)
SHOWN = 10
LEAST = 3
"""Confusions of one class for another from which on they are more than a slip."""


def inspect(trace: Trace) -> Finding:
    """For each ordered pair of classes how often the one was taken for the other, by its share of the true class, with Wilson's interval.

    A pair is named where the lower bound of its share is above the mean share of all pairs: more than its part of the errors.
    """
    judged = trace.judged()
    assert trace.classes is not None, "NEEDS says so"
    truth, said, classes = trace.classes[judged], trace.said[judged].argmax(1), len(trace.names)
    matrix = np.bincount(truth * classes + said, minlength=classes * classes).reshape(classes, classes)
    sizes, wrong = matrix.sum(1), int((truth != said).sum())
    pairs = [(a, b) for a in range(classes) for b in range(classes) if a != b and matrix[a, b]]
    pairs.sort(key=lambda pair: (-matrix[pair], pair))
    items = [_row(trace, matrix, sizes, pair) for pair in pairs[:SHOWN]]
    usual = wrong / max(1, len(judged)) / max(1, classes - 1)
    named = [item for item in items if item["count"] >= LEAST and classes > 2 and item["low"] > usual]
    recalled = {
        f"recall.{trace.names[place]}": proportion(int(matrix[place, place]), int(sizes[place]))
        for place in np.argsort(np.diag(matrix) / np.maximum(sizes, 1), kind="stable")[:SHOWN].tolist()
        if sizes[place]
    }
    return Finding(
        "confusion",
        QUESTION,
        _headline(named, wrong, len(judged)),
        "look" if named else "good",
        {"error_rate": proportion(wrong, len(judged)), **recalled},
        items,
        caveats=("Intervals are 95 % for each pair by itself; of many pairs one or the other is beyond it by chance.",),
        advice="Look whether a person can tell them apart in these pictures. If so, more examples of both help most; if not, join the classes."
        if named
        else "",
    )


def _row(trace: Trace, matrix: np.ndarray, sizes: np.ndarray, pair: tuple[int, int]) -> dict:
    true, said = pair
    low, high = wilson(matrix[pair], sizes[true])
    return {
        "true": trace.names[true],
        "taken for": trace.names[said],
        "count": int(matrix[pair]),
        "of": int(sizes[true]),
        "share": float(matrix[pair] / sizes[true]),
        "low": float(low),
        "high": float(high),
    }


def _headline(named: list[dict], wrong: int, count: int) -> str:
    if not wrong:
        return f"None of {count:,} validation examples is taken for another class."
    if not named:
        return f"{wrong:,} of {count:,} are wrong, and no two classes are mixed up more than all others."
    first = named[0]
    return (
        f"{first['count']:,} of {first['of']:,} {first['true']} are taken for {first['taken for']} "
        f"({100 * first['low']:.0f} to {100 * first['high']:.0f} %), more than any other pair."
    )


def plant(seed: int) -> Plant:
    """A quarter of one class of four is taken for one other."""
    truth = np.arange(400) % 4
    good = logits(truth, 4, seed, margin=6.0)
    bad = good.copy()
    moved = np.flatnonzero(truth == 2)[::3]
    bad[moved] = logits(np.ones(len(moved), np.int64), 4, seed + 1, margin=8.0)
    every = np.ones(400, bool)
    return Plant(
        trace(bad, truth, every),
        trace(good, truth, every),
        lambda found: found.items[0]["true"] == "class 2" and found.items[0]["taken for"] == "class 1",
    )
