"""What every test stands on: a cache and a working folder of its own, one thread, no network, no moved global randomness."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shared between tests and nothing is written into the checkout."""
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


def shape_image(kind: str, number: int, side: int = 40) -> Image.Image:
    """A light square or disc on a dark, noisy ground; the same for the same arguments."""
    draw = np.random.default_rng(number * 7 + len(kind))
    pixels = draw.integers(0, 60, (side, side + 8, 3), dtype=np.uint8)
    y, x = np.mgrid[:side, : side + 8]
    row, column, radius = side / 2 + draw.integers(-4, 5), side / 2 + 4 + draw.integers(-4, 5), side / 4
    inside = {
        "disc": (y - row) ** 2 + (x - column) ** 2 < radius**2,
        "square": (abs(y - row) < radius) & (abs(x - column) < radius),
        "stripe": (y // 5) % 2 == 0,
    }[kind]
    pixels[inside] = pixels[inside] // 2 + np.array([150, 170, 190], np.uint8)
    return Image.fromarray(pixels)


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
