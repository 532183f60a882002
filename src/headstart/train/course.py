"""Where a training is: its phase, its optimizer and its place, and a copy of all of it from which it goes on exactly."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn, optim

from headstart.core import Phase
from headstart.model import Model, norm_mode, set_trainable
from headstart.train import adapters, average
from headstart.train.adapters import Adapter
from headstart.train.optim import make_optimizer


@dataclass
class Place:
    """How much of a phase is done: `batch` batches of epoch `epoch`, `step` steps and `seconds` since the phase began.

    `lr` is the largest rate of the last step; `losses` and `counts` are those of the epoch's batches so far, from which its
    training loss will be made. `rowless` is 1 when the epoch before ended too close to a deadline for a row of its own: the
    few steps after it share its row. `threads` are those of the next step by the clock, on a CPU that other programs use too; 0:
    as many as the run has.
    """

    epoch: int
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    rowless: int = 0
    threads: int = 0

    def copy(self) -> "Place":
        """An equal place that does not move on."""
        return replace(self, losses=list(self.losses), counts=list(self.counts))

    def train_loss(self) -> float:
        """Mean loss of the epoch's images so far; waits for the device."""
        # those from before an interruption are on the CPU
        losses = torch.stack([loss.to(self.losses[-1].device) for loss in self.losses])
        return float((losses.double().cpu() * torch.tensor(self.counts)).sum() / sum(self.counts))


@dataclass
class Course:
    """A phase under way. `optimizer` holds what learns: parameters of the model, and the factors of its adapted weights.

    `good` is the course as it was when its epoch began: where it steps back to when its loss is no number.
    """

    phase: Phase
    optimizer: optim.Optimizer
    place: Place
    good: "Snapshot | None" = None
    adapters: tuple[Adapter, ...] = ()
    average: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the weights over the last steps, by the names of `state_dict`; empty where none is asked for."""


@dataclass(frozen=True)
class Snapshot:
    """A copy on the CPU of everything that the next step depends on besides the data: weights, moments, place."""

    phase: Phase
    place: Place
    model: dict[str, Tensor]
    moments: dict[str, Tensor]
    adapters: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


def start(model: Model, phase: Phase, seed: int = 0) -> Course:
    """The course at its first step; the model's stages and norms are set as the phase says. `seed` is that of the adapters."""
    set_trainable(model, phase.first_stage)
    norm_mode(model, phase.norms)  # decides which norms learn, so before the optimizer is made
    attached = adapters.attach(model, phase.adapters, seed)
    optimizer = make_optimizer(model, phase, attached)
    return Course(phase, optimizer, Place(phase.first_epoch), adapters=attached, average=average.begun(model, phase.ema))


def snapshot(model: Model, course: Course) -> Snapshot:
    """The course as it is now."""
    moments = {
        f"{kind}/{name}": tensor.detach().cpu().clone()
        for name, parameter in _learning(model, course).items()
        for kind, tensor in course.optimizer.state.get(parameter, {}).items()
    }
    averaged = {name: tensor.cpu().clone() for name, tensor in course.average.items()}
    return Snapshot(course.phase, course.place.copy(), weights_of(model), moments, adapters.tensors(course.adapters), averaged)


def taken_up(model: Model, kept: Snapshot, phase: Phase) -> Course:
    """The course of `kept` going on as `phase` says, the model with its weights and the optimizer with its moments."""
    model.load_state_dict(kept.model)
    course = start(model, phase)
    adapters.put(course.adapters, kept.adapters)
    for name, tensor in course.average.items():
        tensor.copy_(kept.average.get(name, tensor))  # an average that was not asked for before starts at the weights
    parameters = _learning(model, course)
    for key, tensor in kept.moments.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        if parameter.requires_grad:
            # beware: moments must have the memory layout of their parameter, in which the optimizer walks through both
            like = parameter if tensor.shape == parameter.shape else tensor
            course.optimizer.state[parameter][kind] = torch.empty_like(like, device=parameter.device).copy_(tensor).detach()
    course.place = kept.place.copy()
    return course


def _learning(model: Model, course: Course) -> dict[str, nn.Parameter]:
    """The model's parameters and the factors of its adapted weights by name: where there are moments, these have them."""
    factors = {name: factor for each in course.adapters for name, factor in each.factors().items()}
    return dict(model.named_parameters()) | factors


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the state of a model, or of a part of one, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
