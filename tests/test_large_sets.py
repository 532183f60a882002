"""What large sets ask for, counted on small ones: one decoding a file, news of every long stage, Ctrl-C heeded in each."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from headstart.cli.output import told_if_slow
from headstart.core import Progress
from headstart.data import _fingerprint
from headstart.data.stores import _shelf
from headstart.errors import Stopped


class Watcher:
    """Remembers the stages that told their progress, and interrupts the one that it is given."""

    def __init__(self, interrupted: str = "") -> None:
        self.interrupted = interrupted
        self.stages: dict[str, list[tuple[int, int]]] = {}

    def show(self, event: Any) -> None:
        if isinstance(event, Progress):
            self.stages.setdefault(event.what, []).append((event.done, event.total))
            if event.what == self.interrupted:
                raise KeyboardInterrupt

    def close(self) -> None:
        pass


@pytest.fixture
def shapes(make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(16)


@pytest.fixture(autouse=True)
def everything_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fingerprint, "EXHAUSTIVE", 4)
    monkeypatch.setattr(_fingerprint, "BLOCK", 7)
    monkeypatch.setattr(_shelf, "ENLARGED_BYTES", 0)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "own cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_every_stage_of_a_large_set_tells_how_far_it_is_and_each_file_is_decoded_once(shapes: Path) -> None:
    seen = Watcher()
    data = hs.image_folder(shapes)
    learn = hs.Learner(data, backbone="tiny", observer=seen, size=48, batch_size=8)
    learn.fine_tune(1)
    for what in ("features", "reading images", "looking for copies"):
        done = [one for one, _ in seen.stages[what]]
        assert done == sorted(done)
        assert seen.stages[what][-1][0] == seen.stages[what][-1][1]
    assert len(seen.stages["looking for copies"]) >= 4
    assert learn._session.begun is not None
    assert learn._session.begun.store.decoded == len(data.records)


@pytest.mark.parametrize("stage", ["reading images", "looking for copies"])
def test_ctrl_c_before_the_first_row_is_heeded_in_every_stage(shapes: Path, stage: str) -> None:
    before = threading.active_count()
    seen = Watcher(stage)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=seen)
    with pytest.raises(Stopped, match="no model yet"):
        learn.fine_tune(1)
    assert len(seen.stages[stage]) == 1
    assert threading.active_count() <= before
    assert not list(Path("runs").glob("*"))


def test_check_tells_and_heeds_it_too(shapes: Path) -> None:
    seen = Watcher()
    hs.check(hs.image_folder(shapes), on_progress=seen.show)
    assert seen.stages["looking for copies"][-1][0] == seen.stages["looking for copies"][-1][1]
    with pytest.raises(KeyboardInterrupt):
        hs.check(hs.image_folder(shapes), on_progress=Watcher("looking for copies").show)


def test_work_that_takes_long_is_announced_and_short_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with told_if_slow("Listing ...", seconds=60.0):
        pass
    with told_if_slow("Reading ...", seconds=0.0):
        until = time.monotonic() + 10
        while not stream.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    assert stream.getvalue() == "Reading ...\n"
