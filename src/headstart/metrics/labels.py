"""How good the probabilities of labels are, of which each example has any number: `probs` and `targets` [batch, labels].

A target is 1 where the example has the label, 0 where it has not, and no number where nobody knows: that counts nowhere.
Definitions are those of scikit-learn with average="macro" unless a name says otherwise.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from headstart.metrics.measured import Measured, Metric, average, bootstrapped, proportion, require_some, wilson
from headstart.metrics.ranking import mean_auroc, mean_average_precision

Probs = Float[np.ndarray, "batch labels"]
Targets = Float[np.ndarray, "batch labels"]
TINY = np.finfo(np.float64).tiny
NOTHING = proportion(0, 0)
"""Where no label is had by some examples and lacked by others: no number, so that a training with few validation images goes on."""
Thresholds = Float[np.ndarray, " labels"]


def mAP(probs: Probs, targets: Targets) -> Measured:
    """Mean over the labels of the average precision; labels that all or none of the examples have are left out."""
    return mean_average_precision(*_sides(probs, targets)) or NOTHING


def auroc(probs: Probs, targets: Targets) -> Measured:
    """Chance that an example with a label is given a higher probability of it than one without: mean over the labels."""
    return mean_auroc(*_sides(probs, targets)) or NOTHING


def nll(probs: Probs, targets: Targets) -> Measured:
    """Mean over the examples of the negative log-likelihood of all their labels together, in nats."""
    return average(losses(probs, targets).sum(1), 0.0)


def brier(probs: Probs, targets: Targets) -> Measured:
    """Mean over the examples of the squared distance of the probabilities from the truth, averaged over the labels."""
    require_some(len(targets))
    distance = np.where(np.isnan(targets), np.nan, probs.astype(np.float64) - targets) ** 2
    return average(np.nan_to_num(np.nanmean(np.atleast_2d(distance), axis=1)), 0.0, 1.0)


def losses(probs: Probs, targets: Targets) -> Float[np.ndarray, "batch labels"]:
    """Negative log-likelihood of each label of each example in nats; 0 where nobody knows."""
    require_some(len(targets))
    true = np.where(targets > 0.5, probs, 1.0 - probs.astype(np.float64))
    return np.where(np.isnan(targets), 0.0, -np.log(np.maximum(true, TINY)))


RANKED: Mapping[str, Metric] = MappingProxyType({metric.__name__: metric for metric in (mAP, auroc, nll, brier)})
"""Those that need no decision which labels an example has."""
FASTAI = MappingProxyType(
    {
        "F1ScoreMulti": "f1",
        "RocAucMulti": "auroc",
        "APScoreMulti": "mAP",
        "HammingLossMulti": "hamming",
        "BrierScoreMulti": "brier",
        "accuracy_multi": "hamming",
        "BCEWithLogitsLossFlat": "nll",
        "valid_loss": "nll",
    }
)


def decided(thresholds: Thresholds) -> dict[str, Metric]:
    """Every metric by name, where an example is said to have the labels whose probability reaches their threshold."""

    def hamming(probs: Probs, targets: Targets) -> Measured:
        """Share of the labels that are said wrongly; the interval is that of a mean over examples, Wilson's where none is wrong."""
        said, known = _said(probs, thresholds), ~np.isnan(targets)
        wrong = (said != (targets > 0.5)) & known
        found = average(wrong.sum(1) / np.maximum(known.sum(1), 1), 0.0, 1.0)
        return found if wrong.any() else proportion(0, found.n)

    def exact_match(probs: Probs, targets: Targets) -> Measured:
        """Share of the examples of which every label is said rightly, with Wilson's interval."""
        right = ((_said(probs, thresholds) == (targets > 0.5)) | np.isnan(targets)).all(1)
        return proportion(int(right.sum()), len(targets))

    def f1(probs: Probs, targets: Targets) -> Measured:
        """Mean over the labels of the harmonic mean of precision and recall; labels neither had nor said are left out."""
        return _f1(_said(probs, thresholds), targets, "macro")

    def f1_micro(probs: Probs, targets: Targets) -> Measured:
        """The harmonic mean of precision and recall over all labels of all examples together."""
        return _f1(_said(probs, thresholds), targets, "micro")

    return {**RANKED, **{metric.__name__: metric for metric in (f1, f1_micro, hamming, exact_match)}}


def best_thresholds(probs: Probs, targets: Targets, fewest: int = 5) -> Thresholds:
    """For each label the threshold with the largest F1 on these examples, a half where fewer than `fewest` have it or lack it.

    The middle between the two probabilities around the cut, drawn half way to a half: the best of many cuts is best by
    luck in part.
    """
    found = np.full(probs.shape[1], 0.5)
    for label in range(probs.shape[1]):
        known = ~np.isnan(targets[:, label])
        has = targets[known, label] > 0.5
        if min(int(has.sum()), int((~has).sum())) < fewest:
            continue
        score = probs[known, label].astype(np.float64)
        order = np.argsort(-score, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
        true = np.cumsum(has[order])[ends]
        best = int(np.argmax(2 * true / (ends + 1 + has.sum())))
        below = score[order[ends[best] + 1]] if ends[best] + 1 < len(order) else 0.0
        found[label] = 0.5 * (0.5 + (score[order[ends[best]]] + below) / 2)
    return found


def by_label(probs: Probs, targets: Targets, thresholds: Thresholds) -> list[dict[str, Measured]]:
    """Of each label: recall, precision and average precision, with 95 % intervals."""
    said = _said(probs, thresholds)
    told = []
    for label in range(probs.shape[1]):
        known = ~np.isnan(targets[:, label])
        has, named = targets[known, label] > 0.5, said[known, label]
        right = int((has & named).sum())
        one = slice(label, label + 1)
        precision = mean_average_precision(*_sides(probs[:, one], targets[:, one]))
        figures = {"recall": proportion(right, int(has.sum())), "precision": proportion(right, int(named.sum()))}
        told.append({**figures, "average_precision": precision or NOTHING})
    return told


def _f1(said: Bool[np.ndarray, "batch labels"], targets: Targets, kind: str) -> Measured:
    known = ~np.isnan(targets)
    has = (targets > 0.5) & known
    true, total = (said & has).astype(np.float64), (said & known).astype(np.float64) + has

    def value(counts: Float[np.ndarray, " batch"]) -> float:
        right, every = counts @ true, counts @ total
        if kind == "micro":
            return float(2 * right.sum() / every.sum()) if every.sum() else float("nan")
        return float((2 * right[every > 0] / every[every > 0]).mean()) if (every > 0).any() else float("nan")

    n, (low, high) = len(targets), bootstrapped(value, len(targets), f"f1 {kind}") or (None, None)
    if (said == has)[known].all() and has.any():  # no sample of these examples can doubt that: the interval of the exact match
        low = float(wilson(n, n)[0])
    return Measured(value(np.ones(n)), low, high, n)


def _said(probs: Probs, thresholds: Thresholds) -> Bool[np.ndarray, "batch labels"]:
    require_some(len(probs))
    return probs >= thresholds


def _sides(probs: Probs, targets: Targets) -> tuple[Probs, Bool[np.ndarray, "batch labels"], Bool[np.ndarray, "batch labels"]]:
    """Probabilities, who has each label, who lacks it; neither where nobody knows."""
    require_some(len(targets))
    return probs, targets > 0.5, targets < 0.5
