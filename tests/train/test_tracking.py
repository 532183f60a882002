"""Watching beside the screen: which numbers go where, and that nothing that fails there reaches the training."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.core import Event, Note, Plan, Progress, RowDone, Settings, StepDone
from headstart.errors import BadSetting, MissingExtra, UnknownName
from headstart.train import tracking
from headstart.train.observers.guarded import Aside, Guarded
from headstart.train.observers.scalars import Scalar, Scalars

ROOT = Path(__file__).parents[2]
HEAD = {
    "epoch": 0,
    "stage": "head",
    "train_loss": 0.2,
    "valid_loss": 0.25,
    "error_rate": 0.1,
    "error_rate_95": [0.07, 0.13],
    "mine": None,
    "mine_95": None,
    "lr": None,
    "seconds": 4.0,
}
PLAN = Plan(data={"name": "shapes"}, task={}, settings=Settings())


class Watcher:
    """Keeps what it is shown; from `fails_from` on it raises."""

    def __init__(self, fails_from: float = float("inf")) -> None:
        self.events: list[Event] = []
        self.closed = 0
        self.fails_from = fails_from
        self.failures = 0

    def show(self, event: Event) -> None:
        if len(self.events) >= self.fails_from:
            self.failures += 1
            raise OSError("no space left\non the device")
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1


# ------------------------------------------------------------------------------------------------------------ numbers


def test_a_row_gives_its_losses_metrics_bounds_and_seconds():
    scalars = Scalars()
    assert scalars.of(RowDone(HEAD)) == [
        Scalar("loss/train", 0.2, "epoch", 0),
        Scalar("loss/valid", 0.25, "epoch", 0),
        Scalar("valid/error_rate", 0.1, "epoch", 0),
        Scalar("valid/error_rate_low_95", 0.07, "epoch", 0),
        Scalar("valid/error_rate_high_95", 0.13, "epoch", 0),
        Scalar("seconds", 4.0, "epoch", 0),
    ]
    assert scalars.of(RowDone(HEAD | {"epoch": 1, "seconds": 10.5}))[-1] == Scalar("seconds", 6.5, "epoch", 1)


def test_the_first_row_of_a_training_that_goes_on_has_no_seconds_of_its_own():
    found = Scalars().of(RowDone(HEAD | {"epoch": 3, "seconds": 100.0}))
    assert [scalar.name for scalar in found][-1] != "seconds"


def test_steps_are_counted_on_through_phases_and_other_events_give_nothing():
    scalars = Scalars()
    steps = [StepDone(1, step, 9, None, step / 100) for step in (7, 8, 1, 2)]
    found = [scalar for event in steps for scalar in scalars.of(event)]
    assert [(scalar.name, scalar.axis, scalar.at) for scalar in found] == [("lr", "step", at) for at in (7, 8, 9, 10)]
    assert [scalar.value for scalar in found] == [0.07, 0.08, 0.01, 0.02]
    assert scalars.of(Note("words")) == [] == scalars.of(Progress("features", 1, 2))


# ----------------------------------------------------------------------------------------------------------- failures


def test_a_watcher_that_fails_is_told_once_and_silenced():
    told: list[str] = []
    watcher = Watcher(fails_from=1)
    guarded = Guarded("the observer", watcher, told.append)
    for number in range(4):
        guarded.show(Progress("features", number, 4))
    guarded.close()
    assert len(watcher.events) == 1 == watcher.failures and watcher.closed == 0
    (text,) = told
    assert text.startswith("the observer failed") and "OSError: no space left on the device" in text


def test_a_press_of_ctrl_c_in_a_watcher_is_no_failure():
    class Pressed(Watcher):
        def show(self, event: Event) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guarded("the observer", Pressed(), lambda text: None).show(Note("words"))


def test_a_tracker_gets_every_event_in_order_on_a_thread_of_its_own():
    threads: set[int] = set()

    class Noting(Watcher):
        def show(self, event: Event) -> None:
            threads.add(threading.get_ident())
            super().show(event)

    events = [Progress("features", number, 100) for number in range(100)]
    watcher, told = Noting(), []
    aside = Aside("noting", watcher, told.append)
    for event in events:
        aside.show(event)
    aside.close()
    assert watcher.events == events and watcher.closed == 1 and told == []
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_a_tracker_that_fails_is_told_once_on_the_thread_of_the_training():
    told: list[tuple[str, int]] = []
    watcher = Watcher(fails_from=0)
    aside = Aside("gone", watcher, lambda text: told.append((text, threading.get_ident())))
    for number in range(5):
        aside.show(Progress("features", number, 5))
    aside.close()
    assert watcher.failures == 1 and watcher.closed == 0
    ((text, thread),) = told
    assert text.startswith("gone failed") and thread == threading.get_ident()


def test_a_tracker_whose_server_never_answers_holds_nobody():
    answer = threading.Event()

    class Waiting(Watcher):
        def show(self, event: Event) -> None:
            answer.wait()

    told: list[str] = []
    aside = Aside("slow", Waiting(), told.append, patience=0.05)
    for number in range(1000):
        aside.show(Progress("features", number, 5))
    aside.close()
    answer.set()
    assert len(told) == 1 and "slow is still busy" in told[0]


# -------------------------------------------------------------------------------------------------------------- names


def test_a_tracker_that_does_not_exist_or_lacks_its_library_is_a_lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnknownName, match=r'no tracker "tensorbord"\. Did you mean "tensorboard"'):
        tracking.started(("tensorbord",), tmp_path, PLAN, print)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r'pip install "headstart\[track\]"'):
        tracking.started(("tensorboard",), tmp_path, PLAN, print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("track", [("a", "a"), ("",)])
def test_trackers_are_different_names(track: Any):
    with pytest.raises(BadSetting, match="track must be different names"):
        Settings(track=track)


def test_one_name_or_a_list_will_do():
    data = hs.from_arrays(np.zeros((2, 32, 32, 3), np.uint8), ["a", "b"])
    assert hs.Learner(data, track="tensorboard").settings.track == ("tensorboard",)
    assert hs.Learner(data, track=["a", "b"]).settings.track == ("a", "b")


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that brings two trackers: one writes a file in the run folder, one fails at the first step."""
    info = tmp_path / "site" / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headstart.trackers]\nfiled = other_filed\nfailing = other_failing\n")
    body = "class T:\n    def __init__(self, folder):\n        self.file = folder / 'filed.txt'\n        self.seen = []\n"
    body += "    def show(self, event):\n        {}\n    def close(self):\n        self.file.write_text('\\n'.join(self.seen))\n"
    body += "def make(run_folder, plan):\n    return T(run_folder)\n"
    (info.parent / "other_filed.py").write_text(body.format("self.seen.append(type(event).__name__)"))
    (info.parent / "other_failing.py").write_text(body.format("if type(event).__name__ == 'StepDone': raise ValueError('gone')"))
    monkeypatch.syspath_prepend(info.parent)
    return info.parent


@pytest.mark.slow
def test_trackers_of_another_package_watch_and_change_nothing(
    other_package: Path, make_shapes: Callable[..., Path], capsys: pytest.CaptureFixture
):
    shapes = make_shapes(8)
    given: dict[str, Any] = {"backbone": "tiny", "batch_size": 8, "keep": "last"}
    plain = hs.Learner(shapes, observer=Watcher(), **given).fine_tune(1)
    screen = Watcher()
    tracked = hs.Learner(shapes, observer=screen, track=["filed", "failing"], **given).fine_tune(1)
    seen = (tracked.run.path / "filed.txt").read_text().splitlines()
    assert seen.count("RowDone") == 2 and seen.count("StepDone") == 2 and "EpochDone" in seen
    told = [event.text for event in screen.events if isinstance(event, Note) and "failed and shows nothing" in event.text]
    assert len(told) == 1 and told[0].startswith("failing") and "ValueError: gone" in told[0]
    assert not (plain.run.path / "filed.txt").exists()
    broken = hs.Learner(shapes, observer=Watcher(fails_from=3), **given).fine_tune(1)
    assert capsys.readouterr().err.count("The observer failed") == 1
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, tracked.model.state_dict()[name]) and torch.equal(tensor, broken.model.state_dict()[name])
    assert tracked.run.plan().settings.track == ("filed", "failing"), "so that more and resume go on tracking"


def test_a_tracker_that_cannot_be_had_leaves_no_run_behind(make_shapes: Callable[..., Path]):
    with pytest.raises(UnknownName):
        hs.Learner(make_shapes(8), backbone="tiny", track="nobody", observer=Watcher()).fine_tune(0)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


# --------------------------------------------------------------------------------------------------------- real places


def a_run(shapes: Path, track: str) -> hs.Learner:
    screen = Watcher()
    learn = hs.Learner(shapes, backbone="tiny", batch_size=8, track=track, observer=screen).fine_tune(2)
    assert not [event for event in screen.events if isinstance(event, Note) and "failed" in event.text]
    return learn


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_the_table(make_shapes: Callable[..., Path]):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (the extra track)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learn = a_run(make_shapes(8), "tensorboard")
    found = EventAccumulator(str(learn.run.path / "tensorboard")).Reload()
    valid = [(each.step, each.value) for each in found.Scalars("loss/valid")]
    assert valid == [(row["epoch"], pytest.approx(row["valid_loss"], rel=1e-6)) for row in learn.history]
    low = [each.value for each in found.Scalars("valid/error_rate_low_95")]
    assert low == [pytest.approx(row["error_rate_95"][0], abs=1e-6) for row in learn.history]
    assert [each.step for each in found.Scalars("lr")] == [1, 2, 3, 4]


@pytest.fixture
def plugin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a tracker in plugins/, installed as its pyproject says."""
    import tomllib

    name = request.param
    pytest.importorskip(name, reason=f"{name} is not installed; it is no part of the dev extra")
    folder = ROOT / "plugins" / f"headstart-{name}"
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["headstart.trackers"]
    info = tmp_path / f"headstart_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: headstart-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[headstart.trackers]\n" + "\n".join(f"{key} = {points[key]}" for key in points))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(folder)
    return name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("plugin", ["mlflow"], indirect=True)
def test_mlflow_keeps_one_run_through_more(plugin: str, make_shapes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    learn = a_run(make_shapes(8), plugin)
    learn.more(1)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(learn.run.path / "mlflow").as_uri())
    run = (learn.run.path / "mlflow_run.txt").read_text().strip()
    found = client.get_metric_history(run, "loss/valid")
    assert [(each.step, each.value) for each in found] == [(row["epoch"], row["valid_loss"]) for row in learn.history]
    assert client.get_run(run).data.params["batch_size"] == "8" and client.get_run(run).info.status == "FINISHED"
    assert len(client.search_runs([client.get_run(run).info.experiment_id])) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("plugin", ["wandb"], indirect=True)
def test_wandb_offline_stays_in_the_run_folder(plugin: str, make_shapes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    learn = a_run(make_shapes(8), plugin)
    (file,) = (learn.run.path / "wandb").glob("offline-run-*/*.wandb")
    kept = file.read_bytes()
    for name in (b"loss/valid", b"valid/error_rate_low_95", b"batch_size"):
        assert name in kept
    assert not list(file.parent.rglob("requirements.txt")), "no list of the machine's packages"
