"""What every test stands on: a cache and a working folder of its own, no network, no moved global randomness."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from drawn import shape_image
from watched import Notes

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker for each core: a second thread would wait for its turn at every step
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell that starts pytest in the background has it ignored, and tests press Ctrl-C
hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes tells of the machine
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shared between tests and nothing is written into the checkout, nor waited for: here processes die, not machines."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture(autouse=True)
def untouched_randomness() -> Iterator[None]:
    """Randomness is named by its place, so nothing may move the global generators."""
    # Python's own generator is left out: beartype draws from it
    import torch

    before = (np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())
    yield
    after = (np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())
    assert after == before, "the test moved a global random generator"


@pytest.fixture
def plain_training(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No curve, no probing of the precision, few places to solve a decoder on: they take as long as a tiny training. Not for `whole`.

    The probe is a matter of time: trainings with caches of their own may come to other precisions, and are not equal then.
    """
    if request.node.get_closest_marker("whole"):
        return
    monkeypatch.setattr("headstart.report.curve.save", lambda *_: None)
    monkeypatch.setattr("headstart.train.precision.choose", lambda *_: "float32")
    monkeypatch.setattr("headstart.heads.decoder.PIXELS", 1024)


@pytest.fixture(scope="session")
def make_shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_shapes(count)`: a folder of `count` images of each of two shapes; `parts=True` divides it into train and valid."""

    def make(count: int = 12, kinds: tuple[str, ...] = ("disc", "square"), parts: bool = False, side: int = 40) -> Path:
        root = tmp_path_factory.mktemp("shapes")
        for kind in kinds:
            for number in range(count):
                part = ("valid" if number % 4 == 0 else "train") if parts else ""
                folder = root / part / kind
                folder.mkdir(parents=True, exist_ok=True)
                shape_image(kind, number, side).save(folder / f"{kind}{number}.png")
        return root

    return make


@pytest.fixture(scope="module")
def shapes(make_shapes: Callable[..., Path]) -> Path:
    """Sixteen images of each of two shapes."""
    return make_shapes(16)


@pytest.fixture(scope="module")
def train_shapes(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`train_shapes(epochs, **settings)`: a learner fine-tuned on them, for questions that change nothing of it."""
    import headstart as hs

    def train(epochs: int, **settings: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
            patch.setattr("headstart.train.precision.choose", lambda *_: "float32")
            kind = {"backbone": "tiny", "batch_size": 8, "observer": Notes(), "run": tmp_path_factory.mktemp("runs") / "run"}
            return hs.Learner(hs.image_folder(shapes), **kind, **settings).fine_tune(epochs)

    return train


@pytest.fixture(scope="module")
def trained(train_shapes: Callable[..., Any]) -> Any:
    """A learner that has solved its head on them."""
    return train_shapes(0)
