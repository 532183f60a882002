"""What softmax says: probabilities from logits whose spread may be known, and how unsure they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs
from headstart.seeds import numpy_generator
from headstart.tasks._arrays import array

DRAWS = 256
LEVEL = 0.9
CHUNK = 1 << 22
"""Numbers held at once while draws from a Gaussian over logits are looked at."""


def probabilities(outputs: Outputs) -> Float[np.ndarray, "batch classes"]:
    """Of each class: softmax of the logits; averaged over their spread where it is known. float64, rows add up to one."""
    if outputs.cov is None and outputs.samples is None:
        return softmax(array(outputs.mean))
    return np.concatenate([draws.mean(0) for draws in drawn(outputs)])


@dataclass(frozen=True)
class Known:
    """What is known of examples whose logits have a spread, from one set of draws."""

    probs: Float[np.ndarray, "batch classes"]
    intervals: Float[np.ndarray, "batch 2"]
    """Where the probability of the most probable class may be: the central `LEVEL` of its draws, and their mean, which is the probability."""
    uncertainty: Float[np.ndarray, "batch 3"]
    """(total, aleatoric, epistemic) in nats: H(mean p) = mean H(p) + mutual information (Houlsby 2011, eq. 2)."""


def known(outputs: Outputs) -> Known:
    """Of outputs with a covariance or samples."""
    probs, intervals, uncertainty = [], [], []
    for draws in drawn(outputs):
        mean = draws.mean(0)
        own = draws[:, np.arange(len(mean)), mean.argmax(1)]
        total, aleatoric = entropy(mean), entropy(draws).mean(0)
        probs.append(mean)
        low, high = np.quantile(own, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        intervals.append(np.stack([np.minimum(low, mean.max(1)), np.maximum(high, mean.max(1))], 1))
        uncertainty.append(np.stack([total, aleatoric, np.maximum(total - aleatoric, 0.0)], 1))
    return Known(np.concatenate(probs), np.concatenate(intervals), np.concatenate(uncertainty))


def drawn(outputs: Outputs) -> list[Float[np.ndarray, "samples batch classes"]]:
    """Draws of the probabilities, in pieces of the batch: the samples, or a Gaussian looked at from fixed base points.

    Beware of the shorter mean-field formula softmax(mean / sqrt(1 + pi/8 var)): it takes what all logits share, which
    changes no probability, for uncertainty.
    """
    if outputs.samples is not None:
        return [softmax(array(outputs.samples))]
    mean, cov = array(outputs.mean), array(outputs.cov)
    batch, classes = mean.shape
    half = numpy_generator(0, "single_label", "base points").standard_normal((DRAWS // 2, classes))
    points = np.concatenate([half, -half])
    step = max(1, CHUNK // (DRAWS * classes))
    pieces = []
    for start in range(0, batch, step):
        # beware: NumPy's own library takes all cores for small matrices too, and waits long for them on a busy machine
        values, vectors = torch.linalg.eigh(torch.from_numpy(cov[start : start + step]))
        root = (vectors * values.clamp(min=0.0).sqrt()[:, None]).numpy()
        # [batch, classes, draws]: NumPy takes ten times as long to reduce a last axis as short as the classes
        moved = root @ points.T
        moved += mean[start : start + step, :, None]
        pieces.append(softmax(moved, axis=1).transpose(2, 0, 1))
    return pieces


def softmax(logits: Float[np.ndarray, "*shape"], axis: int = -1) -> Float[np.ndarray, "*shape"]:
    raised = logits - logits.max(axis, keepdims=True)
    np.exp(raised, out=raised)
    raised /= raised.sum(axis, keepdims=True)
    return raised


def logs(probs: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logits with exactly these probabilities."""
    return torch.from_numpy(np.log(np.maximum(probs, np.finfo(np.float64).tiny)))


def entropy(probs: Float[np.ndarray, "*batch classes"]) -> Float[np.ndarray, "*batch"]:
    return -(probs * np.log(np.maximum(probs, np.finfo(np.float64).tiny))).sum(-1)


def averaged(views: Sequence[Outputs]) -> Outputs:
    """Outputs whose probabilities are the mean of those of the views; of a single view, that view itself.

    Draws of a posterior are averaged one by one: each draw is a model that looks at all the views.
    """
    if len(views) == 1:
        return views[0]
    mean = logs(np.mean([softmax(array(view.mean)) for view in views], axis=0))
    if any(view.cov is None and view.samples is None for view in views):
        return Outputs(mean)
    draws = np.mean([np.concatenate(drawn(view), axis=1) for view in views], axis=0)
    return Outputs(mean, samples=logs(draws))
