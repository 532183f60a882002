"""What happens in a training, as facts, and who watches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from headstart.core.words import Row


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step has been made. `loss` is a tensor still on its device: reading it may wait for the device.

    `steps` is how many the phase will have, an estimate when its end is a matter of time. `progress` is the share of the phase
    that set the step's learning rate, `left` the seconds left of a phase by the clock.
    """

    epoch: int
    step: int
    steps: int
    loss: Any
    lr: float
    progress: float = 0.0
    left: float | None = None


@dataclass(frozen=True, slots=True)
class EpochDone:
    """A pass over the training images has been made; `last` is the phase's last, which a clock may end before it is complete."""

    epoch: int
    train_loss: float
    lr: float
    last: bool


@dataclass(frozen=True, slots=True)
class Cooling:
    """The learning rate begins to fall: what the model is now can be trained further later without a restart."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The phase under way has another course than planned: smaller pieces, a lower rate, an earlier end."""


@dataclass(frozen=True, slots=True)
class RowDone:
    """A row of the table is complete: the state of the model has been evaluated. `row` is the machine-readable contract."""

    row: Row


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Work that is no training step: `done` of `total` in the stage named `what` ("reading images", "features", ...)."""

    what: str
    done: int
    total: int


Event = StepDone | EpochDone | Cooling | Changed | RowDone | Note | Progress
Events = Iterator[Event]


@runtime_checkable
class Observer(Protocol):
    """Watches a run and cannot change it."""

    def show(self, event: Event) -> None: ...

    def close(self) -> None: ...
