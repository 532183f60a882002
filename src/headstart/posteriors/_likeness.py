"""How unlike what a model has learned from an example is: a conformal p-value of its distance to the nearest training examples.

The distance is the cosine between features, to the fifth nearest of the training examples (Sun et al. 2022, "Out-of-distribution detection
with deep nearest neighbors"). Beyond the leading directions of the training features (of their second moments, not centred) nothing
is kept: of what lies there an example has only its length, which makes it less like all of them. Features that are longer or shorter than any of
the training examples' add the logarithm of how many times. An example is told by its rank among held-out ones, which the training has not
seen either:
    p = (1 + #{held-out examples at least as far}) / (n + 1),    unlike = 1 - p.
Where an example is drawn as they were, unlike >= 1 - a has a probability of at most a (Vovk, Gammerman and Shafer 2005, section 2.2), for
every a >= 1 / (n + 1). Beyond the farthest of them p goes on falling, as its distance over that of the example: nothing is promised of so small
an a, but what is farther out comes out larger. Where there are too few to tell anybody of it (`UNLIKE`), it does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.posteriors._tensors import tensors_of
from headstart.tasks._arrays import UNLIKE

DIRECTIONS = 64
MOST = 2000
"""Training examples that are kept; more change nothing (docs/log.md)."""
NEAREST = 5
TINY, SAME = 1e-12, 1e-5
"""A length that counts as none; distances that differ by no more, relative and in itself, are equal."""


@dataclass(frozen=True)
class Likeness:
    """Training examples as points on a sphere, and how far held-out ones are from them. Everything that it knows is tensors."""

    basis: Float[Tensor, "features directions"]
    points: Float[Tensor, "examples directions"]
    lengths: Float[Tensor, " two"]
    """The shortest and the longest of the training examples."""
    held: Float[Tensor, " held"]
    """Distances of the held-out examples, ascending."""

    def distances(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, " batch"]:
        """One minus the cosine to the fifth nearest training example, and what is too long or too short."""
        seen = features.to(self.basis)
        length = seen.norm(dim=1).clamp(min=TINY)
        turned = (seen / length[:, None]) @ self.basis
        away = 1.0 - (turned @ self.points.T).topk(min(NEAREST, len(self.points)), dim=1).values[:, -1]
        beyond = torch.maximum((length / self.lengths[1]).log(), (self.lengths[0] / length).log()).clamp(min=0.0)
        return away + beyond

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


def fit(train: Float[np.ndarray, "batch features"], held: Float[np.ndarray, "held features"]) -> Likeness:
    """Of these training examples, told by these held-out ones; with more than `MOST` of either, of some, evenly over their order."""
    rows = train[_some(len(train))].astype(np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    rows /= lengths
    basis = _leading(rows)
    parts = (basis, rows @ basis, np.array([lengths.min(), lengths.max()]))
    unranked = Likeness(*(torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts), held=torch.empty(0))
    distances = unranked.distances(torch.from_numpy(held[_some(len(held))]))
    return replace(unranked, held=distances.sort().values)


def _leading(rows: Float[np.ndarray, "examples features"]) -> Float[np.ndarray, "features directions"]:
    """The directions in which most of the rows lies, by the smaller of the two products of the rows with themselves."""
    from scipy import linalg  # it takes half a second to import, and only fitting needs it

    few = len(rows) < rows.shape[1]
    product = rows @ rows.T if few else rows.T @ rows
    count = len(product)
    if not count:
        return np.zeros((rows.shape[1], 0))
    values, vectors = linalg.eigh(product, subset_by_index=[max(0, count - DIRECTIONS), count - 1])
    if not few:
        return vectors
    kept = values > 1e-9 * max(float(values[-1]), 1e-300)
    return rows.T @ (vectors[:, kept] / np.sqrt(values[kept]))


def _some(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
