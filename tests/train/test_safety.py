"""A training whose steps fail, by fakes that fail when told to: what it goes on with, and that it can be resumed all the same."""

import json
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.core import Changed, Event, Note, Phase, RowDone, StepDone
from headstart.engine import memory
from headstart.errors import BadSetting, HeadstartError
from headstart.learner.presses import Presses
from headstart.train import phases
from headstart.train import step as steps

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")
Gradients = Callable[..., torch.Tensor]
STEPS = 4  # of an epoch: 26 training images in batches of 8, that is of 7, 7, 6 and 6
REAL: Gradients = steps.gradients


class Killed(BaseException):
    """Ends a training as a killed process would: nobody tidies up."""


class Watcher:
    """Keeps what it is shown, and kills the training after so many steps or at the event it waits for."""

    def __init__(self, at: int | Callable[[Event], bool] | None = None) -> None:
        self.events: list[Event] = []
        self.at = at

    def show(self, event: Event) -> None:
        self.events.append(event)
        done = isinstance(event, StepDone) and len(self.steps()) == self.at
        if done or (callable(self.at) and self.at(event)):
            raise Killed

    def close(self) -> None: ...

    def steps(self) -> list[StepDone]:
        return [event for event in self.events if isinstance(event, StepDone)]

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))


@pytest.fixture(scope="module")
def shapes(make_shapes: Make) -> Path:
    return make_shapes(16)


def learner(folder: Path, watcher: Watcher | None = None, **settings: Any) -> hs.Learner:
    given = {"batch_size": 8, "keep": "last", **settings}
    return hs.Learner(hs.image_folder(folder), backbone="tiny", observer=watcher or Watcher(), **given)


def killed(folder: Path, at: int | Callable[[Event], bool], epochs: int, **settings: Any) -> hs.Learner:
    broken = learner(folder, Watcher(at), **settings)
    with pytest.raises(Killed):
        broken.fine_tune(epochs)
    return broken


def assert_same(one: hs.Learner, other: hs.Learner) -> None:
    """To the bit: the weights, and every row but for its seconds."""
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    rows = [[{**row, "seconds": 0} for row in each.history] for each in (one, other)]
    assert rows[0] == rows[1]


def fails(monkeypatch: pytest.MonkeyPatch, fake: Callable[[int, Phase], Callable[[Any], Any] | None]) -> None:
    """Has the gradient of each step computed, then `fake(number of the call, phase)` may do something with it."""
    calls = count(1)

    def gradients(model: Any, batch: Any, task: Any, phase: Phase) -> torch.Tensor:
        loss = REAL(model, batch, task, phase)
        change = fake(next(calls), phase)
        return loss if change is None else change((loss, model))

    monkeypatch.setattr(steps, "gradients", gradients)


def no_memory(_: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def no_number(given: Any) -> torch.Tensor:
    loss, model = given
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(float("nan"))
    return loss * float("nan")


def bad_gradient(given: Any) -> torch.Tensor:
    loss, model = given
    model.head.weight.grad[0, 0] = float("inf")
    return loss


# ------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_shortage_of_memory_is_told_from_other_errors(error: Exception, short: bool) -> None:
    assert memory.is_shortage(error) == short


def test_what_was_computed_before_memory_ran_out_is_free_again() -> None:
    seen = []

    def work() -> None:
        activation = torch.zeros(1000)
        seen.append(weakref.ref(activation))
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert memory.tried(work) is None
    assert seen[0]() is None
    with pytest.raises(ZeroDivisionError):
        memory.tried(lambda: 1 // 0)


@pytest.mark.slow
@pytest.mark.parametrize("norms", ["frozen", pytest.param("adapt", marks=pytest.mark.slow)])
def test_out_of_memory_the_training_is_that_with_the_smaller_piece(
    shapes: Path, norms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, lambda _, phase: no_memory if phase.piece > 3 else None)
    watcher = Watcher()
    learn = learner(shapes, watcher, norms=norms).fine_tune(2)
    assert watcher.notes().count("Memory ran out with 7 images at once: from now on 3") == 1
    assert ("the norm layers now see" in watcher.notes()) == (norms == "adapt")
    assert [phase.piece for phase in learn.run.plan().phases] == [3]
    base = phases.base_phase
    monkeypatch.setattr(phases, "base_phase", lambda *given: replace(base(*given), piece=3))
    small = learner(shapes, norms=norms).fine_tune(2)
    assert_same(learn, small)
    learn.more(1)  # which does not try again what did not fit
    assert watcher.notes().count("Memory ran out") == 1


@pytest.mark.slow
def test_a_smaller_piece_outlives_the_process(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, lambda call, _: no_memory if call == 6 else None)
    straight = learner(shapes).fine_tune(2)
    fails(monkeypatch, lambda call, _: no_memory if call == 6 else None)
    broken = killed(shapes, 6, 2, checkpoint_seconds=1000.0)
    monkeypatch.setattr(steps, "gradients", REAL)  # there is memory again
    assert_same(straight, hs.resume(broken.run.path, observer=Watcher()))


@pytest.mark.slow
@pytest.mark.parametrize(("norms", "least"), [pytest.param("frozen", 1, marks=pytest.mark.slow), ("train", 2)])
def test_where_the_smallest_piece_does_not_fit_it_says_what_does(
    shapes: Path, norms: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[int] = []
    fails(monkeypatch, lambda _, phase: pieces.append(phase.piece) or no_memory)
    learn = learner(shapes, norms=norms)
    with pytest.raises(HeadstartError, match=f"even {least} at a time.*--size"):
        learn.fine_tune(1)
    assert pieces[-1] == least
    assert [row["epoch"] for row in learn.history] == [0]


# -------------------------------------------------------------------------------------------------- a loss that is none


def at_lower_rate(folder: Path) -> hs.Learner:
    """A training of two epochs that was killed after the first and taken up with three tenths of the rate."""
    broken = killed(folder, STEPS, 2, checkpoint_seconds=0.0)
    file = max(path for path in broken.run.checkpoints.iterdir() if path.name.isdecimal()) / "state.json"
    state = json.loads(file.read_text())
    state["phase"]["lr"] *= 0.3
    file.write_text(json.dumps(state))
    return hs.resume(broken.run.path, observer=Watcher())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "fault", "at_once"),
    [
        pytest.param(5, no_number, True, marks=pytest.mark.slow),
        pytest.param(5, no_number, False, marks=pytest.mark.slow),
        (7, no_number, True),
        (8, bad_gradient, False),
    ],
)
def test_the_training_steps_back_to_where_its_epoch_began_and_goes_on_at_a_lower_rate(
    shapes: Path, call: int, fault: Any, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether each loss is read at once, as on a CPU, or all of them at the end of the epoch; the rate falls from step 6 on."""
    wanted = at_lower_rate(shapes)
    monkeypatch.setattr("headstart.train.loop.read_at_once", lambda _: at_once)
    fails(monkeypatch, lambda number, _: fault if number == call else None)
    watcher = Watcher()
    learn = learner(shapes, watcher).fine_tune(2)
    assert watcher.notes().count("steps back to where that epoch began") == 1
    assert [phase.setbacks for phase in learn.run.plan().phases] == [1]
    assert_same(learn, wanted)
    assert learn._session.begun is not None and learn._session.begun.state.trunk is not None
    assert learn._session.begun.state.trunk.place.step == 5
    assert all(tensor.isfinite().all() for tensor in learn._session.begun.state.trunk.model.values())
    learn.more(1)
    assert learn.run.plan().phases[-1].lr == pytest.approx(0.3 * phases.SOLVED_LR)


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        pytest.param(5, marks=pytest.mark.slow),
        lambda event: isinstance(event, Changed),
        7,
        pytest.param(9, marks=pytest.mark.slow),
    ],
)
def test_a_training_killed_around_a_step_back_resumes_to_the_same_weights(
    shapes: Path, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 6, the second of its epoch, gives no number; 5 of the steps that a watcher sees come before it."""

    def once_in_step_6(call: int, phase: Phase) -> Any:
        first = 6 - done
        return no_number if call == first and not phase.setbacks else None

    done = 0
    fails(monkeypatch, once_in_step_6)
    straight = learner(shapes).fine_tune(2)
    fails(monkeypatch, once_in_step_6)
    broken = killed(shapes, at, 2, checkpoint_seconds=0.0)
    done = at if at == 5 else 0
    fails(monkeypatch, once_in_step_6)
    assert_same(straight, hs.resume(broken.run.path, observer=Watcher()))
    assert not broken.run.checkpoints.exists()


@pytest.mark.slow
def test_after_three_steps_back_the_rows_are_kept_and_the_rate_is_blamed(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, lambda call, _: no_number if call > STEPS else None)
    watcher = Watcher()
    learn = learner(shapes, watcher)
    with pytest.raises(HeadstartError, match=r"3 times at a lower rate.*base_lr"):
        learn.fine_tune(2)
    assert [row["epoch"] for row in learn.history] == [0, 1]
    assert watcher.notes().count("steps back") == 3
    assert len(watcher.steps()) == STEPS


def test_by_the_clock_a_step_back_takes_no_time_back_and_the_log_begins_anew(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 100)
    monkeypatch.setattr("headstart.train.precision.choose", lambda *_: "float32")
    fails(monkeypatch, lambda call, _: no_number if call == 7 else None)
    broken = learner(shapes, Watcher(8), checkpoint_seconds=1000.0)
    with pytest.raises(Killed):
        broken.fine_tune(minutes=0.2)
    logged = broken.run.steps()
    assert [entry[0] for entry in logged] == [5, 6]
    assert logged[0][2] > 6 / 100  # time went on: more ticks have passed than the steps that count
    again = Watcher(2)
    with pytest.raises(Killed):
        hs.resume(broken.run.path, observer=again)
    assert [[event.step, event.progress] for event in again.steps()] == [entry[:2] for entry in logged]


# ----------------------------------------------------------------------------------------------------- ending early


@pytest.mark.slow
def test_patience_lets_the_rate_fall_and_ends_the_phase(shapes: Path) -> None:
    """The training loss of mixed images is above that of row 0, so no row is a new best."""
    settings: dict[str, Any] = {"monitor": "train_loss", "patience": 1}
    watcher = Watcher()
    learn = learner(shapes, watcher, **settings).fine_tune(5)
    assert "No new best train_loss in 1 row: the learning rate falls from now on" in watcher.notes()
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]
    seen = watcher.steps()
    assert len(seen) == STEPS + 3  # the cool-down is 35 % of a phase of 7 steps
    shares = [event.lr / phases.SOLVED_LR for event in seen[STEPS:]]
    assert shares == pytest.approx([5 / 6, 3 / 6, 1 / 6])
    assert learn.run.plan().finished
    assert learn._session.begun is not None and learn._session.begun.state.trunk is not None
    assert learn._session.begun.state.trunk.place.step == STEPS
    for at in (6, lambda event: isinstance(event, RowDone) and event.row["epoch"] == 1):
        assert_same(learn, hs.resume(killed(shapes, at, 5, checkpoint_seconds=0.0, **settings).run.path, observer=Watcher()))
    learn.more(2)
    assert [row["epoch"] for row in learn.history] == [0, 1, 2, 3, 4]  # at row 3 the rate falls already
    more = watcher.steps()[len(seen) :]
    assert more[0].step == STEPS + 1 and more[0].lr == pytest.approx(phases.SOLVED_LR)


@pytest.mark.slow
@pytest.mark.parametrize(("presses", "rows"), [(1, [0, 1, 2]), (2, [0]), (3, [0])])
def test_a_press_anneals_a_second_stops_a_third_quits(
    shapes: Path, presses: int, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr("headstart.learner.verbs.counted", lambda gentle: pressed(gentle, made))
    watcher = Watcher(lambda event: press(event, made[0], presses))
    learn = learner(shapes, watcher, interrupt="anneal")
    if presses == 3:
        with pytest.raises(KeyboardInterrupt):
            learn.fine_tune(10)
    else:
        learn.fine_tune(10)
    assert [row["epoch"] for row in learn.history] == rows
    assert learn.stopped == (presses == 2)
    assert learn.run.plan().finished == (presses == 1)
    if presses == 1:
        assert watcher.notes().count("Ending early:") == 1
        seen = watcher.steps()
        assert len(seen) == 3 + 3
        assert [event.lr / seen[2].lr for event in seen[3:]] == pytest.approx([4 / 3, 4 / 5, 4 / 15])
        learn.more(1)
        assert [row["epoch"] for row in learn.history] == [0, 1, 2, 3]


@contextmanager
def pressed(gentle: int, made: list[Presses]) -> Iterator[Presses]:
    made.append(Presses(gentle))
    yield made[-1]


def press(event: Event, presses: Presses, times: int) -> bool:
    """Presses so many times after the third step."""
    if isinstance(event, StepDone) and event.step == 3 and presses.count == 0:
        for _ in range(times):
            presses.press(2, None)
    return False


def test_with_a_head_trained_by_gradient_an_early_end_ends_all(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("headstart.learner.verbs.counted", lambda gentle: pressed(gentle, made))
    watcher = Watcher(lambda event: press(event, made[0], 1))
    learn = learner(shapes, watcher, interrupt="anneal", head="train", freeze_epochs=5).fine_tune(5)
    assert [(row["epoch"], row["stage"]) for row in learn.history] == [(0, "head"), (1, "head")]
    assert learn.run.plan().finished


# ----------------------------------------------------------------------------------------------------- single images


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "norms", "refused"), [(1, "adapt", True), (1, "frozen", False), (25, "train", False)])
def test_a_batch_of_one_image_does_not_reach_norms_that_learn(shapes: Path, batch_size: int, norms: str, refused: bool) -> None:
    learn = learner(shapes, batch_size=batch_size, norms=norms)
    if refused:
        with pytest.raises(BadSetting, match=r"batch_size=1 .*26 training images"):
            learn.fine_tune(1)
        with pytest.raises(BadSetting, match="batch_size=1"):
            learn.fit(1)
        assert not learn.history
    else:
        phases.require_pairs(learn._session.ready().state)
    learn.fine_tune(0)  # the head alone asks for nothing


def test_an_odd_number_of_images_in_pairs_leaves_one_alone(shapes: Path) -> None:
    state = learner(shapes, batch_size=2, norms="train")._session.ready().state
    phases.require_pairs(state)
    train = state.parts["train"]
    state.parts = {"train": train.at(np.arange(5))}
    with pytest.raises(BadSetting, match="5 training images"):
        phases.require_pairs(state)
