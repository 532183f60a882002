"""Any number of labels per example: an independent Bernoulli for each, with thresholds chosen on examples that did not train."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from headstart import metrics
from headstart.core import Label, Outputs
from headstart.errors import DataError, unknown_name
from headstart.metrics import Measured, labels
from headstart.modalities import _cells
from headstart.seeds import numpy_generator
from headstart.tasks._arrays import array, divided, knows_spread, precise, told_unlike
from headstart.tasks._label_names import LabelNames, names_in
from headstart.tasks._promises import Promises
from headstart.tasks._prototypes import directions
from headstart.tasks._some_labels import NONE, LabelPromises, MultiLabelPrediction, surety

Rule = Callable[[Outputs, Any], Measured]
Targets = Float[Tensor, "batch labels"]
DRAWS = 256


@dataclass(frozen=True)
class MultiLabel(LabelNames):
    """The task of naming the labels that an example has; the head gives one logit per label."""

    solver: str = field(default="bernoulli", init=False)
    default_metrics: tuple[str, ...] = field(default=("mAP", "f1"), init=False)
    exact: bool = field(default=True, init=False)
    promises: LabelPromises | None = None
    """What can be promised of answers, once examples were held out to tell."""

    @cached_property
    def _threshold(self) -> float | None:
        """From which probability of all labels together the usual risk is promised."""
        return None if self.promises is None else self.promises.answers.threshold()

    def state(self) -> dict[str, Any]:
        """With the promises, where there are any."""
        if self.promises is None:
            return super().state()
        return super().state() | {"promises": self.promises.answers.state(), "sets": self.promises.sets.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "MultiLabel":
        """The task whose `state()` this is."""
        plain = {key: value for key, value in state.items() if key not in ("promises", "sets")}
        kept = [Promises.from_state(state[key]) for key in ("promises", "sets") if key in state]
        return replace(super().from_state(plain), promises=LabelPromises(*kept) if kept else None)

    def widened(self, raw: Sequence[Label]) -> "MultiLabel":
        """With the labels that are new after the others, of which nothing is promised."""
        return replace(super().widened(raw), promises=None)

    # -------------------------------------------------------------------------------------------------------- raw labels

    def encode(self, raw: Sequence[Label | None]) -> Targets:
        """1 where an example has a label, 0 where it has not, no number where a cell says that nobody knows.

        Raises:
            DataError: for a name that is none of the labels, with the nearest ones, and for an example without a label.
        """
        return torch.from_numpy(np.array([self._target(label) for label in raw], np.float32).reshape(-1, self.outputs))

    def _target(self, label: Label | None) -> list[float]:
        if label is None:
            raise DataError("an example has no label, so nothing can be learned or measured from it. Leave it out, or label it.")
        if self.cells and not isinstance(label, str):
            return [_flag(cell) for cell in label]
        names = names_in(label, self.separator)
        if strange := [name for name in names if name not in self.names]:
            raise DataError(f"{unknown_name('label', strange[0], self.names)} The model was made for {self.outputs} labels.")
        return [float(name in names) for name in self.names]

    def decode(self, targets: Targets) -> list[tuple[str, ...]]:
        """The names of the labels that each example has."""
        return [tuple(name for name, has in zip(self.names, row, strict=True) if has > 0.5) for row in targets.tolist()]

    def texts(self, targets: Targets) -> list[str]:
        """The same as text."""
        return [", ".join(names) or NONE for names in self.decode(targets)]

    def groups(self, targets: Targets) -> None:
        """None: an example belongs to several."""

    def new_rows(
        self,
        inputs: Float[np.ndarray, "batch inputs"],
        targets: Targets,
        weight: Float[np.ndarray, "known inputs"],
        bias: Float[np.ndarray, " known"],
    ) -> tuple[Float[np.ndarray, "new inputs"], Float[np.ndarray, " new"]]:
        """Prototypes of the new labels on the scale of the others; the bias puts the middle example at the label's share."""
        has = targets.numpy()[:, len(bias) :] > 0.5
        rows = directions(inputs, has, weight)
        share = np.clip(has.mean(0), 1e-3, 1 - 1e-3)
        return rows, np.log(share / (1 - share)) - (inputs.astype(np.float64) @ rows.T).mean(0)

    # -------------------------------------------------------------------------------------------------------- likelihood

    def loss(self, outputs: Float[Tensor, "batch outputs"], targets: Targets, smoothing: float = 0.0) -> Float[Tensor, " batch"]:
        """Negative log-likelihood of all labels of each example together, in nats; what nobody knows counts nothing.

        `smoothing` is the share of truth that both answers get.
        """
        known = ~torch.isnan(targets)
        truth = torch.where(known, targets, 0.0).to(outputs.device) * (1 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(precise(outputs), truth.to(precise(outputs)), reduction="none")
        return (losses * known.to(outputs.device)).sum(1)

    def output_hessian(self, outputs: Float[Tensor, "batch outputs"], targets: Targets) -> Float[Tensor, "batch outputs outputs"]:
        """diag(p (1 - p)) of each example, zero where nobody knows."""
        probs = precise(outputs).sigmoid()
        return torch.diag_embed(probs * (1 - probs) * ~torch.isnan(targets))

    def whitened(
        self, outputs: Float[Tensor, "batch outputs"], deviations: Float[Tensor, "batch outputs draws"]
    ) -> Float[Tensor, "batch outputs draws"]:
        """sqrt(p (1 - p)) d."""
        probs = precise(outputs).sigmoid()
        return (probs * (1 - probs)).sqrt()[..., None].to(deviations) * deviations

    def mean_hessian(self, outputs: Float[Tensor, "batch outputs"], targets: Targets) -> Float[Tensor, "outputs outputs"]:
        """diag(mean p (1 - p)), where nobody knows zero."""
        probs = precise(outputs).sigmoid()
        return torch.diag((probs * (1 - probs) * ~torch.isnan(targets)).mean(0))

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """Outputs whose probabilities are the mean of those of the views; draws of a posterior are averaged one by one."""
        if len(views) == 1:
            return views[0]
        mean = _logits(np.mean([_sigmoid(array(view.mean)) for view in views], axis=0))
        if not all(map(knows_spread, views)):
            return Outputs(mean)
        return Outputs(mean, samples=_logits(np.mean([_drawn(view) for view in views], axis=0)))

    # ---------------------------------------------------------------------------------------------------------- answers

    def _thresholds(self) -> Float[np.ndarray, " labels"]:
        return np.array(self.thresholds or (0.5,) * self.outputs)

    def fitted(self, outputs: Outputs, targets: Targets) -> "MultiLabel":
        """With the threshold of each label that serves these examples best (`metrics.labels.best_thresholds`), and what can be promised."""
        probs, truths = probabilities(outputs), np.asarray(targets)
        found = labels.best_thresholds(probs, truths)
        return replace(self, thresholds=tuple(float(round(each, 4)) for each in found), promises=LabelPromises.of(probs, truths))

    def tempered(self, outputs: Outputs, temperature: float) -> Outputs:
        """Logits divided by the temperature."""
        return divided(outputs, temperature)

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[MultiLabelPrediction]:
        """One prediction per example, in order; uncertainties where the outputs know their spread."""
        probs, thresholds = probabilities(outputs), self._thresholds()
        spread = uncertainty(outputs) if knows_spread(outputs) else [(None, None, None)] * len(probs)
        has = probs >= thresholds
        rows = zip(ids, probs, has, surety(probs, has).tolist(), spread, strict=True)
        return told_unlike([self._promised(id, values, said, sure, parts) for id, values, said, sure, parts in rows], outputs)

    def _promised(
        self, id: str, values: Float[np.ndarray, " labels"], has: Bool[np.ndarray, " labels"], sure: float, parts: Any
    ) -> MultiLabelPrediction:
        said, threshold = self._said(has), self._threshold
        found = MultiLabelPrediction(id, said, values, self.names, *parts, surety=sure)
        if self.promises is None:
            return found
        answer = said if threshold is None or sure >= threshold else None
        return replace(found, answer=answer, promised=threshold is not None, promises=self.promises)

    def _said(self, has: Bool[np.ndarray, " labels"]) -> tuple[str, ...]:
        return tuple(name for name, yes in zip(self.names, has.tolist(), strict=True) if yes)

    def failed(self, id: str, message: str) -> MultiLabelPrediction:
        """What is told of an input that could not be read."""
        return MultiLabelPrediction(id, None, None, self.names, error=message)

    def metrics(self, names: Sequence[str | Callable[[Any, Any], Any]]) -> dict[str, Rule]:
        """Functions of (Outputs, targets) by metric name; functions of (probs, targets) are metrics too."""
        known = labels.decided(self._thresholds())
        found = metrics.chosen(names, known, labels.FASTAI, "probs [batch, labels]")
        return {name: _on_outputs(metric) for name, metric in found.items()}

    def by_class(self, outputs: Outputs, targets: Targets) -> dict[str, Measured]:
        """`recall.NAME`, `precision.NAME` and `average_precision.NAME` of each label, with 95 % intervals."""
        found = labels.by_label(probabilities(outputs), np.asarray(targets), self._thresholds())
        return {
            f"{figure}.{name}": one for name, figures in zip(self.names, found, strict=True) for figure, one in figures.items()
        }


def probabilities(outputs: Outputs) -> Float[np.ndarray, "batch labels"]:
    """Of each label: sigmoid of the logits, averaged over their spread where it is known. float64."""
    return _drawn(outputs).mean(0) if knows_spread(outputs) else _sigmoid(array(outputs.mean))


def uncertainty(outputs: Outputs) -> list[tuple[float, float, float]]:
    """(total, aleatoric, epistemic) of each example in nats, summed over its labels: H(mean p) = mean H(p) + mutual information."""
    draws = _drawn(outputs)
    total, aleatoric = _entropy(draws.mean(0)), _entropy(draws).mean(0)
    return list(zip(total.tolist(), aleatoric.tolist(), np.maximum(total - aleatoric, 0.0).tolist(), strict=True))


def _drawn(outputs: Outputs) -> Float[np.ndarray, "samples batch labels"]:
    """Draws of the probabilities: the samples, or a Gaussian looked at from fixed base points, label by label."""
    if outputs.samples is not None:
        return _sigmoid(array(outputs.samples))
    mean = array(outputs.mean)
    deviation = np.sqrt(np.maximum(np.diagonal(array(outputs.cov), axis1=1, axis2=2), 0.0))
    half = numpy_generator(0, "multi_label", "base points").standard_normal((DRAWS // 2, 1, mean.shape[1]))
    return _sigmoid(mean + deviation * np.concatenate([half, -half]))


def _on_outputs(metric: metrics.Metric) -> Rule:
    def rule(outputs: Outputs, targets: Any) -> Measured:
        return metric(probabilities(outputs), np.asarray(targets).astype(np.float64))

    return rule


def _flag(cell: str) -> float:
    word = cell.strip().casefold()
    if word in _cells.YES:
        return 1.0
    if word in _cells.NO:
        return 0.0
    if _cells.is_unknown(cell):
        return float("nan")
    raise DataError(
        f'"{cell}" says neither that an example has a label nor that it has not. Write 1, 0, or nothing where nobody knows.'
    )


def _sigmoid(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.where(logits >= 0, 1.0, np.exp(-np.abs(logits))) / (1.0 + np.exp(-np.abs(logits)))


def _logits(probs: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logits with these probabilities."""
    tiny = np.finfo(np.float64).tiny
    return torch.from_numpy(np.log(np.maximum(probs, tiny)) - np.log(np.maximum(1 - probs, tiny)))


def _entropy(probs: Float[np.ndarray, "*batch labels"]) -> Float[np.ndarray, "*batch"]:
    tiny = np.finfo(np.float64).tiny
    parts = [each * np.log(np.maximum(each, tiny)) for each in (probs, 1 - probs)]
    return -(parts[0] + parts[1]).sum(-1)
