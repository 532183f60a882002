"""Labels that look wrong: what those say of an example that have not seen its label.

The features of the body as it was published know nothing of these labels, nor do the means and maxima of the channels of its later layers,
which tell materials. Two judge each example by them: heads that are solved without its fold, and the labels of the 20 examples that are
nearest to it. Their mean log-probability finds more than either (docs/log.md). A label is suspected where another class is more probable,
and at least as probable as it is on average for the examples that carry its label (Northcutt, Jiang and Chuang 2021, "Confident learning:
estimating uncertainty in dataset labels", section 3). The most suspicious is the one with the smallest margin, log p(given) - log p(best other).
"""

import numpy as np
from jaxtyping import Float, Int

from headstart.core import Finding
from headstart.curvature import softmax
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Look, Trace, missing
from headstart.metrics.measured import proportion
from headstart.modalities._scan import counted
from headstart.train.head_solve import solve_softmax

QUESTION = "Which labels look wrong?"
NEEDS = ("classes", "folds", "before")
WANTS = ("layers",)
"""What makes the answer better, where there is such."""
NEAREST, SHARPNESS, PSEUDO = 20, 10.0, 0.1
"""Neighbours that vote, how fast a vote falls with the cosine, and what every class has before any vote."""
AT_ONCE = 1024
SHOWN = 24
LISTED = 1000
BESIDE = 0.5
"""Of the spread of the features, that of each block beside them."""
SURE = 0.5
"""From which probability of the suggested class on a correction is written. A refit with these is better than with the surest alone (.8),
and than one without the doubtful examples (docs/log.md)."""
MANY = 0.03
"""Suspects among all from which on the labels are worth an hour's work."""


def inspect(trace: Trace) -> Finding:
    """Suspects among all labels, the most suspicious first, each with the label that it looks like."""
    assert trace.classes is not None and trace.folds is not None and trace.before is not None, "NEEDS says so"
    believed = beliefs(wide(trace.before), trace.classes, len(trace.names), trace.folds, trace.copies)
    probs = softmax(believed)
    margins, others, suspected = judged(believed, trace.classes)
    alone = _alone(trace.classes, trace.copies)
    suspected &= ~alone
    order = np.flatnonzero(suspected)[np.argsort(margins[suspected], kind="stable")]
    count, names = len(trace.ids), trace.names
    items = [
        {
            "id": trace.ids[place],
            "given": names[trace.classes[place]],
            "suggested": names[others[place]],
            "probability": float(probs[place, others[place]]),
            "margin": float(margins[place]),
            "part": "valid" if trace.valid[place] else "train",
        }
        for place in order[:LISTED].tolist()
    ]
    share, right = proportion(len(order), count), proportion(int((believed.argmax(1) == trace.classes).sum()), count)
    if right.low is None or right.low <= np.bincount(trace.classes).max() / count:
        return missing(
            "labels",
            QUESTION,
            f"heads that have not seen a label are right about {100 * right.value:.0f} % of {count:,} examples, no better than by always naming "
            "the largest class. They can judge no label; more examples, or another backbone, may change that.",
        )
    return Finding(
        "labels",
        QUESTION,
        f"{len(order):,} of {count:,} labels look wrong ({100 * share.value:.1f} %)."
        if len(order)
        else f"None of {count:,} labels looks wrong.",
        "bad" if (share.low or 0.0) > MANY else "look" if len(order) else "good",
        {"suspected": share, "right without having seen the label": right},
        items,
        trace.strip(
            "The most suspicious labels",
            order[:SHOWN].tolist(),
            [f"labelled {item['given']}, looks like {item['suggested']}" for item in items[:SHOWN]],
        ),
        caveats=(
            *(
                [f"{counted(int(alone.sum()), 'example')} of a class without another one cannot be judged."]
                if alone.any()
                else ()
            ),
            "Judged by heads on the features of the published body, each without the example that it judges: hard but rightly labelled "
            "examples are among the suspects, and errors that all look alike are not.",
        ),
        advice="Look at them, the first ones first. --fixes FILE (report.fixes) writes corrections into a label file: strike out "
        "what you know better; train --labels FILE applies it and never changes your files."
        if len(order)
        else "",
        fixes=[
            {
                "path": item["id"],
                "label": item["suggested"],
                "action": "relabel",
                "reason": f"looks like {item['suggested']} ({100 * item['probability']:.0f} %), not {item['given']}",
            }
            for item in items
            if item["probability"] >= SURE
        ],
    )


def wide(look: Look) -> Float[np.ndarray, "examples numbers"]:
    """The features of the last layer, and beside them means and maxima of the channels of the later half of the layers, a quarter of the weight each.

    A layer whose means are the features is left out.
    """
    alone = look.features[:, : look.last]
    blocks, width = [_in_units(alone)], alone.shape[1]
    for layer in look.layers[len(look.layers) // 2 :]:
        if layer.means.shape[1] != width:
            share = BESIDE * np.sqrt(width / layer.means.shape[1])
            blocks += [share * _in_units(layer.means), share * _in_units(layer.highest)]
    return np.concatenate(blocks, axis=1, dtype=np.float32)


def _in_units(rows: Float[np.ndarray, "examples numbers"]) -> Float[np.ndarray, "examples numbers"]:
    """Of their common spread."""
    return (rows - rows.mean(0)) / max(float(rows.std(0).mean()), 1e-12)


def beliefs(
    rows: Float[np.ndarray, "examples numbers"],
    given: Int[np.ndarray, " examples"],
    classes: int,
    folds: Int[np.ndarray, " examples"],
    copies: Int[np.ndarray, " examples"] | None = None,
) -> Float[np.ndarray, "examples classes"]:
    """What both judges together say of each example, as logarithms of probabilities."""
    return (logs(heads(rows, given, classes, folds)) + neighbours(rows, given, classes, copies)) / 2


def heads(
    rows: Float[np.ndarray, "examples numbers"],
    given: Int[np.ndarray, " examples"],
    classes: int,
    folds: Int[np.ndarray, " examples"],
) -> Float[np.ndarray, "examples classes"]:
    """Of each example the logits of a head that was solved without its fold."""
    said = np.empty((len(given), classes))
    for fold in np.unique(folds):
        away = folds == fold
        head = solve_softmax(rows[~away], given[~away], classes)
        said[away] = rows[away] @ head.weight.T + head.bias
    return said


def _alone(classes: Int[np.ndarray, " examples"], copies: Int[np.ndarray, " examples"] | None) -> np.ndarray:
    """Which examples have no other of their class but copies: heads that have not seen them cannot know the class."""
    groups = np.arange(len(classes)) if copies is None else copies
    pairs = np.unique(np.stack([classes, groups], 1), axis=0)
    return np.bincount(pairs[:, 0], minlength=classes.max() + 1)[classes] < 2


def logs(logits: Float[np.ndarray, "examples classes"]) -> Float[np.ndarray, "examples classes"]:
    """Logarithms of the probabilities."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def neighbours(
    features: Float[np.ndarray, "examples features"],
    given: Int[np.ndarray, " examples"],
    classes: int,
    copies: Int[np.ndarray, " examples"] | None = None,
) -> Float[np.ndarray, "examples classes"]:
    """The logarithm of each class's share among the labels of the nearest other examples, nearer ones counting more (cosine).

    `copies` numbers groups that show the same: a copy with the same wrong label is no witness.
    """
    group = np.arange(len(given)) if copies is None else copies
    centred = features - features.mean(0)
    unit = (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    most, votes = min(NEAREST, len(unit) - 1), np.full((len(unit), classes), PSEUDO)
    for first in range(0, len(unit), AT_ONCE):
        some = np.arange(first, min(first + AT_ONCE, len(unit)))
        alike = unit[some] @ unit.T
        alike[group[some][:, None] == group] = -np.inf
        near = np.argpartition(-alike, most - 1, axis=1)[:, :most]
        weights = np.exp(SHARPNESS * (np.take_along_axis(alike, near, 1).astype(np.float64) - 1.0))
        np.add.at(votes, (some[:, None], given[near]), weights / np.maximum(weights.max(1, keepdims=True), 1e-300))
    return np.log(votes / votes.sum(1, keepdims=True))


def judged(
    logits: Float[np.ndarray, "examples classes"], given: Int[np.ndarray, " examples"]
) -> tuple[Float[np.ndarray, " examples"], Int[np.ndarray, " examples"], np.ndarray]:
    """Of each example its margin, the most probable class other than the given one, and whether its label is suspected."""
    told, every = logs(logits), np.arange(len(given))
    probs = np.exp(told)
    usual = np.array(
        [probs[given == number, number].mean() if (given == number).any() else np.inf for number in range(logits.shape[1])]
    )
    own = told[every, given]
    rest = told.copy()
    rest[every, given] = -np.inf
    others = rest.argmax(1)
    margins = own - rest[every, others]
    suspected = (margins < 0) & (probs[every, others] >= usual[others])
    return margins, others, suspected


def plant(seed: int) -> Plant:
    """Every tenth of three hundred labels is another than the example's class."""
    truth = np.arange(300) % 3
    said = logits(truth, 3, seed, margin=6.0)
    given = truth.copy()
    wrong = np.arange(0, 300, 10)
    given[wrong] = (truth[wrong] + 1) % 3
    names = {f"{place}.jpg" for place in wrong}
    look, folds = Look(said.astype(np.float32), ()), np.arange(300) // 3 % 5
    return Plant(
        trace(said, given, folds=folds, before=look),
        trace(said, truth, folds=folds, before=look),
        lambda found: len(names & {item["id"] for item in found.items[: len(names)]}) >= 0.9 * len(names),
    )
