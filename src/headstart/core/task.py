"""The output side: what a task owns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int

from headstart.core.model import Outputs
from headstart.core.settings import Settings


@dataclass(frozen=True, slots=True)
class TaskWords:
    """How a task is spoken of."""

    learned: str
    """What is learned: "3 classes"."""
    model: str
    """What a model of it is: "classifier that tells 3 classes apart"."""
    item: str
    """What one of its `names` is: "class"."""
    output: str
    """What its head gives."""
    limit: str
    """What it cannot do."""
    tag: str = ""
    """What Hugging Face calls such tasks behind the name of the modality: "classification"; empty where there is no such."""


@runtime_checkable
class Task(Protocol):
    """The output side, and the owner of the likelihood. Nothing outside `tasks/` asks which task it is."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of its classes, its labels, or the numbers that it predicts."""
        ...

    @property
    def outputs(self) -> int:
        """Numbers per example that the head must give."""
        ...

    @property
    def solver(self) -> str:
        """The file in `train/solvers/` that finds the mode of a linear head under this likelihood."""
        ...

    @property
    def head(self) -> str:
        """The file in `heads/` that gives its outputs, where nobody says."""
        ...

    @property
    def default_metrics(self) -> tuple[str, ...]: ...

    @property
    def divides(self) -> bool:
        """Whether its strata are what it tells apart: there must be two, and each must be trained before it can be judged."""
        ...

    @property
    def exact(self) -> bool:
        """Whether what is said of an example is right or wrong, and not more or less far from the truth."""
        ...

    @property
    def words(self) -> TaskWords: ...

    def accept(self, settings: Settings) -> None:
        """Raises `BadSetting` for settings that mean nothing for it, before anything is read."""
        ...

    def under(self, loss: str | None) -> "Task":
        """The task with the likelihood of this name, as `Settings.loss` gives it; itself for None."""
        ...

    def encode(self, raw: Sequence[Any]) -> Any:
        """Raw labels as a tensor of targets, one per example."""
        ...

    def decode(self, targets: Any) -> list[Any]:
        """The inverse of `encode`: raw labels, or the numbers that they are."""
        ...

    def texts(self, targets: Any) -> list[str]:
        """Each target in a few words, as `Prediction.text` would say it."""
        ...

    def counts(self, raw: Sequence[Any]) -> dict[str, int]:
        """How many examples there are of each class or label among these raw labels; empty for a task without."""
        ...

    def tells(self, label: Any) -> bool:
        """Whether a raw label says anything: a cell that holds "?" where a number is wanted does not."""
        ...

    def faults(self, raw: Sequence[Any]) -> Mapping[int, str]:
        """What is wrong with raw labels that have to be read from files, by their place, in sentences."""
        ...

    def strata(self, raw: Sequence[Any]) -> list[str]:
        """A name for each raw label: a random split keeps the shares of the names alike in all parts."""
        ...

    def unknown(self, raw: Sequence[Any]) -> list[str]:
        """The names among these raw labels that the head has no output for."""
        ...

    def widened(self, raw: Sequence[Any]) -> "Task":
        """The task with outputs for the `unknown` names of these raw labels too, after its own.

        Raises:
            DataError: where that cannot be.
        """
        ...

    def new_rows(self, inputs: Any, targets: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """Weights and biases to start the outputs after the first `len(bias)` with, from what the head's last layer is given."""
        ...

    def groups(self, targets: Any) -> Int[Any, " batch"] | None:
        """The number of the group of each target, where groups may be of unequal size (classes); None for a task without."""
        ...

    def balanced(self, targets: Any) -> "Task":
        """The task whose loss counts classes alike that these targets have unequally often; itself where `groups` see to that."""
        ...

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        """Negative log-likelihood of each example in nats: [batch, outputs], [batch] -> [batch]."""
        ...

    def output_hessian(self, outputs: Any, targets: Any) -> Any:
        """Second derivative of each example's loss by its outputs: [batch, outputs, outputs]."""
        ...

    def mean_hessian(self, outputs: Any, targets: Any) -> Any:
        """The mean of `output_hessian` over examples, summed over places where there are any, without holding one for each."""
        ...

    def whitened(self, outputs: Any, deviations: Any) -> Any:
        """Deviations of the outputs [batch, outputs, draws] in units in which a label of the example is noise of variance one.

        That is R^T deviations, with R R^T the information of a label: the mean of `output_hessian` over labels as the task expects them.
        """
        ...

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """What several views of the same examples say together. Their spread is no uncertainty of the model and must not become it."""
        ...

    def tempered(self, outputs: Outputs, temperature: float) -> Outputs:
        """What is said with so much more noise: logits divided by it, the variance of a number multiplied. 1 changes nothing."""
        ...

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[Any]:
        """One `Prediction` per example."""
        ...

    def failed(self, id: str, message: str) -> Any:
        """The `Prediction` of an input that could not be read."""
        ...

    def metrics(self, names: Sequence[Any]) -> Mapping[str, Any]:
        """Metric functions by name, for names and functions of (probs, targets); each maps (Outputs, targets) to a `metrics.Measured`."""
        ...

    def fitted(self, outputs: Outputs, targets: Any) -> "Task":
        """The task with what it chooses on examples that did not train (thresholds); itself where there is nothing to choose."""
        ...

    def by_class(self, outputs: Outputs, targets: Any) -> Mapping[str, Any]:
        """A `metrics.Measured` for each figure of each class, named `figure.class`; empty for a task without classes."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        ...
