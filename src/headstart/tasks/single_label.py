"""One class per example: softmax, cross-entropy, and predictions with their uncertainty in nats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from headstart import metrics
from headstart.core import Outputs
from headstart.errors import DataError, unknown_name
from headstart.metrics import Measured, classes
from headstart.tasks._arrays import divided, knows_spread, precise, told_unlike
from headstart.tasks._class_names import ClassNames
from headstart.tasks._one_class import SingleLabelPrediction
from headstart.tasks._promises import Promises
from headstart.tasks._prototypes import directions
from headstart.tasks._softmax import averaged, known, probabilities
from headstart.tasks._states import require_state

Rule = Callable[[Outputs, Any], Measured]
T = TypeVar("T", bound="SingleLabel")
ROUNDS = 200


@dataclass(frozen=True)
class SingleLabel(ClassNames):
    """The task of naming the one class an example belongs to; the head gives one logit per class."""

    solver: str = field(default="softmax", init=False)
    default_metrics: tuple[str, ...] = field(default=("error_rate",), init=False)
    exact: bool = field(default=True, init=False)
    promises: Promises | None = None
    """What can be promised of answers, once examples were held out to tell."""

    @cached_property
    def _threshold(self) -> float | None:
        """From which probability on the usual risk is promised."""
        return None if self.promises is None else self.promises.threshold()

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        return super().state() | ({} if self.promises is None else {"promises": self.promises.state()})

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        """The task whose `state()` this is."""
        require_state(state, cls.name, ("classes",), ("promises",))
        kept = state.get("promises")
        promises = None if kept is None else Promises.from_state(kept)
        return cls(tuple(map(str, state["classes"])), promises=promises)

    def widened(self: T, raw: Sequence[Any]) -> T:
        """With the classes that are new after the others, of which nothing is promised."""
        return replace(super().widened(raw), promises=None)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def encode(self, raw: Sequence[Any]) -> Int[Tensor, " batch"]:
        """The place of each label among the classes.

        Raises:
            DataError: for a label that is none of the classes, with the nearest ones.
        """
        try:
            return torch.tensor([self._places[label] for label in raw], dtype=torch.int64)
        except (KeyError, TypeError):
            strange = next(label for label in raw if not isinstance(label, str) or label not in self._places)
        if strange is None:
            raise DataError("an example has no label, so nothing can be learned or measured from it. Leave it out, or label it.")
        raise DataError(f"{unknown_name('class', str(strange), self.classes)} The model was made for {self.outputs} classes.")

    def decode(self, targets: Int[Tensor, " batch"] | Int[np.ndarray, " batch"]) -> list[str]:
        """The label at each place."""
        return [self.classes[place] for place in targets.tolist()]

    def texts(self, targets: Int[Tensor, " batch"] | Int[np.ndarray, " batch"]) -> list[str]:
        """The label at each place."""
        return self.decode(targets)

    def new_rows(
        self,
        inputs: Float[np.ndarray, "batch inputs"],
        targets: Int[Tensor, " batch"],
        weight: Float[np.ndarray, "known inputs"],
        bias: Float[np.ndarray, " known"],
    ) -> tuple[Float[np.ndarray, "new inputs"], Float[np.ndarray, " new"]]:
        """Prototypes of the new classes on the scale of the others (`tasks._prototypes`), as probable as they are frequent."""
        has = targets.numpy()[:, None] == np.arange(len(bias), self.outputs)
        rows = directions(inputs, has, weight)
        known = inputs.astype(np.float64) @ weight.T.astype(np.float64) + bias
        return rows, _biases(known, inputs.astype(np.float64) @ rows.T, has.mean(0))

    def groups(self, targets: Int[Tensor, " batch"]) -> Int[np.ndarray, " batch"]:
        """The class of each."""
        return targets.cpu().numpy()

    def loss(
        self, outputs: Float[Tensor, "batch outputs"], targets: Int[Tensor, " batch"], smoothing: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy of each example in nats, in float32 at least; `smoothing` is the share of truth that all classes get."""
        return functional.cross_entropy(precise(outputs), targets, reduction="none", label_smoothing=smoothing)

    def output_hessian(
        self, outputs: Float[Tensor, "batch outputs"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs outputs"]:
        """diag(p) - p p^T of each example; it does not depend on the target."""
        probs = precise(outputs).softmax(1)
        return torch.diag_embed(probs) - probs[:, :, None] * probs[:, None, :]

    def whitened(
        self, outputs: Float[Tensor, "batch outputs"], deviations: Float[Tensor, "batch outputs draws"]
    ) -> Float[Tensor, "batch outputs draws"]:
        """sqrt(p) (d - p^T d), for R = diag(sqrt p) - p sqrt(p)^T."""
        probs = precise(outputs).softmax(1)[..., None].to(deviations)
        return probs.sqrt() * (deviations - (probs * deviations).sum(1, keepdim=True))

    def answer_probabilities(self, outputs: Float[Tensor, "draws batch outputs"]) -> Float[Tensor, "draws batch outputs"]:
        """Of each class, under each draw of the outputs."""
        return outputs.double().softmax(2)

    def mean_hessian(
        self, outputs: Float[Tensor, "batch outputs"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "outputs outputs"]:
        """diag(mean p) - mean p p^T: one product."""
        probs = precise(outputs).softmax(1)
        return torch.diag(probs.mean(0)) - probs.T @ probs / len(probs)

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """Outputs whose probabilities are the mean of those of the views; of a single view, that view itself."""
        return averaged(views)

    def tempered(self, outputs: Outputs, temperature: float) -> Outputs:
        """Logits divided by the temperature."""
        return divided(outputs, temperature)

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[SingleLabelPrediction]:
        """One prediction per example, in order; uncertainties where the outputs know their spread."""
        if not knows_spread(outputs):
            found = [self._said(id, values) for id, values in zip(ids, probabilities(outputs), strict=True)]
        else:
            spread = known(outputs)
            found = [
                self._said(id, values, (interval[0], interval[1]), *parts)
                for id, values, interval, parts in zip(
                    ids, spread.probs, spread.intervals.tolist(), spread.uncertainty.tolist(), strict=True
                )
            ]
        return told_unlike(found, outputs)

    def _said(self, id: str, values: Float[np.ndarray, " classes"], *known: Any) -> SingleLabelPrediction:
        label, threshold = self.classes[int(values.argmax())], self._threshold
        found = SingleLabelPrediction(id, label, values, self.classes, *known)
        if self.promises is None:
            return found
        answer = label if threshold is None or values.max() >= threshold else None
        return replace(found, answer=answer, promised=threshold is not None, promises=self.promises)

    def failed(self, id: str, message: str) -> SingleLabelPrediction:
        """What is told of an input that could not be read."""
        return SingleLabelPrediction(id, None, None, self.classes, error=message)

    def metrics(self, names: Sequence[str | Callable[[Any, Any], Any]]) -> dict[str, Rule]:
        """Functions of (Outputs, targets) by metric name, in the order given; functions of (probs, targets) are metrics too."""
        found = metrics.chosen(names, classes.METRICS, classes.FASTAI)
        return {name: _on_outputs(metric) for name, metric in found.items()}

    def fitted(self, outputs: Outputs, targets: Any) -> "SingleLabel":
        """With what can be promised of answers, as these held-out examples tell; there are promises only for outputs with a posterior."""
        if not len(targets):
            return self
        return replace(self, promises=Promises.of(probabilities(outputs), np.asarray(targets).astype(np.int64)))

    def by_class(self, outputs: Outputs, targets: Any) -> dict[str, Measured]:
        """`recall.NAME` and `precision.NAME` of each class, with 95 % intervals."""
        found = classes.recall_and_precision(probabilities(outputs), np.asarray(targets).astype(np.int64))
        named = zip(self.classes, found, strict=True)
        return {
            f"{figure}.{name}": one for name, pair in named for figure, one in zip(("recall", "precision"), pair, strict=True)
        }


def _on_outputs(metric: metrics.Metric) -> Rule:
    def rule(outputs: Outputs, targets: Any) -> Measured:
        return metric(probabilities(outputs), np.asarray(targets).astype(np.int64))

    return rule


def _biases(
    known: Float[np.ndarray, "batch known"], new: Float[np.ndarray, "batch new"], shares: Float[np.ndarray, " new"]
) -> Float[np.ndarray, " new"]:
    """The biases with which the new classes are as probable, on average, as they are frequent; by Newton's steps, none too long."""
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    bias = known.max(1).mean() - new.mean(0)
    rest = np.logaddexp.reduce(known, axis=1)
    for _ in range(ROUNDS):
        logits = np.column_stack([rest, new + bias])
        probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[:, 1:]
        slope = np.diag(probs.mean(0)) - probs.T @ probs / len(probs)
        step = np.linalg.solve(slope + 1e-9 * np.eye(len(shares)), shares - probs.mean(0))
        bias = bias + np.clip(step, -1, 1)
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return bias
