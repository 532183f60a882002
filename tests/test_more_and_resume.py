"""Training that is never a restart: what is prolonged goes on, what is interrupted ends as it would have."""

import errno
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import headstart as hs
from headstart.core import Cooling, Event, Note, Progress, RowDone, StepDone
from headstart.engine.threads import Timing
from headstart.errors import BadSetting, DataError, Stopped, StoreError
from headstart.learner.books import Books
from headstart.store import checkpoints
from headstart.store.checkpoints import Checkpoint
from headstart.store.runs import Run
from headstart.train.begin import Begun

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")


class Killed(BaseException):
    """Ends a training as a killed process would: nobody tidies up."""


class Watcher:
    """An observer that keeps what it is shown and kills the training at the event it waits for."""

    def __init__(self, at: Callable[[Event, int], bool] | None = None) -> None:
        self.events: list[Event] = []
        self.at = at

    def show(self, event: Event) -> None:
        self.events.append(event)
        if self.at is not None and self.at(event, sum(isinstance(each, StepDone) for each in self.events)):
            raise Killed

    def close(self) -> None: ...

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))


def learner(folder: Path, watcher: Watcher | None = None, **settings: Any) -> hs.Learner:
    given = {"batch_size": 8, "keep": "last", **settings}
    return hs.Learner(hs.image_folder(folder), backbone="tiny", observer=watcher or Watcher(), **given)


@pytest.fixture(scope="module")
def shapes(make_shapes: Make) -> Path:
    return make_shapes(16)


def weights(learn: hs.Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name in one:
        assert torch.equal(one[name], other[name]), name


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# ------------------------------------------------------------------------------------------------------------ resume


def killed(folder: Path, at: int | Callable[[Event, int], bool], epochs: int, **settings: Any) -> hs.Learner:
    """The learner whose fine_tune was killed after the step `at`, or at the event that `at` tells."""
    broken = learner(folder, Watcher(at if callable(at) else after_step(at)), **settings)
    with pytest.raises(Killed):
        broken.fine_tune(epochs)
    return broken


def after_step(wanted: int) -> Callable[[Event, int], bool]:
    return lambda event, steps: isinstance(event, StepDone) and steps == wanted


def press_after(wanted: int) -> Callable[[Event, int], bool]:
    """Ctrl-C after so many steps."""

    def press(event: Event, steps: int) -> bool:
        if after_step(wanted)(event, steps):
            raise KeyboardInterrupt
        return False

    return press


def said(learn: hs.Learner) -> list[tuple[int, list[float], list[int]]]:
    """What each row said of each validation example."""
    kept = {line["epoch"]: line for line in learn.run.judged()}
    return [(line["epoch"], line["losses"], line["answers"]) for line in kept.values()]


def assert_resumes_to(straight: hs.Learner, broken: hs.Learner) -> hs.Learner:
    """Resumes the broken training, which must end as the straight one did: weights, rows, what is kept."""
    resumed = hs.resume(broken.run.path, observer=Watcher())
    assert_equal(weights(straight), weights(resumed))
    assert without_seconds(resumed.history) == without_seconds(straight.history)
    assert without_seconds(resumed.run.rows()) == without_seconds(straight.history)
    assert said(resumed) == said(straight)
    assert resumed.kept == straight.kept
    assert resumed.run.plan().finished
    assert not resumed.run.checkpoints.exists()
    return resumed


STEPS = 4  # of an epoch: 26 training images in batches of 8
COURSES: dict[str, dict[str, Any]] = {
    "fine_tune": {},
    "adapting norms": {"norms": "adapt", "mixup": 0.0},
    "head by gradient": {"head": "train", "freeze_epochs": 2},
    "keeping the best": {"keep": "best"},
    "averaged adapters on small images": {"ema": 0.9, "adapters": 2, "train_size": 20},
}


QUICK = {
    ("fine_tune", 11),
    ("adapting norms", 4),
    ("head by gradient", 1),
    ("averaged adapters on small images", 4),
}


@pytest.fixture(scope="module")
def straight(shapes: Path) -> Callable[[str, int], hs.Learner]:
    """The learner after so many epochs of a course, without an interruption; trained once, and not to be changed."""
    made: dict[tuple[str, int], hs.Learner] = {}

    def trained(course: str, epochs: int) -> hs.Learner:
        if (course, epochs) not in made:
            made[course, epochs] = learner(shapes, **COURSES[course]).fine_tune(epochs)
        return made[course, epochs]

    return trained


@pytest.mark.parametrize(
    ("course", "step"),
    [
        pytest.param(course, step, marks=() if (course, step) in QUICK else pytest.mark.slow)
        for course in COURSES
        for step in (1, 4, 11)
    ],
)
def test_a_killed_training_resumes_to_the_same_weights_and_rows(shapes: Path, straight: Any, course: str, step: int) -> None:
    broken = killed(shapes, step, 3, checkpoint_seconds=1000.0, **COURSES[course])
    assert_resumes_to(straight(course, 3), broken)


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 5, 8])
def test_a_checkpoint_after_the_last_step_of_an_epoch_makes_its_row(shapes: Path, straight: Any, step: int) -> None:
    assert_resumes_to(straight("fine_tune", 2), killed(shapes, step, 2, checkpoint_seconds=0.0))


def test_a_checkpoint_that_cannot_be_saved_is_told_once_and_stops_nothing(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StoreError("the disk is full.")

    monkeypatch.setattr("headstart.store.checkpoints.save", full)
    watcher = Watcher()
    learn = learner(shapes, watcher, checkpoint_seconds=0.0).fine_tune(2)
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]
    assert watcher.notes().count("the disk is full") == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RowDone, Cooling])
def test_a_training_killed_at_a_row_or_as_the_rate_falls_resumes(shapes: Path, straight: Any, kind: type) -> None:
    seen = []

    def second(event: Event, _steps: int) -> bool:
        seen.extend([event] if isinstance(event, kind) else [])
        return len(seen) == (2 if kind is RowDone else 1)

    assert_resumes_to(straight("fine_tune", 2), killed(shapes, second, 2, checkpoint_seconds=0.0))


@pytest.mark.parametrize("step", [2, 6])
def test_a_network_of_ones_own_is_resumed_with_the_module_at_hand(shapes: Path, step: int) -> None:
    """Killed in the first epoch and in the second; its code is in no run folder."""

    def own() -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 2, stride=2))

    def made(watcher: Watcher) -> hs.Learner:
        return hs.Learner(hs.image_folder(shapes), backbone=own(), size=32, batch_size=8, keep="last", observer=watcher)

    straight, broken = made(Watcher()).fine_tune(2), made(Watcher(after_step(step)))
    with pytest.raises(Killed):
        broken.fine_tune(2)
    resumed = hs.resume(broken.run.path, observer=Watcher(), backbone=own())
    assert_equal(weights(straight), weights(resumed))
    assert without_seconds(resumed.history) == without_seconds(straight.history)


def test_a_training_killed_before_its_first_checkpoint_starts_again_in_its_folder(shapes: Path) -> None:
    broken = killed(shapes, lambda event, _: isinstance(event, RowDone), 1)
    assert not broken.run.checkpoints.exists()
    watcher = Watcher()
    resumed = hs.resume(broken.run.path, observer=watcher)
    assert "starts from the beginning" in watcher.notes()
    straight = learner(shapes).fine_tune(1)
    assert_equal(weights(straight), weights(resumed))
    assert without_seconds(resumed.run.rows()) == without_seconds(straight.history)


@pytest.mark.slow
def test_a_prolonged_training_resumes_too(shapes: Path) -> None:
    broken = learner(shapes).fine_tune(2)
    again = hs.load(broken.run.path, observer=Watcher(after_step(4)))
    with pytest.raises(Killed):
        again.more(2)
    assert_resumes_to(learner(shapes).fine_tune(2).more(2), broken)


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_before_it_is_prolonged(shapes: Path) -> None:
    broken = killed(shapes, 6, 2)
    for verb in ("more", "fine_tune", "fit"):
        with pytest.raises(BadSetting, match="headstart resume"):
            getattr(hs.load(broken.run.path, observer=Watcher()), verb)(1)
    hs.load(broken.run.path, observer=Watcher()).resume().more(1)
    assert [row["epoch"] for row in Run.open(broken.run.path).rows()] == [0, 1, 2, 3]


def test_a_resumption_that_fails_leaves_the_run_as_it_was(make_shapes: Make, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(make_shapes(8), folder)
    broken = killed(folder, lambda event, _: isinstance(event, RowDone), 1)
    shutil.rmtree(broken.run.bundle)  # as if it had been killed before its first row
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        hs.resume(broken.run.path, observer=Watcher())
    assert (broken.run.path / "plan.json").is_file()


def test_a_finished_run_has_nothing_to_resume(shapes: Path) -> None:
    learn = learner(shapes).fine_tune(1)
    before, watcher = weights(learn), Watcher()
    again = hs.resume(learn.run.path, observer=watcher)
    assert "nothing to resume" in watcher.notes()
    assert_equal(before, weights(again))


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(shapes: Path) -> None:
    broken = killed(shapes, 7, 2, checkpoint_seconds=0.0)
    folders = sorted(folder for folder in broken.run.checkpoints.iterdir() if folder.name.isdecimal())
    assert len(folders) == checkpoints.KEPT
    cut = folders[-1] / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    watcher = Watcher()
    resumed = hs.resume(broken.run.path, observer=watcher)
    assert "the one before it is taken" in watcher.notes()
    assert_equal(weights(learner(shapes).fine_tune(2)), weights(resumed))


def test_changed_images_are_named_and_need_a_word(make_shapes: Make, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(make_shapes(16), folder)
    broken = killed(folder, 2, 1)
    gone = next((folder / "disc").glob("*.png"))
    gone.unlink()
    with pytest.raises(DataError, match=f"1 gone .*{gone.name}"):
        hs.resume(broken.run.path, observer=Watcher())
    resumed = hs.resume(broken.run.path, observer=Watcher(), changed_data=True)
    assert [row["epoch"] for row in resumed.history] == [0, 1]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by a thirtieth of a second whenever it is read, so that a busy machine changes nothing."""
    ticks = count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 30)


@pytest.mark.usefixtures("ticking")
def test_a_training_by_the_clock_is_replayed_as_it_was(shapes: Path) -> None:
    """The steps after the last checkpoint are made with the rates that were logged, so that two resumptions agree."""
    broken = learner(shapes, Watcher(after_step(9)), checkpoint_seconds=1000.0, mixup=0.0)
    with pytest.raises(Killed):
        broken.fine_tune(minutes=0.2)
    logged = broken.run.steps()
    assert [entry[0] for entry in logged] == list(range(1, 10))
    again = Watcher(after_step(9 - 8))
    with pytest.raises(Killed):  # the checkpoint of the second row, after step 8, is the newest
        hs.resume(broken.run.path, observer=again)
    steps = [event for event in again.events if isinstance(event, StepDone)]
    assert [[event.step, event.progress] for event in steps] == [entry[:2] for entry in logged[8:]]


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_fewer_threads_beside_other_programs_are_those_of_a_resumption_too(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(1, 0.01, 1.0))
    used = []

    def third_step(event: Event, steps: int) -> bool:
        used.extend([torch.get_num_threads()] if isinstance(event, StepDone) else [])
        return isinstance(event, StepDone) and steps == 3

    watcher = Watcher(third_step)
    broken = learner(shapes, watcher, checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        broken.fine_tune(minutes=0.2)
    assert "1 of 2 threads are used" in watcher.notes()
    assert {entry[4] for entry in broken.run.steps()} == {1}
    monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(2, 0.01, 2.0))
    hs.resume(broken.run.path, observer=Watcher(lambda event, steps: third_step(event, 0)))
    assert len(used) > 3
    assert set(used) == {1}


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_threads_are_fitted_again_at_a_row_and_replayed_as_they_were(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread in the first epoch, two from its row on; what comes after the checkpoint of that row is made with two again."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("headstart.train.beside.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(1, 0.01, 1.0))
    monkeypatch.setattr("headstart.engine.threads.timed", lambda _work, runs=3: Timing(2, 0.0, 2.0))
    used: list[int] = []

    def noted(event: Event, _steps: int) -> bool:
        used.extend([torch.get_num_threads()] if isinstance(event, StepDone) else [])
        return len(used) == STEPS + 3

    watcher = Watcher(noted)
    broken = learner(shapes, watcher, checkpoint_seconds=1000.0)
    with pytest.raises(Killed):
        broken.fine_tune(minutes=0.2)
    assert "All threads are used again" in watcher.notes()
    assert used == [entry[4] for entry in broken.run.steps()] == [1] * STEPS + [2] * 3
    used.clear()
    monkeypatch.setattr("headstart.train.beside.SECONDS_BETWEEN", 1000.0)
    hs.resume(broken.run.path, observer=Watcher(lambda event, steps: noted(event, steps) and False))
    assert set(used) == {2}


# -------------------------------------------------------------------------------------------------------------- more


@pytest.mark.slow
def test_two_and_two_epochs_repeat_the_descent_and_nothing_else(shapes: Path) -> None:
    watcher = Watcher()
    learn = learner(shapes, watcher).fine_tune(4)
    before = sum(isinstance(event, StepDone) for event in watcher.events)
    assert before == 4 * STEPS
    learn.more(4)
    assert [row["epoch"] for row in learn.history] == list(range(9))
    again = sum(isinstance(event, StepDone) for event in watcher.events) - before - 4 * STEPS
    assert again == round(0.35 * 4 * STEPS)
    assert "are trained again at the full rate" in watcher.notes()
    assert learn.run.plan().phases[-1].epochs == 8
    assert len(learn.run.plan().phases) == 1


@pytest.mark.slow
@pytest.mark.parametrize("course", ["fine_tune", pytest.param("averaged adapters on small images", marks=pytest.mark.slow)])
def test_prolonged_from_disk_or_from_memory_is_the_same(shapes: Path, course: str) -> None:
    memory = learner(shapes, **COURSES[course]).fine_tune(2).more(1)
    disk = hs.load(learner(shapes, **COURSES[course]).fine_tune(2).run.path, observer=Watcher()).more(1)
    assert_equal(weights(memory), weights(disk))
    assert without_seconds(memory.history) == without_seconds(disk.history)


@pytest.mark.slow
def test_the_trunk_lies_before_the_descent_where_the_rate_is_level(shapes: Path) -> None:
    kept = {}
    for epochs in (2, 4):
        watcher = Watcher()
        learn = learner(shapes, watcher, head="train").fine_tune(epochs)
        assert learn._session.begun is not None
        kept[epochs] = learn._session.begun.state.trunk
    assert kept[2].place.step < kept[4].place.step
    steps = [event for event in watcher.events if isinstance(event, StepDone) and event.steps == 4 * STEPS]
    assert {event.lr for event in steps if 0.2 <= event.progress < 0.65} == {1e-3}


@pytest.mark.slow
def test_what_is_no_prolongation_starts_a_phase_of_its_own(shapes: Path) -> None:
    learn = learner(shapes).fine_tune(3)
    assert learn.run.stable.is_dir()
    other = hs.load(learn.run.path, observer=Watcher())
    other.fine_tune(1, batch_size=26)  # one step: too short for a trunk of its own
    assert [row["epoch"] for row in other.history] == [0, 1, 2, 3, 4]
    assert [phase.first_epoch for phase in other.run.plan().phases[-1:]] == [4]
    assert not other.run.stable.exists()


@pytest.mark.slow
def test_a_run_of_the_head_alone_is_prolonged_by_a_first_epoch(shapes: Path) -> None:
    learn = learner(shapes).fine_tune(0)
    again = hs.load(learn.run.path, observer=Watcher()).more(1)
    assert [row["epoch"] for row in again.history] == [0, 1]


@pytest.mark.slow
def test_a_bundle_without_its_run_goes_on_from_its_weights(shapes: Path, tmp_path: Path) -> None:
    learn = learner(shapes).fine_tune(1)
    shutil.copytree(learn.run.bundle, tmp_path / "moved")
    again = hs.load(tmp_path / "moved", data=shapes, observer=Watcher()).more(1)
    assert [row["epoch"] for row in again.history] == [0, 1, 2]
    with pytest.raises(DataError):
        hs.load(tmp_path / "moved", observer=Watcher()).more(1)


# ----------------------------------------------------------------------------------------------------------- the clock


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_minutes_end_in_time_with_the_rate_at_its_end(shapes: Path) -> None:
    watcher = Watcher()
    learn = learner(shapes, watcher)
    began = time.perf_counter()
    learn.fine_tune(minutes=0.2)
    assert time.perf_counter() - began == pytest.approx(12.0, abs=1.0)
    steps = [event for event in watcher.events if isinstance(event, StepDone)]
    assert len(steps) > 12
    assert steps[-1].lr < 0.01 * max(event.lr for event in steps)
    assert learn.history[-1]["epoch"] >= 1
    assert learn.run.plan().phases[-1].seconds is not None
    assert not (learn.run.path / "steps.jsonl").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(("forward", "timed"), [(0.001, True), (0.02, False)])
def test_forwards_are_timed_beside_steps_only_where_time_is_left_for_that(
    shapes: Path, forward: float, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timed forward predicts 32 images, and twenty of them must fit into the eleven seconds or so that are left."""
    monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(1, 6 * forward, 1.0))
    calls: list[float] = []
    monkeypatch.setattr("headstart.train.phase_run.time_a_forward", lambda _state, step_seconds=0.0: calls.append(step_seconds))
    learner(shapes).fine_tune(minutes=0.2)
    assert bool(calls) == timed


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_minutes_bound_a_head_that_is_trained_by_steps_too(shapes: Path) -> None:
    watcher, began = Watcher(), time.perf_counter()
    learn = learner(shapes, watcher, head="train", freeze_epochs=200).fine_tune(minutes=0.2)
    assert 6.0 < time.perf_counter() - began < 13.0
    assert "The minutes are nearly over: the learning rate falls from now on" in watcher.notes()
    assert {row["stage"] for row in learn.history} == {"head"}
    assert learn.run.plan().finished


def test_no_time_leaves_the_head_and_says_so(shapes: Path) -> None:
    watcher = Watcher()
    learn = learner(shapes, watcher).fine_tune(minutes=0.001)
    assert [row["epoch"] for row in learn.history] == [0]
    assert "no time left" in watcher.notes()
    assert re.search(r"0\.001 minutes were asked for.*is about 0\.\d minutes", watcher.notes())


@pytest.mark.parametrize("wrong", [{"minutes": 0.0}, {"minutes": -1.0}, {"epochs": 2, "minutes": 3.0}, {}])
def test_the_course_is_checked_before_anything_is_read(shapes: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match=r"minutes|how long"):
        learner(shapes).fine_tune(**wrong)


# ------------------------------------------------------------------------------------------------------------ the folder


@pytest.mark.slow
def test_two_trainings_do_not_share_a_run_folder(shapes: Path) -> None:
    learn = learner(shapes).fine_tune(0)
    with Run.open(learn.run.path).claimed(), pytest.raises(StoreError, match="another process is training"):
        hs.load(learn.run.path, observer=Watcher()).more(1)
    hs.load(learn.run.path, observer=Watcher()).more(1)


@pytest.mark.slow
def test_ctrl_c_leaves_what_resume_finishes(shapes: Path) -> None:
    straight = learner(shapes).fine_tune(2)

    stopped = learner(shapes, Watcher(press_after(6))).fine_tune(2)
    assert stopped.stopped
    assert not stopped.run.plan().finished
    resumed = hs.resume(stopped.run.path, observer=Watcher())
    assert_equal(weights(straight), weights(resumed))
    assert json.loads((resumed.run.path / "plan.json").read_text())["finished"]


def test_the_bundle_of_a_row_holds_the_average_and_training_goes_on_without(shapes: Path) -> None:
    broken = killed(shapes, lambda event, _: isinstance(event, RowDone) and event.row["epoch"] == 1, 2, ema=0.9)
    assert broken._session.begun is not None
    saved, judged = weights(hs.load(broken.run.bundle, observer=Watcher())), broken._session.begun.state.weights[1]
    assert_equal(judged, saved)
    assert not torch.equal(judged["head.weight"], weights(broken)["head.weight"])


@pytest.mark.slow
def test_ctrl_c_while_the_average_is_judged_leaves_the_weights_that_train(shapes: Path) -> None:
    straight = learner(shapes, ema=0.9).fine_tune(1)

    def press(event: Event, _steps: int) -> bool:
        if isinstance(event, Progress) and event.what == "features of the train images":
            raise KeyboardInterrupt
        return False

    stopped = learner(shapes, Watcher(press), ema=0.9).fine_tune(1)
    assert stopped.stopped
    found, _ = checkpoints.newest(stopped.run.checkpoints)
    assert found is not None and not torch.equal(found.model["head.weight"], found.average["head.weight"])
    assert_equal(weights(straight), weights(hs.resume(stopped.run.path, observer=Watcher())))


@pytest.mark.slow
def test_killed_processes_resume_to_the_same_weights(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "resume.py"
    command = [sys.executable, str(script), "--kills", "4", "--epochs", "2", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["equal"], found["unreadable"]) == (4, 0)


# --------------------------------------------------------------------------------------------------------- the seams


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_stages_left_out_by_the_clock_learn_again_in_a_phase_of_its_own(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.train.sensitivity.shares_of_gain", lambda *_: [0.01, 0.4, 0.4, 0.19])
    learn = learner(shapes).fine_tune(minutes=0.2)
    assert learn.run.plan().phases[-1].first_stage == 1
    assert learn._session.begun is not None and learn._session.begun.state.trunk is not None
    learn.more(1)
    assert learn.run.plan().phases[-1].first_stage == 1  # the same phase, made longer
    learn.more(1, batch_size=4)
    assert learn.run.plan().phases[-1].first_stage == 0


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_a_head_by_gradient_that_was_killed_under_the_clock_is_resumed_and_goes_on_to_all_layers(shapes: Path) -> None:
    settings: dict[str, Any] = {"head": "train", "checkpoint_seconds": 0.0}
    broken = learner(shapes, Watcher(after_step(2)), **settings)
    with pytest.raises(Killed):
        broken.fine_tune(minutes=0.2)
    began = time.perf_counter()
    resumed = hs.resume(broken.run.path, observer=Watcher())
    assert [row["stage"] for row in resumed.history][:2] == ["head", "all"]
    assert resumed.run.plan().finished
    assert time.perf_counter() - began < 15


def test_the_clock_of_a_resumed_head_counts_from_the_beginning(shapes: Path) -> None:
    """What is said of too little time then names the minutes that were asked for."""
    session = learner(shapes, minutes=0.2)._session
    head, body = (Checkpoint({}, {}, {"seconds": 9.0, "phase": {"name": name}}) for name in ("head", "all"))
    clock = session.clock_again(head)
    assert clock.allowed == 12 and 2 < clock.left() <= 3 and 9 <= clock.seconds() < 10
    clock = session.clock_again(body)  # whose phase has its own seconds
    assert clock.left() == float("inf") and 9 <= clock.seconds() < 10
    clock = session.clock_again(None)
    assert 11 < clock.left() <= 12 and clock.seconds() < 1


@pytest.mark.slow
def test_the_head_alone_is_judged_by_the_same_rule_when_it_is_prolonged(shapes: Path) -> None:
    whole = learner(shapes, keep="best").fine_tune(1)
    head = learner(shapes, keep="best").fine_tune(0)
    more = hs.load(head.run.path, observer=Watcher()).more(1)
    assert [row["beyond_noise"] for row in more.history] == [row["beyond_noise"] for row in whole.history]
    assert more._session.begun is not None and [each.epoch for each in more._session.begun.state.judged] == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("from_disk", [True, False])
def test_a_press_before_the_first_further_step_leaves_a_finished_run_as_it_was(shapes: Path, from_disk: bool) -> None:
    def press(event: Event, _steps: int) -> bool:
        if pressing and isinstance(event, Note) and "Going on after" in event.text:
            raise KeyboardInterrupt
        return False

    pressing: list[bool] = []
    learn = learner(shapes, Watcher(press)).fine_tune(1)
    kept, rows = (learn.run.bundle / "model.safetensors").read_bytes(), learn.run.rows()
    again = hs.load(learn.run.path, observer=Watcher(press)) if from_disk else learn
    pressing.append(True)
    with pytest.raises(Stopped, match="before anything was trained"):
        again.more(1)
    assert ((learn.run.bundle / "model.safetensors").read_bytes(), learn.run.rows()) == (kept, rows)
    assert learn.run.plan().finished
    pressing.clear()
    straight = learner(shapes).fine_tune(1).more(1)
    assert_equal(weights(straight), weights(again.more(1)))


def test_a_press_in_the_first_epoch_of_fit_says_what_finishes_it(shapes: Path) -> None:
    stopped = learner(shapes, Watcher(press_after(2)))
    with pytest.raises(Stopped, match=r"before the first row.*headstart resume"):
        stopped.fit(1)
    assert_resumes_to(learner(shapes).fit(1), stopped)


@pytest.mark.slow
def test_a_log_that_cannot_be_written_does_not_end_the_training(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def full(path: Path, *given: Any, **named: Any) -> Any:
        if path.name == "steps.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *given, **named)

    monkeypatch.setattr(Path, "open", full)
    watcher = Watcher()
    learn = learner(shapes, watcher).fine_tune(minutes=0.1)
    assert len(learn.history) > 1
    assert watcher.notes().count("could not be resumed") == 1
    assert learn.run.plan().finished


@pytest.mark.slow
def test_a_frozen_fit_is_prolonged_frozen_from_disk_too(shapes: Path) -> None:
    memory = learner(shapes).freeze().fit(1).more(1)
    disk = hs.load(learner(shapes).freeze().fit(1).run.path, observer=Watcher()).more(1)
    assert_equal(weights(memory), weights(disk))


def killed_in(missing: str, train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills the process at one of the files that say what the data is; `discard` is what a killed process does not do."""
    began = Books.began

    def dead(_run: Run, _written: Any) -> None:
        raise Killed

    def dying(books: Books, begun: Begun) -> None:
        patched.setattr(Run, missing, dead)
        began(books, begun)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Books, "began", dying)
        patched.setattr(Run, "discard", lambda _run: None)
        train()


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["write_plan", "write_audit", "write_split"])
def test_killed_while_the_data_is_written_down_it_is_resumed(
    shapes: Path, straight: Any, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = learner(shapes, run="broken")
    killed_in(missing, lambda: broken.fine_tune(2), monkeypatch)
    resumed = hs.resume("broken", observer=Watcher())
    assert_equal(weights(straight("fine_tune", 2)), weights(resumed))


def test_a_frozen_fit_killed_before_its_first_step_is_resumed_frozen(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_in("write_split", lambda: learner(shapes, run="broken").freeze().fit(1), monkeypatch)
    resumed = hs.resume("broken", observer=Watcher())
    assert_equal(weights(learner(shapes).freeze().fit(1)), weights(resumed))
    assert resumed.run.plan().frozen


def test_a_verb_that_is_refused_leaves_a_stopped_run_to_be_resumed(shapes: Path) -> None:
    stopped = learner(shapes, Watcher(press_after(2))).fine_tune(2)
    assert stopped.stopped
    with pytest.raises(BadSetting):
        stopped.more(1, train_size=999)
    assert stopped.run.checkpoints.is_dir()
    assert not stopped.run.plan().finished
