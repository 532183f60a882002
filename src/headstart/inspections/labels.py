"""Labels that look wrong: what heads that have not seen a label say of its example.

The features of the body as it was published know nothing of these labels, so heads that are solved without a fold judge it as they
would judge new examples. A label is suspected where another class is more probable, and at least as probable as it is on average for
the examples that carry its label (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels",
section 3). The most suspicious is the one with the smallest margin, log p(given) - log p(best other).
"""

import numpy as np
from jaxtyping import Float, Int

from headstart.core import Finding, Picture, Strip
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import proportion

QUESTION = "Which labels look wrong?"
NEEDS = ("classes", "crossed")
SHOWN = 24
LISTED = 1000
MANY = 0.03
"""Suspects among all from which on the labels are worth an hour's work."""


def inspect(trace: Trace) -> Finding:
    """Suspects among all labels, the most suspicious first, each with the label that it looks like."""
    assert trace.classes is not None and trace.crossed is not None, "NEEDS says so"
    margins, others, suspected = judged(trace.crossed.astype(np.float64), trace.classes)
    order = np.flatnonzero(suspected)[np.argsort(margins[suspected], kind="stable")]
    count, names = len(trace.ids), trace.names
    items = [
        {
            "id": trace.ids[place],
            "given": names[trace.classes[place]],
            "suggested": names[others[place]],
            "margin": float(margins[place]),
            "part": "valid" if trace.valid[place] else "train",
        }
        for place in order[:LISTED].tolist()
    ]
    share = proportion(len(order), count)
    return Finding(
        "labels",
        QUESTION,
        f"{len(order):,} of {count:,} labels look wrong ({100 * share.value:.1f} %)."
        if len(order)
        else f"None of {count:,} labels looks wrong.",
        "bad" if share.value > MANY else "look" if len(order) else "good",
        {"suspected": share},
        items,
        _strips(trace, order[:SHOWN], items),
        caveats=(
            "Judged by heads on the features of the published body, each without the example that it judges: hard but rightly labelled "
            "examples are among the suspects, and errors that all look alike are not.",
        ),
        advice="Look at them, the first ones first. headstart applies corrections from a label file (path,label,action,part,reason) and "
        "never changes your files."
        if len(order)
        else "",
    )


def judged(
    logits: Float[np.ndarray, "examples classes"], given: Int[np.ndarray, " examples"]
) -> tuple[Float[np.ndarray, " examples"], Int[np.ndarray, " examples"], np.ndarray]:
    """Of each example its margin, the most probable class other than the given one, and whether its label is suspected."""
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    probs, every = np.exp(logs), np.arange(len(given))
    usual = np.array(
        [probs[given == number, number].mean() if (given == number).any() else np.inf for number in range(logits.shape[1])]
    )
    own = logs[every, given]
    rest = logs.copy()
    rest[every, given] = -np.inf
    others = rest.argmax(1)
    margins = own - rest[every, others]
    suspected = (margins < 0) & (probs[every, others] >= usual[others])
    return margins, others, suspected


def _strips(trace: Trace, places: np.ndarray, items: list) -> tuple[Strip, ...]:
    if trace.pictures is None or not len(places):
        return ()
    pictures = trace.pictures(places.tolist())
    return (
        Strip(
            "The most suspicious labels",
            tuple(
                Picture(pixels, f"labelled {item['given']}, looks like {item['suggested']}", item["id"])
                for pixels, item in zip(pictures, items, strict=False)
            ),
        ),
    )


def plant(seed: int) -> Plant:
    """Every tenth of three hundred labels is another than the example's class."""
    truth = np.arange(300) % 3
    said = logits(truth, 3, seed, margin=6.0)
    given = truth.copy()
    wrong = np.arange(0, 300, 10)
    given[wrong] = (truth[wrong] + 1) % 3
    names = {f"{place}.jpg" for place in wrong}
    crossed = said.astype(np.float32)
    return Plant(
        trace(said, given, crossed=crossed),
        trace(said, truth, crossed=crossed),
        lambda found: len(names & {item["id"] for item in found.items[: len(names)]}) >= 0.9 * len(names),
    )
