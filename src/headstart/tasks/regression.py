"""Numbers with their noise: a distribution for each target, whose mean and log squared scale the head gives in standardised units.

With target y, standardised as (y - centre) / scale, mean m and log squared scale s the loss is, in nats per unit of y,
    Gaussian:   s / 2 + (y - m)^2 exp(-s) / 2 + log(2 pi) / 2 + log scale,    s the log-variance;
    Student's t with f degrees of freedom:    s / 2 + (f + 1) / 2 log(1 + (y - m)^2 exp(-s) / f) + constant(f) + log scale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart import metrics
from headstart.core import Label, Outputs
from headstart.errors import DataError
from headstart.metrics import Measured, Metric, values
from headstart.places import evenly
from headstart.tasks._arrays import array, knows_spread, precise, told_unlike
from headstart.tasks._likelihoods import LIKELIHOODS, Likelihood
from headstart.tasks._numbers import Numbers, listed, number_in
from headstart.tasks._promises import MOST
from headstart.tasks._some_numbers import RegressionPrediction

Rule = Callable[[Outputs, Any], Measured]
Targets = Float[Tensor, "batch targets"]
FLATTEST, SHARPEST = 10.0, -16.0
"""Log squared scales beyond these are taken for these: where a noise is driven to zero, the loss must stay a number."""


@dataclass(frozen=True)
class Regression(Numbers):
    """The task of predicting one or several numbers; the head gives the mean of each, then the log squared scale of each."""

    default_metrics: tuple[str, ...] = field(default=("rmse",), init=False)
    exact: bool = field(default=False, init=False)

    @property
    def solver(self) -> str:
        """Each likelihood has one of its name."""
        return self.noise

    @property
    def likelihood(self) -> Likelihood:
        """How the numbers lie around their prediction."""
        return LIKELIHOODS[self.noise]

    # -------------------------------------------------------------------------------------------------------- raw labels

    def encode(self, raw: Sequence[Label | None]) -> Targets:
        """Standardised numbers [batch, targets]; no number where a cell is empty.

        Raises:
            DataError: for a word, or a number that is not finite.
        """
        rows = [[number_in(cell, None, name) for cell, name in zip(self._cells(label), self.names, strict=True)] for label in raw]
        table = np.array(rows, np.float64).reshape(-1, len(self.names))
        return torch.from_numpy(((table - np.array(self.centre)) / np.array(self.scale)).astype(np.float32))

    def _cells(self, label: Label | None) -> Sequence[str]:
        if label is None:
            raise DataError(
                "an example has no number, so nothing can be learned or measured from it. Leave it out, or measure it."
            )
        cells = listed(label)
        if len(cells) != len(self.names):
            raise DataError(
                f"the model was made for {len(self.names)} numbers ({', '.join(self.names[:6])}), and an example has {len(cells)}. "
                "Give the same columns in the same order."
            )
        return cells

    def decode(self, targets: Targets) -> list[Any]:
        """The numbers in the user's units: one, or a tuple of several, for each example."""
        table = self._truths(targets)
        return [float(row[0]) if len(row) == 1 else tuple(map(float, row)) for row in table]

    def _truths(self, targets: Targets) -> Float[np.ndarray, "batch targets"]:
        """The targets in the user's units, without the digits that float32 has added."""
        digits = [5 - math.floor(math.log10(scale)) for scale in self.scale]
        table = self._in_units(np.asarray(targets, np.float64))
        return np.stack([np.round(column, place) for column, place in zip(table.T, digits, strict=True)], axis=1)

    def _in_units(self, table: Float[np.ndarray, "batch targets"]) -> Float[np.ndarray, "batch targets"]:
        return table * np.array(self.scale) + np.array(self.centre)

    def texts(self, targets: Targets) -> list[str]:
        """The numbers, with names where there are several."""
        told = [[f"{value:.4g}" for value in row] for row in self._truths(targets)]
        return [row[0] if len(row) == 1 else ", ".join(map(" ".join, zip(self.names, row, strict=True))) for row in told]

    def widened(self, raw: Sequence[Label]) -> "Regression":
        """Itself; other columns are told when they are encoded."""
        self.encode(raw)
        return self

    def new_rows(self, inputs: Any, targets: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """None are ever needed."""
        return np.empty((0, inputs.shape[1])), np.empty(0)

    def groups(self, targets: Targets) -> None:
        """None: numbers have no classes."""

    # -------------------------------------------------------------------------------------------------------- likelihood

    def loss(self, outputs: Float[Tensor, "batch outputs"], targets: Targets, smoothing: float = 0.0) -> Float[Tensor, " batch"]:
        """Negative log-density of all targets of each example together, in nats per unit; what nobody knows counts nothing.

        `smoothing` is for classes; `accept` refuses it.
        """
        mean, spread = _halves(precise(outputs))
        known = ~torch.isnan(targets)
        residual = torch.where(known, targets, mean.detach()) - mean
        scale = torch.tensor(self.scale, dtype=mean.dtype, device=mean.device).log()
        constant = -float(self.likelihood.noise.log_density(np.zeros(1))[0])
        return ((0.5 * spread + self.likelihood.rho(residual**2 * torch.exp(-spread)) + constant + scale) * known).sum(1)

    def output_hessian(self, outputs: Float[Tensor, "batch outputs"], targets: Targets) -> Float[Tensor, "batch outputs outputs"]:
        """Blocks of (mean, log squared scale) for each target, of the formulas in `_likelihoods`.

        A Gaussian's are [[e^-s, r e^-s], [r e^-s, r^2 e^-s / 2]] with r = y - m. None need be positive definite: at r = 0 a
        scale has no curvature, and far from a Student's centre its log-density bends the other way.
        """
        mean, spread = _halves(precise(outputs))
        count = mean.shape[1]
        known = ~torch.isnan(targets)
        residual = (torch.where(known, targets, mean) - mean) * known
        inside = ((outputs[:, count:] > SHARPEST) & (outputs[:, count:] < FLATTEST)).to(mean)
        sharp = torch.exp(-spread) * known
        squares = residual**2 * sharp
        slope, turn = self.likelihood.slope(squares), squares * self.likelihood.bend(squares)
        found = outputs.new_zeros((len(outputs), 2 * count, 2 * count), dtype=mean.dtype)
        at = torch.arange(count)
        found[:, at, at] = 2 * sharp * (slope + 2 * turn)
        found[:, at, count + at] = found[:, count + at, at] = 2 * residual * sharp * (slope + turn) * inside
        found[:, count + at, count + at] = squares * (slope + turn) * inside
        return found

    def whitened(
        self, outputs: Float[Tensor, "batch outputs"], deviations: Float[Tensor, "batch outputs draws"]
    ) -> Float[Tensor, "batch outputs draws"]:
        """Of a mean e^(-s / 2) d, of a log squared scale d / sqrt(2), for a Gaussian; the two tell nothing of each other."""
        spread = _halves(precise(outputs))[1]
        of_mean, of_spread = self.likelihood.information
        root = torch.cat([of_mean**0.5 * torch.exp(-0.5 * spread), torch.full_like(spread, of_spread**0.5)], dim=1)
        return root[..., None].to(deviations) * deviations

    def mean_hessian(self, outputs: Float[Tensor, "batch outputs"], targets: Targets) -> Float[Tensor, "outputs outputs"]:
        """The mean of the blocks."""
        return self.output_hessian(outputs, targets).mean(0)

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """The mean of the means, and of the variances: that views differ is no noise of the target."""
        if len(views) == 1:
            return views[0]
        if not all(map(knows_spread, views)):
            return Outputs(_averaged([array(view.mean) for view in views]))
        return Outputs(_averaged([array(view.mean) for view in views]), samples=_averaged([_drawn(view) for view in views]))

    # ---------------------------------------------------------------------------------------------------------- answers

    def said(self, outputs: Outputs) -> tuple[values.Said, Float[np.ndarray, "batch targets"]]:
        """The distribution of each target in the user's units, and the standard deviation of its mean (zero where nothing is known).

        Where the mean is uncertain the form stays that of the noise, with the variances of both added: exact for a Gaussian.
        """
        if outputs.samples is not None:
            mean, spread = _halves(torch.from_numpy(array(outputs.samples)))
            middle, unsure, noise = mean.mean(0).numpy(), mean.var(0, unbiased=False).numpy(), spread.exp().mean(0).numpy()
        else:
            mean, spread = _halves(torch.from_numpy(array(outputs.mean)))
            middle, noise = mean.numpy(), spread.exp().numpy()
            unsure = np.zeros_like(middle)
            if outputs.cov is not None:
                unsure = np.maximum(np.diagonal(array(outputs.cov), axis1=1, axis2=2)[:, : middle.shape[1]], 0.0)
        scale, form = np.array(self.scale), self.likelihood.noise
        deviation = np.sqrt(form.deviation**2 * noise + unsure) * scale
        return values.Said(self._in_units(middle), deviation, form), np.sqrt(unsure) * scale

    def tempered(self, outputs: Outputs, temperature: float) -> Outputs:
        """The variance of the noise multiplied by the temperature."""
        shift = math.log(temperature)

        def noisier(values: Any) -> Float[Tensor, "*batch outputs"]:
            mean, spread = torch.as_tensor(values).chunk(2, dim=-1)
            return torch.cat([mean, spread + shift], dim=-1)

        samples = None if outputs.samples is None else noisier(outputs.samples)
        return replace(outputs, mean=noisier(outputs.mean), samples=samples)

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[RegressionPrediction]:
        """One prediction per example, in order; with one target its standard deviations: of all, of the noise, of the mean."""
        said, unsure = self.said(outputs)
        parts: list[tuple[float | None, ...]] = [(None, None, None)] * len(ids)
        if knows_spread(outputs) and len(self.names) == 1:
            noise = np.sqrt(np.maximum(said.deviation**2 - unsure**2, 0.0))
            parts = list(map(tuple, np.hstack([said.deviation, noise, unsure]).tolist()))
        reach = said.noise.reach / said.noise.deviation
        found = [
            RegressionPrediction(id, mean, deviation, self.names, reach, total, aleatoric, epistemic, held=self.held)
            for id, mean, deviation, (total, aleatoric, epistemic) in zip(ids, said.mean, said.deviation, parts, strict=True)
        ]
        return told_unlike(found, outputs)

    def failed(self, id: str, message: str) -> RegressionPrediction:
        """What is told of an input that could not be read."""
        return RegressionPrediction(id, None, None, self.names, error=message)

    def metrics(self, names: Sequence[str | Callable[[Any, Any], Any]]) -> dict[str, Rule]:
        """Functions of (Outputs, targets) by metric name; functions of (said, targets), in the user's units, are metrics too."""
        found = metrics.chosen(names, values.METRICS, values.FASTAI, "said (mean, deviation, noise) [batch, targets]")
        return {name: self._on_outputs(metric) for name, metric in found.items()}

    def _on_outputs(self, metric: Metric) -> Rule:
        def rule(outputs: Outputs, targets: Any) -> Measured:
            table = self._in_units(np.asarray(targets, np.float64))
            whole = ~np.isnan(table).any(1)
            said = self.said(outputs)[0]
            return metric(values.Said(said.mean[whole], said.deviation[whole], said.noise), table[whole])

        return rule

    def fitted(self, outputs: Outputs, targets: Targets) -> "Regression":
        """With how far off these held-out examples were, in deviations: what sets are made from."""
        if not len(targets):
            return self
        said, table = self.said(outputs)[0], self._in_units(np.asarray(targets, np.float64))
        off = np.abs(table - said.mean) / said.deviation
        known = [np.sort(column[~np.isnan(column)]) for column in off.T]
        some = [column[evenly(len(column), MOST)] for column in known]
        return replace(self, held=tuple(tuple(map(float, column)) for column in some))

    def by_class(self, outputs: Outputs, targets: Targets) -> dict[str, Measured]:
        """`rmse.NAME`, `mae.NAME` and `r2.NAME` of each target where there are several."""
        if len(self.names) == 1:
            return {}
        said, table = self.said(outputs)[0], self._in_units(np.asarray(targets, np.float64))
        found = {}
        for place, name in enumerate(self.names):
            known = ~np.isnan(table[:, place])
            one = values.Said(said.mean[known, place, None], said.deviation[known, place, None], said.noise)
            for figure in ("rmse", "mae", "r2"):
                found[f"{figure}.{name}"] = values.METRICS[figure](one, table[known, place, None])
        return found


def _halves(outputs: Float[Tensor, "*batch outputs"]) -> tuple[Float[Tensor, "*batch targets"], Float[Tensor, "*batch targets"]]:
    """Means and log squared scales."""
    mean, spread = outputs.chunk(2, dim=-1)
    return mean, spread.clamp(SHARPEST, FLATTEST)


def _averaged(views: Sequence[Float[np.ndarray, "*batch outputs"]]) -> Float[Tensor, "*batch outputs"]:
    halves = [_halves(torch.from_numpy(view)) for view in views]
    mean = torch.stack([mean for mean, _ in halves]).mean(0)
    spread = torch.stack([spread.exp() for _, spread in halves]).mean(0).log()
    return torch.cat([mean, spread], dim=-1)


def _drawn(outputs: Outputs) -> Float[np.ndarray, "samples batch outputs"]:
    """Draws: the samples, or two whose means have the same mean and the same variances."""
    if outputs.samples is not None:
        return array(outputs.samples)
    mean = array(outputs.mean)
    deviation = np.sqrt(np.maximum(np.diagonal(array(outputs.cov), axis1=1, axis2=2), 0.0))
    deviation[:, deviation.shape[1] // 2 :] = 0.0
    return np.stack([mean - deviation, mean + deviation])
