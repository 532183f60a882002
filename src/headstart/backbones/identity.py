"""No body at all: the numbers themselves are the features, standardised, so that the head is a linear model in its own right."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from headstart.backbones._wrapped import Wrapped
from headstart.core import BackboneSpec, Dataset, Modality
from headstart.errors import BadSetting
from headstart.modalities.array import Arrays


class Identity(Wrapped):
    """The numbers with these names as features."""

    settles = True

    def __init__(self, net: "Standardised", spec: BackboneSpec, names: tuple[str, ...]) -> None:
        super().__init__(net, spec, "identity", order=[["standardise"]])
        self.names = names

    def takes(self, size: int | None = None) -> Modality:
        """Rows of these numbers; they have one size."""
        return Arrays(self.names)

    def require(self, data: Dataset) -> None:
        """The numbers must be the same, in the same order."""
        super().require(data)
        if data.inputs != self.names:
            was, now = (", ".join(each[:8]) for each in (self.names, data.inputs))
            raise BadSetting(f"the model takes the numbers {was}; {data.name} has {now}. Name the columns: input_columns=[...].")

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Takes mean and deviation from the training examples, the first time it is asked."""
        assert isinstance(self.net, Standardised), "it is made with one"
        if not bool(self.net.standardise.settled):
            self.net.standardise.settle(torch.cat(list(batches)))

    def resettled(
        self, rows: Float[np.ndarray, "batch features"], some: Bool[np.ndarray, " batch"]
    ) -> Float[np.ndarray, "batch features"]:
        """Features as they would be, had mean and deviation been taken from `some` of these examples alone."""
        assert isinstance(self.net, Standardised), "it is made with one"
        numbers = len(self.net.standardise.mean)
        values = np.where(rows[:, :numbers] == 0, np.nan, rows[:, :numbers])  # a number that is missing has been set to the mean
        anew = Standardise(numbers, ())
        anew.settle(torch.from_numpy(values[some]))
        return np.concatenate([anew(torch.from_numpy(values)).numpy(), rows[:, numbers:]], 1)


class Standardised(nn.Module):
    """The features of rows: see `Standardise`."""

    standardise: "Standardise"

    def __init__(self, numbers: int, gaps: Sequence[int]) -> None:
        super().__init__()
        self.standardise = Standardise(numbers, gaps)

    def forward(self, x: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch features"]:
        return self.standardise(x)


class Standardise(nn.Module):
    """Each number less its mean, by its deviation; 0 (the mean) where it is missing.

    For each place in `gaps` a further feature says 1 where the number is missing: that it is missing may tell something.
    """

    mean: Tensor
    scale: Tensor
    gaps: Tensor
    settled: Tensor

    def __init__(self, numbers: int, gaps: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(numbers, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(numbers, dtype=torch.float64))
        self.register_buffer("gaps", torch.tensor(list(gaps), dtype=torch.int64))
        self.register_buffer("settled", torch.tensor(False))

    def settle(self, rows: Float[Tensor, "examples numbers"]) -> None:
        """Mean and deviation (of the population) of what is known; a number that never changes keeps the deviation 1."""
        rows = rows.double()
        known = ~rows.isnan()
        count = known.sum(0).clamp(min=1)
        mean = rows.nan_to_num(0.0).sum(0) / count
        deviation = (((rows - mean).nan_to_num(0.0) ** 2).sum(0) / count).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))
        self.settled.fill_(True)

    def forward(self, x: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch features"]:
        missing = x.isnan()
        standard = ((x.double() - self.mean) / self.scale).masked_fill(missing, 0.0)
        return torch.cat([standard, missing[:, self.gaps].double()], 1).float()


def build(names: Sequence[str], gaps: Sequence[int] = (), tensors: dict[str, Tensor] | None = None) -> Identity:
    """The numbers with these names; `gaps` are the places of those that may be missing."""
    net = Standardised(len(names), gaps if tensors is None else tensors["standardise.gaps"].tolist())
    if tensors is not None:
        net.load_state_dict(tensors)
    width = len(names) + len(net.standardise.gaps)
    spec = BackboneSpec("identity", len(names), (), (), "", 1.0, width, "none", 0, "nothing to learn", True, "array")
    return Identity(net.eval(), spec, tuple(names))


def for_data(name: str, pretrained: bool, size: int | None, seed: int, data: Dataset) -> Identity:
    """The numbers of these rows.

    Raises:
        BadSetting: for another name than "identity".
    """
    if name != "identity":
        raise BadSetting(
            f'the examples are rows of numbers, for which the backbone is "identity", got {name!r}. Leave backbone out.'
        )
    return build(data.inputs, gaps_of(data))


def rebuilt(
    spec: BackboneSpec, tensors: dict[str, Tensor], ours: Mapping[str, Any], files: Mapping[str, str], module: nn.Module | None
) -> Identity:
    """The numbers of a bundle, with the statistics that it was trained with."""
    return build(ours["modality"]["names"], tensors=tensors)


def gaps_of(data: Dataset) -> list[int]:
    """The places of the numbers that some example does not have."""
    rows = np.asarray([] if data.arrays is None else data.arrays, np.float64).reshape(-1, len(data.inputs))
    return np.flatnonzero(np.isnan(rows).any(0)).tolist()
