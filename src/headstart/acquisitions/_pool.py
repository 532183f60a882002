"""Unlabelled examples as a model sees them, and what a rule picks from them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headstart.core import Outputs, Task
from headstart.errors import BadSetting

ROWS = 16


@runtime_checkable
class OneAnswer(Protocol):
    """What is asked of a task where answers are counted: that one of finitely many is right."""

    def answer_probabilities(self, outputs: Float[Any, "draws batch outputs"]) -> Float[Any, "draws batch answers"]: ...


@dataclass(frozen=True)
class Pool:
    """Unlabelled examples.

    `draws` are outputs of the head with weights drawn from its posterior, the same weights for all examples; None where nothing is
    known of them. `learned` are features of the examples that the model was trained on.
    """

    task: Task
    features: Float[np.ndarray, "pool features"]
    said: Outputs
    draws: Float[Tensor, "draws pool outputs"] | None
    learned: Float[np.ndarray, "learned features"]

    def __len__(self) -> int:
        return len(self.features)

    def some(self, places: Int[np.ndarray, " some"]) -> "Pool":
        """These of the examples."""
        draws = None if self.draws is None else self.draws[:, places]
        return replace(self, features=self.features[places], said=self.said.some(torch.from_numpy(places)), draws=draws)

    @cached_property
    def predictions(self) -> list[Any]:
        """What is told of each."""
        return self.task.predict(self.said, [""] * len(self))

    def known(self, field: str) -> Float[np.ndarray, " pool"]:
        """A number that predictions have, such as `total`.

        Raises:
            BadSetting: where they do not have it.
        """
        values = [getattr(one, field) for one in self.predictions]
        if any(value is None for value in values):
            raise BadSetting(
                f"the {field} uncertainty is not known of these predictions: that takes a posterior of the head's weights (laplace, hmc) "
                f'and one answer for each example. by="cover" needs no uncertainty.'
            )
        return np.array(values, np.float64)

    @cached_property
    def roots(self) -> Float[np.ndarray, "pool outputs draws"]:
        """B, of which B_n B_m^T is the posterior covariance of the outputs of n and m, in units in which a label is noise of variance one.

        Of many outputs those `ROWS` that vary most with each example.

        Raises:
            BadSetting: where there are no draws.
        """
        draws = self.together
        apart = (draws - draws.mean(0)).permute(1, 2, 0).float() / len(draws) ** 0.5
        found = self.task.whitened(torch.as_tensor(self.said.mean), apart)
        if found.shape[1] > ROWS:
            places = found.square().sum(2).topk(ROWS, dim=1).indices
            found = found.gather(1, places[..., None].expand(-1, -1, found.shape[2]))
        return found.contiguous().numpy()

    @property
    def together(self) -> Float[Tensor, "draws pool outputs"]:
        """The draws.

        Raises:
            BadSetting: where there are none.
        """
        if self.draws is None:
            raise BadSetting(
                "this rule goes by what is not known of the head's weights, and there is no posterior of them here. Take "
                'posterior="laplace" where the head is linear, or by="cover", which needs none.'
            )
        return self.draws


@dataclass(frozen=True)
class Picked:
    """Places in the pool, the first to be labelled first, with the score that each had when it was picked."""

    places: Int[np.ndarray, " count"]
    scores: Float[np.ndarray, " count"]


def largest(scores: Float[np.ndarray, " pool"], count: int) -> Picked:
    """Those with the largest scores; of equal ones the first."""
    places = np.argsort(-scores, kind="stable")[:count]
    return Picked(places.astype(np.int64), scores[places])
