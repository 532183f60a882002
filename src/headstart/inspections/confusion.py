"""Which classes a model takes for each other."""

import numpy as np

from headstart.core import Finding, Row
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
    sizes, right = (np.bincount(truth[some], minlength=classes) for some in (slice(None), truth == said))
    wrong = int((truth != said).sum())
    cells, counts = np.unique(
        truth.astype(np.int64) * classes + said, return_counts=True
    )  # of many classes most pairs are not there
    pairs = [(*divmod(cell, classes), count) for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)]
    pairs = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: (-pair[2], pair))
    items = [_row(trace, true, other, count, int(sizes[true])) for true, other, count in pairs[:SHOWN]]
    usual = wrong / max(1, len(judged)) / max(1, classes - 1)
    named = [item for item in items if item["count"] >= LEAST and classes > 2 and item["low"] > usual]
    recalled = {
        f"recall.{trace.names[place]}": proportion(int(right[place]), int(sizes[place]))
        for place in sorted(np.flatnonzero(sizes).tolist(), key=lambda place: right[place] / sizes[place])[:SHOWN]
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


def _row(trace: Trace, true: int, other: int, count: int, size: int) -> Row:
    low, high = wilson(count, size)
    return {
        "true": trace.names[true],
        "taken for": trace.names[other],
        "count": count,
        "of": size,
        "share": count / size,
        "low": float(low),
        "high": float(high),
    }


def _headline(named: list[Row], wrong: int, count: int) -> str:
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
