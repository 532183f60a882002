"""The posterior of a run is fitted: which one, to what, for the row that is kept, in the time that is left."""

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headstart import plugins
from headstart.backbones._wrapped import as_eval
from headstart.core import Event, Note, Settings
from headstart.errors import BadSetting
from headstart.learner import crossed
from headstart.learner.fitted import Fitted
from headstart.model import Model
from headstart.posteriors import _likeness as likeness
from headstart.posteriors._problem import Labelled, Problem
from headstart.train.begin import Begun
from headstart.train.budget import CLOSING_SECONDS, FEW_BELIEVED
from headstart.train.solved import BELIEVED, enough, features_now, solver_at
from headstart.train.state import Seen, TrainState

NONE = "none"
UNSOLVABLE = (np.linalg.LinAlgError, ValueError, MemoryError)
"""What fitting may end in where features are no numbers, or nothing is determined: no reason to lose a training."""
AT_ONCE = 1024
"""Examples that the head is given at once."""


def name_of(settings: Settings, model: Model, name: str | None = None) -> str:
    """The method: the one that is named, or that of the settings, or what suits the head.

    Raises:
        UnknownName: with the nearest.
        BadSetting: for one that the head cannot have.
    """
    name = name or settings.posterior
    if name is None:
        return "temperature" if model.head.final is None else "laplace"
    if name == NONE:
        return name
    if plugins.find("posteriors", name).WEIGHTS and model.head.final is None:
        raise BadSetting(
            f'posterior="{name}" is one of the weights of a last linear layer that sees an example as a whole, and a head of the kind '
            f'"{model.head_kind}" has none. There is posterior="temperature", or "none".'
        )
    return name


def require_known(settings: Settings) -> None:
    """Raises `UnknownName` for a posterior that there is not, with the nearest."""
    if settings.posterior not in (None, NONE):
        plugins.find("posteriors", str(settings.posterior))


def at_hand(begun: Begun, settings: Settings) -> Fitted | None:
    """That of the row which is kept, where all that it takes is known already."""
    state = begun.state
    name, epoch = name_of(settings, state.model), state.kept()["epoch"]
    if name == NONE or state.seen is None or state.seen.epoch != epoch:
        return None
    started = time.perf_counter()
    try:
        return _fitted(state, name, state.seen)
    except UNSOLVABLE:
        return None  # told at the end of the training
    finally:
        state.spent["posterior"] = time.perf_counter() - started


def of_kept(
    begun: Begun, settings: Settings, left: Callable[[], float], name: str | None = None
) -> Generator[Event, None, Fitted | None]:
    """The posterior of the weights that the model has, which are those of the kept row; features are computed where they are missing.

    Where fewer than so many seconds are `left` than this takes, of fewer training images; of none only the temperature is fitted.
    """
    state, task = begun.state, begun.state.task
    name, epoch = name_of(settings, state.model, name), state.kept()["epoch"]
    if name == NONE:
        return None
    if state.model.head.final is None:
        held = Labelled(torch.empty(len(state.parts["valid"]), 0), _said_of_valid(state), state.parts["valid"].targets)
        nothing = np.full(task.outputs, np.inf)
        posterior = plugins.find("posteriors", name).fit(Problem(task, held.some(0), held, nothing, 0))
        return Fitted(name, posterior, epoch, task.fitted(posterior.outputs(held.given, held.said), held.targets))
    if state.seen is None or state.seen.epoch != epoch:
        state.seen = yield from _seen(state, epoch, left)
    if not enough(state.parts["train"], state.seen.which):
        yield Note("There was no time for the posterior of the head: predictions have a temperature, and no epistemic part.")
        return _fitted(state, "temperature", state.seen)
    dealt = None
    if crossed.has_time(state, left):
        train = state.parts["train"]
        dealt, items = crossed.dealt(begun, train.at(state.seen.which).ids), train.store.modality.words.items
        yield Note(
            f"How sure answers may be is told by the validation {items}, and by {len(dealt):,} training {items} as heads judge them "
            "that were solved without them."
        )
    try:
        return _fitted(state, name, state.seen, dealt)
    except UNSOLVABLE as error:
        yield Note(f"The posterior {name} could not be fitted ({error}), so predictions are point estimates.")
        return None


def _seen(state: TrainState, epoch: int, left: Callable[[], float]) -> Generator[Event, None, Seen]:
    """The features of the kept row, of as many training images as there is time for."""
    most = BELIEVED if left() == float("inf") else FEW_BELIEVED
    reserve = CLOSING_SECONDS + state.spent.get("saving", 1.0) + state.spent.get("posterior", 1.0)
    valid, others = yield from features_now(state, "valid", most=BELIEVED)
    rows, which = yield from features_now(state, "train", lambda: left() > reserve, most)
    return Seen(epoch, rows, which, valid, others)


def _fitted(state: TrainState, name: str, seen: Seen, dealt: Int[np.ndarray, " some"] | None = None) -> Fitted:
    """Calibrated on the validation examples; where the training examples are dealt into folds, on these too."""
    learned, held = _learned(state, seen), _labelled(state.model, seen.valid, state.parts["valid"].targets[seen.which_valid])
    held = held if dealt is None else held.and_those(crossed.judged(state, seen, learned, dealt))
    method, precision = plugins.find("posteriors", name), seen.precision
    if precision is None and method.WEIGHTS:
        precision = solver_at(state, state.model.head.final)(learned.given.numpy(), learned.targets.numpy()).precision
    if precision is None:
        precision = np.full(state.task.outputs, np.inf)
    head = state.model.head
    turned = seen.turned if head.final is head.solvable else None
    posterior = method.fit(Problem(state.task, learned, held, precision, len(state.parts["train"]), turned))
    task = state.task.fitted(posterior.outputs(held.given, held.said), held.targets)
    folds = () if dealt is None else ((rows[~away], rows[away]) for away, rows in crossed.apart(state, seen.train, dealt))
    return Fitted(name, posterior, seen.epoch, task, likeness.fit(seen.train, seen.valid, folds) if len(seen.train) else None)


def _learned(state: TrainState, seen: Seen) -> Labelled:
    return _labelled(state.model, seen.train, state.parts["train"].targets[seen.which])


def _labelled(model: Model, rows: Float[np.ndarray, "batch features"], targets: Any) -> Labelled:
    """What the head is given of these features and says of them."""
    return Labelled(*through_head(model, rows), targets)


def through_head(model: Model, rows: Float[np.ndarray, "batch features"]) -> tuple[Tensor, Tensor]:
    """What the last layer of the head is given of these features, and what the head says of them, on the CPU."""
    head, given, said = model.head, list[Tensor](), list[Tensor]()
    device = next(head.parameters()).device
    with torch.inference_mode(), as_eval(head):
        for piece in torch.from_numpy(rows).split(AT_ONCE):
            piece = piece.to(device)
            given.append(head.given(piece).float().cpu())
            said.append(head(piece).float().cpu())
    return torch.cat(given), torch.cat(said)


def _said_of_valid(state: TrainState) -> Tensor:
    return torch.as_tensor(state.outputs("valid").mean)
