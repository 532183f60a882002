"""How good the probabilities of classes are: every metric maps `probs` [batch, classes] and integer `targets` [batch] to a `Measured`.

Definitions are those of scikit-learn; how well confidence fits is measured in `calibration`.
"""

from collections.abc import Callable
from functools import wraps
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from headstart.errors import DataError
from headstart.metrics.calibration import aurc, ece, ece_classwise, ece_debiased, ece_equal_mass, overconfidence
from headstart.metrics.measured import Measured, average, draws_for, proportion, require_some, wilson
from headstart.metrics.ranking import mean_auroc
from headstart.seeds import numpy_generator

Probs = Float[np.ndarray, "batch classes"]
Targets = Int[np.ndarray, " batch"]


def error_rate(probs: Probs, targets: Targets) -> Measured:
    """Share of examples whose most probable class is not the true one, with Wilson's interval (1927)."""
    wrong = _checked(probs, targets).argmax(1) != targets
    return proportion(int(wrong.sum()), len(targets))


def accuracy(probs: Probs, targets: Targets) -> Measured:
    """Share of examples whose most probable class is the true one, with Wilson's interval."""
    right = _checked(probs, targets).argmax(1) == targets
    return proportion(int(right.sum()), len(targets))


def top_5_error(probs: Probs, targets: Targets) -> Measured:
    """Share of examples whose true class is not among the five most probable, with Wilson's interval."""
    probs = _checked(probs, targets)
    true = probs[np.arange(len(targets)), targets][:, None]
    before = np.arange(probs.shape[1]) < targets[:, None]
    rank = (probs > true).sum(1) + ((probs == true) & before).sum(1)
    return proportion(int((rank >= 5).sum()), len(targets))


def nll(probs: Probs, targets: Targets) -> Measured:
    """Mean negative log-likelihood of the true class in nats, with the normal interval of a mean."""
    true = _checked(probs, targets)[np.arange(len(targets)), targets].astype(np.float64)
    return average(-np.log(np.maximum(true, np.finfo(np.float64).tiny)), 0.0, np.inf)


def brier(probs: Probs, targets: Targets) -> Measured:
    """Mean squared distance of the probabilities from the truth (Brier 1950): summed over the classes, halved for two classes."""
    distance = _checked(probs, targets).astype(np.float64)
    distance = distance - np.eye(distance.shape[1])[targets]
    halved = 0.5 if distance.shape[1] == 2 else 1.0
    return average(halved * (distance**2).sum(1), 0.0, 2.0 * halved)


def balanced_accuracy(probs: Probs, targets: Targets) -> Measured:
    """Mean over the classes of the share of their examples that are recognised: small classes count as much as large ones.

    The interval combines the Wilson intervals of the classes (Zou and Donner 2008).
    """
    probs = _checked(probs, targets)
    present, sizes = np.unique(targets, return_counts=True)
    right = np.bincount(targets[probs.argmax(1) == targets], minlength=probs.shape[1])[present]
    recall = right / sizes
    low, high = wilson(right, sizes)
    value = float(recall.mean())
    below, above = (float(np.sqrt(((bound - recall) ** 2).sum())) / len(present) for bound in (low, high))
    return Measured(value, max(0.0, value - below), min(1.0, value + above), len(targets))


def f1(probs: Probs, targets: Targets) -> Measured:
    """Mean over the classes of the harmonic mean of precision and recall (classes neither seen nor predicted are left out).

    The interval is that of a bootstrap over the examples with a fixed seed; where every answer is right, that of the accuracy.
    """
    probs = _checked(probs, targets)
    predicted, classes, n = probs.argmax(1), probs.shape[1], len(targets)
    cells, counts = np.unique(targets * classes + predicted, return_counts=True)
    seen, said = cells // classes, cells % classes

    def macro(counts: Int[np.ndarray, " cells"]) -> float:
        true = np.bincount(seen[seen == said], counts[seen == said], classes)
        total = np.bincount(seen, counts, classes) + np.bincount(said, counts, classes)
        return float((2 * true[total > 0] / total[total > 0]).mean())

    if (seen == said).all():
        return Measured(1.0, float(wilson(n, n)[0]), 1.0, n)
    generator = numpy_generator(0, "metrics", "f1")
    draws = [macro(generator.multinomial(n, counts / n)) for _ in range(draws_for(len(cells)))]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Measured(macro(counts), float(low), float(high), n)


def auroc(probs: Probs, targets: Targets) -> Measured:
    """Chance that an example of a class is given a higher probability of it than one of another class: mean over the classes.

    Classes without an example, or without any other, are left out.
    """
    probs = _checked(probs, targets)
    has = targets[:, None] == np.arange(probs.shape[1])
    asked = [1] if probs.shape[1] == 2 else list(range(probs.shape[1]))
    found = mean_auroc(probs[:, asked], has[:, asked], ~has[:, asked])
    if found is None:
        raise DataError("auroc compares classes, and these examples are all of one class. Evaluate on examples of two or more.")
    return found


def recall_and_precision(probs: Probs, targets: Targets) -> list[tuple[Measured, Measured]]:
    """Of each class: the share of its examples that are recognised, and the share of the answers naming it that are right.

    With Wilson's intervals; `n` is how many examples, or answers, there are. Without any the share is not a number.
    """
    predicted, classes = _checked(probs, targets).argmax(1), probs.shape[1]
    right = np.bincount(targets[predicted == targets], minlength=classes).tolist()
    of_class, answers = (np.bincount(each, minlength=classes).tolist() for each in (targets, predicted))
    return [
        (proportion(*recall), proportion(*precision))
        for recall, precision in zip(zip(right, of_class, strict=True), zip(right, answers, strict=True), strict=True)
    ]


def _on_checked(metric: Callable[[Probs, Targets], Measured]) -> Callable[[Probs, Targets], Measured]:
    @wraps(metric)
    def checked(probs: Probs, targets: Targets) -> Measured:
        return metric(_checked(probs, targets).astype(np.float64), targets)

    return checked


METRICS = MappingProxyType(
    {
        metric.__name__: metric
        for metric in (
            *(error_rate, accuracy, nll, brier, f1, balanced_accuracy, top_5_error, auroc),
            *map(_on_checked, (ece, ece_equal_mass, ece_classwise, ece_debiased, overconfidence, aurc)),
        )
    }
)
FASTAI = MappingProxyType(
    {
        "F1Score": "f1",
        "RocAuc": "auroc",
        "RocAucBinary": "auroc",
        "BrierScore": "brier",
        "BalancedAccuracy": "balanced_accuracy",
        "top_k_accuracy": "top_5_error",
        "CrossEntropyLossFlat": "nll",
        "valid_loss": "nll",
    }
)


def _checked(probs: Probs, targets: Targets) -> Probs:
    """`probs`, if there is something to measure."""
    require_some(len(targets))
    return probs
