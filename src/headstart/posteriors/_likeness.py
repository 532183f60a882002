"""How unlike what a model has learned from an example is: a conformal p-value of how improbable its features are among those of training.

Features of length one, z = x / |x|, are taken for Gaussian with a covariance of its own in the leading directions V and equal in all others
(Tipping and Bishop 1999, "Probabilistic principal component analysis"; Mahalanobis distances of features: Lee et al. 2018), and the
logarithm of their length for another:
    distance = ( sum_j (v_j^T (z - m))^2 / l_j + |what lies outside V|^2 / rest + 10 ((log |x| - a) / s)^2 ) / features.
On the length as such, or the fifth nearest training example in place of the Gaussian, see docs/log.md. An example is told by its rank among
held-out ones, which the training has not seen either:
    p = (1 + #{held-out examples at least as far}) / (n + 1),    unlike = 1 - p.
Where an example is drawn as they were, unlike >= 1 - a has a probability of at most a (Vovk, Gammerman and Shafer 2005, section 2.2), for
every a >= 1 / (n + 1). Beyond the farthest of them p goes on falling, as its distance over that of the example: nothing is promised of so small
an a, but what is farther out comes out larger. Where there are too few to tell anybody of it (`UNLIKE`), it does not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.places import evenly
from headstart.posteriors._tensors import tensors_of
from headstart.tasks._arrays import UNLIKE

DIRECTIONS, EACH = 64, 4
"""With variances of their own at most, one for so many training examples."""
MOST = 2000
"""Training examples that are looked at, and held-out ones that are kept; more change nothing (docs/log.md)."""
OF_LENGTH = 10.0
"""How many directions the length of features counts as."""
LARGE = 1 << 20
"""Numbers of features beyond which single precision serves: half the time, and the leading directions are the same."""
TINY, FLAT, SAME = 1e-12, 1e-9, 1e-4
"""A length that counts as none; the least variance; distances that differ by no more, relative and in itself, are equal."""

Fold = tuple[Float[np.ndarray, "others features"], Float[np.ndarray, "away features"]]


@dataclass(frozen=True)
class Likeness:
    """A Gaussian of features on the sphere, and how far held-out examples are from it. Everything that it knows is tensors."""

    middle: Float[Tensor, " features"]
    basis: Float[Tensor, "features directions"]
    variances: Float[Tensor, " directions"]
    rest: Float[Tensor, ""]
    """The variance along every other direction."""
    lengths: Float[Tensor, " two"]
    """Mean and deviation of the logarithm of the features' lengths."""
    held: Float[Tensor, " held"]
    """Distances of the held-out examples, ascending."""

    def distances(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, " batch"]:
        """The formula at the head of this file: about one for what was learned from."""
        seen = features.to(self.basis)
        length = seen.norm(dim=1).clamp(min=TINY)
        apart = seen / length[:, None] - self.middle
        turned = apart @ self.basis
        outside = (apart.square().sum(1) - turned.square().sum(1)).clamp(min=0.0)
        off = (length.log() - self.lengths[0]) / self.lengths[1]
        found = (turned.square() / self.variances).sum(1) + outside / self.rest + OF_LENGTH * off.square()
        return found / len(self.middle)

    def unlike(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, " batch"]:
        """One minus the p-value of each example, in [0, 1): near 1 is unlike."""
        # a batch of another size is computed in another order, which must not break a tie
        least = self.distances(features) * (1 - SAME) - SAME
        farther = len(self.held) - torch.searchsorted(self.held, least.contiguous(), side="left")
        share = (1.0 + farther.double()) / (len(self.held) + 1)
        if (len(self.held) + 1) * (1.0 - UNLIKE) >= 1.0:
            share = share * (self.held[-1] / least.clamp(min=TINY)).clamp(max=1.0).double()
        return 1.0 - share

    def state(self) -> Mapping[str, Tensor]:
        """All of it as named tensors."""
        return tensors_of(self)


def fit(
    train: Float[np.ndarray, "batch features"],
    held: Float[np.ndarray, "held features"],
    folds: Iterable[Fold] = (),
) -> Likeness:
    """Of these training examples, told by these held-out ones; with more than `MOST` of either, of some, evenly over their order.

    Args:
        folds: where the training examples serve as held-out ones too, the features of the others and of each fold, which a Gaussian of
            the others tells.
    """
    found = _unranked(train)
    distances = [found.distances(torch.from_numpy(held[evenly(len(held), MOST)]))]
    distances += [_unranked(others).distances(torch.from_numpy(away)) for others, away in folds]
    return replace(found, held=torch.cat(distances).sort().values)


def _unranked(train: Float[np.ndarray, "batch features"]) -> Likeness:
    rows = train[evenly(len(train), MOST)].astype(np.float64)
    length = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    logs, rows = np.log(length), rows / length
    middle = rows.mean(0)
    values, basis, rest = _leading(rows - middle)
    lengths = np.array([logs.mean(), max(float(logs.std()), FLAT)])
    parts = (middle, basis, np.maximum(values, rest), np.array(rest), lengths)
    return Likeness(*(torch.tensor(part, dtype=torch.float32) for part in parts), held=torch.empty(0))


def _leading(
    rows: Float[np.ndarray, "examples features"],
) -> tuple[Float[np.ndarray, " directions"], Float[np.ndarray, "features directions"], float]:
    """Variances along the leading directions of centred rows, these directions, and the mean variance along all others.

    By the smaller of the two products of the rows with themselves.
    """
    from scipy import linalg  # it takes half a second to import, and only fitting needs it

    from headstart.curvature import product

    count, width = rows.shape
    few, own = count < width, min(DIRECTIONS, count // EACH, width - 1)
    rows = rows.astype(np.float32) if rows.size > LARGE else rows
    square = (product(rows, rows.T) if few else product(rows.T, rows)) / max(1, count)
    trace = float(np.trace(square, dtype=np.float64))
    if not own:
        return np.empty(0), np.empty((width, 0)), max(trace / width, FLAT)
    values, vectors = linalg.eigh(square, subset_by_index=(len(square) - own, len(square) - 1))
    values = np.clip(values.astype(np.float64), 0.0, None)
    rest = max((trace - float(values.sum())) / (width - own), FLAT)
    if not few:
        return values, vectors, rest
    kept = values > FLAT
    return values[kept], rows.T @ (vectors[:, kept] / np.sqrt(count * values[kept])), rest
