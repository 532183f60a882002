"""One class per example: softmax, cross-entropy, and predictions with their uncertainty in nats."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from headstart import metrics
from headstart.core import Outputs, Row
from headstart.errors import DataError, StoreError, unknown_name
from headstart.metrics import Measured
from headstart.seeds import numpy_generator

Rule = Callable[[Outputs, Any], Measured]
DRAWS = 256
CHUNK = 1 << 22
"""Numbers held at once while draws from a Gaussian over logits are looked at."""


@dataclass(frozen=True, slots=True)
class SingleLabelPrediction:
    """What is told of one example. What only a posterior knows is None without one; `error` says why there is no label."""

    id: str
    label: str | None
    values: Float[np.ndarray, " classes"] | None = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    total: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    answer: str | None = None
    promised: bool | None = None
    ood: float | None = None
    error: str | None = None

    @property
    def probs(self) -> dict[str, float]:
        """The probability of each class; empty if the input could not be read."""
        return {} if self.values is None else dict(zip(self.classes, map(float, self.values), strict=True))

    def row(self) -> Row:
        """The machine-readable contract of `predict --json`."""
        return {
            "id": self.id,
            "answer": self.answer,
            "promised": self.promised,
            "total": self.total,
            "aleatoric": self.aleatoric,
            "epistemic": self.epistemic,
            "ood": self.ood,
            "error": self.error,
            "label": self.label,
            "probs": None if self.values is None else self.probs,
        }

    def __repr__(self) -> str:
        if self.values is None:
            return f"Prediction({self.error})"
        share = round(100 * float(self.values.max()))
        return f"Prediction({self.label} {share if share < 100 else '>99'} %)"


@dataclass(frozen=True)
class SingleLabel:
    """The task of naming the one class an example belongs to; the head gives one logit per class."""

    classes: tuple[str, ...]
    name: str = field(default="single_label", init=False)
    solver: str = field(default="softmax", init=False)
    outputs: int = field(default=0, init=False)
    """Numbers per example that the head gives: one per class."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"to tell classes apart takes at least two, got {list(self.classes)}. Add images of another class.")
        if repeated := [name for name, count in Counter(self.classes).items() if count > 1]:
            raise DataError(f"class names must differ, got {', '.join(map(repr, repeated))} more than once.")
        object.__setattr__(self, "outputs", len(self.classes))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SingleLabel":
        """The task whose `state()` this is."""
        for key in state:
            if key not in {"name", "classes"}:
                raise unknown_name("key", key, ("name", "classes"), " in the state of the task single_label")
        if state.get("name") != "single_label" or not isinstance(state.get("classes"), list | tuple):
            raise StoreError(f"this is no state of the task single_label: {dict(state)!s:.100}. Restore task.json from a copy.")
        return cls(tuple(map(str, state["classes"])))

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        return {"name": self.name, "classes": list(self.classes)}

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

    def groups(self, targets: Int[Tensor, " batch"]) -> Int[np.ndarray, " batch"]:
        """The class of each."""
        return targets.cpu().numpy()

    def loss(
        self, outputs: Float[Tensor, "batch outputs"], targets: Int[Tensor, " batch"], smoothing: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy of each example in nats, in float32 at least; `smoothing` is the share of truth that all classes get."""
        return functional.cross_entropy(_precise(outputs), targets, reduction="none", label_smoothing=smoothing)

    def output_hessian(
        self, outputs: Float[Tensor, "batch outputs"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs outputs"]:
        """diag(p) - p p^T of each example; it does not depend on the target."""
        probs = _precise(outputs).softmax(1)
        return torch.diag_embed(probs) - probs[:, :, None] * probs[:, None, :]

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """Outputs whose probabilities are the mean of those of the views; of a single view, that view itself.

        Draws of a posterior are averaged one by one: each draw is a model that looks at all the views.
        """
        if len(views) == 1:
            return views[0]
        mean = _logs(np.mean([_softmax(_array(view.mean)) for view in views], axis=0))
        if any(view.cov is None and view.samples is None for view in views):
            return Outputs(mean)
        draws = np.mean([np.concatenate(_drawn(view), axis=1) for view in views], axis=0)
        return Outputs(mean, samples=_logs(draws))

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[SingleLabelPrediction]:
        """One prediction per example, in order; uncertainties where the outputs know their spread."""
        probs = probabilities(outputs)
        spread = [(None, None, None)] * len(probs) if outputs.cov is None and outputs.samples is None else uncertainty(outputs)
        return [
            SingleLabelPrediction(id, self.classes[int(values.argmax())], values, self.classes, *parts)
            for id, values, parts in zip(ids, probs, spread, strict=True)
        ]

    def failed(self, id: str, message: str) -> SingleLabelPrediction:
        """What is told of an input that could not be read."""
        return SingleLabelPrediction(id, None, None, self.classes, error=message)

    def metrics(self, names: Sequence[str | Callable[[Any, Any], Any]]) -> dict[str, Rule]:
        """Functions of (Outputs, targets) by metric name, in the order given; functions of (probs, targets) are metrics too."""
        found = [metrics.by_name(name) if isinstance(name, str) else metrics.from_function(name) for name in names]
        return {metric.__name__: _on_outputs(metric) for metric in found}  # pyright: ignore[reportFunctionMemberAccess]

    def by_class(self, outputs: Outputs, targets: Any) -> dict[str, Measured]:
        """`recall.NAME` and `precision.NAME` of each class, with 95 % intervals."""
        found = metrics.recall_and_precision(probabilities(outputs), np.asarray(targets).astype(np.int64))
        named = zip(self.classes, found, strict=True)
        return {
            f"{figure}.{name}": one for name, pair in named for figure, one in zip(("recall", "precision"), pair, strict=True)
        }


def probabilities(outputs: Outputs) -> Float[np.ndarray, "batch classes"]:
    """Of each class: softmax of the logits; averaged over their spread where it is known. float64, rows add up to one."""
    if outputs.cov is None and outputs.samples is None:
        return _softmax(_array(outputs.mean))
    return np.concatenate([draws.mean(0) for draws in _drawn(outputs)])


def uncertainty(outputs: Outputs) -> list[tuple[float, float, float]]:
    """(total, aleatoric, epistemic) of each example in nats: H(mean p) = mean H(p) + mutual information (Houlsby 2011, eq. 2)."""
    found = []
    for draws in _drawn(outputs):
        total, aleatoric = _entropy(draws.mean(0)), _entropy(draws).mean(0)
        found += zip(total.tolist(), aleatoric.tolist(), np.maximum(total - aleatoric, 0.0).tolist(), strict=True)
    return found


def _drawn(outputs: Outputs) -> list[Float[np.ndarray, "samples batch classes"]]:
    """Draws of the probabilities, in pieces of the batch: the samples, or a Gaussian looked at from fixed base points.

    Beware of the shorter mean-field formula softmax(mean / sqrt(1 + pi/8 var)): it takes what all logits share, which
    changes no probability, for uncertainty.
    """
    if outputs.samples is not None:
        return [_softmax(_array(outputs.samples))]
    mean, cov = _array(outputs.mean), _array(outputs.cov)
    batch, classes = mean.shape
    half = numpy_generator(0, "single_label", "base points").standard_normal((DRAWS // 2, classes))
    points = np.concatenate([half, -half])
    step = max(1, CHUNK // (DRAWS * classes))
    pieces = []
    for start in range(0, batch, step):
        values, vectors = np.linalg.eigh(cov[start : start + step])
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        pieces.append(_softmax(mean[start : start + step] + np.einsum("bij,sj->sbi", root, points)))
    return pieces


def _on_outputs(metric: metrics.Metric) -> Rule:
    def rule(outputs: Outputs, targets: Any) -> Measured:
        return metric(probabilities(outputs), np.asarray(targets).astype(np.int64))

    return rule


def _precise(outputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def _array(values: Any) -> Float[np.ndarray, "*shape"]:
    return torch.as_tensor(values).detach().cpu().double().numpy()


def _softmax(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _logs(probs: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logits with exactly these probabilities."""
    return torch.from_numpy(np.log(np.maximum(probs, np.finfo(np.float64).tiny)))


def _entropy(probs: Float[np.ndarray, "*batch classes"]) -> Float[np.ndarray, "*batch"]:
    return -(probs * np.log(np.maximum(probs, np.finfo(np.float64).tiny))).sum(-1)
