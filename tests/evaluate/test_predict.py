import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from headstart.core import Outputs
from headstart.errors import DataError, HeadstartError
from headstart.evaluate.predict import outputs, predict
from headstart.modalities import image
from headstart.modalities._inputs import named
from headstart.modalities.image import Images
from headstart.tasks.single_label import SingleLabel

GEOMETRY = Images(32, 36, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
TASK = SingleLabel(("cat", "dog"))


class Small:
    """A convolution and a linear head; remembers the size of each batch it was given."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            body = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            self.network = nn.Sequential(*body, nn.Linear(16, 2)).eval()
        self.sizes: list[int] = []

    def outputs(self, inputs: Any) -> Outputs:
        self.sizes.append(len(inputs))
        with torch.inference_mode():
            return Outputs(self.network(inputs) * 10)


def picture(seed: int, width: int = 50, height: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """photos/{a,b}/<n>.png, a text file, a hidden file, a broken file."""
    folder = tmp_path / "photos"
    for n in range(5):
        place = folder / "ab"[n % 2] / f"{n}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(n)).save(place)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes((folder / "a" / "0.png").read_bytes())
    (folder / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    return folder


def ask(inputs: Any, **settings: Any) -> list[Any]:
    return list(predict(Small(), TASK, inputs, GEOMETRY, **settings))


def test_ids_are_the_path_as_given_joined_with_the_path_inside(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    inside = ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/broken.jpg"]
    for folder in ("photos", "photos/"):
        assert [each.id for each in ask(folder)] == [f"photos/{name}" for name in inside]
    assert ask("./photos/a/../a")[0].id == "./photos/a/../a/0.png"
    assert [each.id for each in ask(["photos/b/1.png", Path("photos/a"), "photos/b/1.png"])] == [
        "photos/b/1.png",
        *(f"photos/a/{n}.png" for n in (0, 2, 4)),
        "photos/b/1.png",
    ]
    assert [each.id for each in ask("photos/*/?.png")] == [f"photos/{name}" for name in inside[:-1]]


def test_what_cannot_be_read_is_told_in_its_place_and_the_rest_goes_on(photos: Path) -> None:
    (photos / "empty").mkdir()
    given_inputs = [
        photos / "nowhere.jpg",
        photos / "a" / "0.png",
        photos / "b" / "broken.jpg",
        photos / "empty",
        photos / "notes.txt",
    ]
    found = ask(iter([*given_inputs, 3.5, "a\0b", "no/*.jpg", np.zeros(4)]), batch_size=2)
    assert [each.error is None for each in found] == [False, True] + [False] * 7
    assert "does not exist" in found[0].error and "no image in this folder" in found[3].error
    assert "not an image" in found[4].error and "a float is no image" in found[5].error
    assert found[1].label in TASK.classes and all(each.label is None for each in found if each.error)


@pytest.mark.skipif(sys.platform == "win32" or not os.getuid(), reason="root reads everything")
def test_a_folder_without_permission_is_told(photos: Path) -> None:
    (photos / "a").chmod(0)
    assert "cannot be listed" in ask(photos / "a")[0].error
    (photos / "a").chmod(0o700)


def test_files_bytes_arrays_and_pil_images_of_the_same_pixels_give_the_same_numbers(photos: Path) -> None:
    file = photos / "a" / "0.png"
    opened = Image.open(io.BytesIO(file.read_bytes()))
    found = ask([file, str(file), file.read_bytes(), picture(0), opened, Image.open(file)])
    assert all(np.array_equal(each.values, found[0].values) for each in found)
    assert [each.id for each in found] == [str(file), str(file), "000000", "000001", "000002", str(file)]


@settings(max_examples=8)
@given(st.permutations(range(9)), st.integers(1, 9), st.integers(1, 4))
def test_neither_batch_nor_order_nor_threads_change_a_number(order: list[int], batch_size: int, threads: int) -> None:
    pictures = [picture(n, 40 + n, 60 - n) for n in range(9)]
    expected = [each.values for each in ask(pictures)]
    found = ask([pictures[n] for n in order], batch_size=batch_size, threads=threads)
    for n, each in zip(order, found, strict=True):
        assert np.abs(each.values - expected[n]).max() < 1e-6


def test_the_numbers_are_those_of_the_geometry_by_hand() -> None:
    pixels = image.fit_short(picture(0), 36, "bicubic")
    top, left = (pixels.shape[0] - 32) // 2, (pixels.shape[1] - 32) // 2
    cut = torch.tensor(pixels[top : top + 32, left : left + 32] / 255.0).permute(2, 0, 1)
    mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in (GEOMETRY.mean, GEOMETRY.std))
    logits = Small().network(((cut - mean) / std).float()[None]) * 10
    assert ask(picture(0))[0].values == pytest.approx(logits.softmax(1)[0].detach().numpy(), abs=1e-6)


def test_arrays_are_one_image_or_a_stack_of_them() -> None:
    stack = np.stack([picture(n) for n in range(3)])
    assert [each.id for each in ask(stack)] == ["000000", "000001", "000002"]
    assert np.array_equal(ask(stack)[2].values, ask(stack[2])[0].values)
    grey = stack[..., 0]
    assert len(ask(grey)) == 3 and np.array_equal(ask(grey)[1].values, ask([np.repeat(grey[1][..., None], 3, 2)])[0].values)
    assert len(ask([])) == 0


def test_batches_are_full_but_the_last_and_one_image_goes_in_twice() -> None:
    model = Small()
    list(predict(model, TASK, [picture(n) for n in range(9)], GEOMETRY, batch_size=4))
    assert model.sizes == [4, 4, 2]


def test_inputs_are_read_only_as_far_as_predictions_are_taken_and_threads_end() -> None:
    read = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield picture(0)

    before = threading.active_count()
    stream = predict(Small(), TASK, endless(), GEOMETRY, batch_size=3)
    assert next(stream).label and len(read) <= 12
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert threading.active_count() == before


def test_outputs_of_several_batches_are_joined_with_their_spread() -> None:
    class Posterior:
        def outputs(self, inputs: Any) -> Outputs:
            mean = inputs.flatten(1)[:, :2]
            return Outputs(mean, torch.diag_embed(mean), torch.stack([mean, 2 * mean, 3 * mean]))

    batches = [np.stack([picture(n, 32, 32) for n in range(start, start + size)]) for start, size in ((0, 3), (3, 1))]
    joined = outputs(Posterior(), batches, GEOMETRY)
    whole = outputs(Posterior(), [np.concatenate(batches)], GEOMETRY)
    assert joined.samples is not None and joined.samples.shape == (3, 4, 2)
    for name in ("mean", "cov", "samples"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))
    with pytest.raises(DataError, match="no images"):
        outputs(Posterior(), [], GEOMETRY)


def test_names_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("this system has no such names")
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Image.fromarray(picture(0)).save(path)
    for given_input in (path, str(tmp_path)):
        (found,) = named(given_input)
        found.id.encode("utf-8")
        assert ask(given_input)[0].error is None


class Narrow(Small):
    """Has memory for so many images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def outputs(self, inputs: Any) -> Outputs:
        said = super().outputs(inputs)
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return said


@pytest.mark.slow
def test_without_memory_for_a_batch_its_halves_are_predicted_in_order():
    batches = [torch.from_numpy(np.stack([picture(n, 32, 32) for n in range(first, first + 7)])) for first in (0, 7)]
    model = Narrow(3)
    said = outputs(model, batches, GEOMETRY).mean
    assert model.sizes == [7, 3, 3, 2, 3, 3, 2]  # one image goes in twice; the second batch is not tried whole
    assert torch.allclose(said, outputs(Small(), batches, GEOMETRY).mean, atol=1e-5)
    with pytest.raises(HeadstartError, match="a single image of 32 pixels"):
        outputs(Narrow(1), batches, GEOMETRY)


def test_some_examples_of_outputs_are_those_of_every_part() -> None:
    whole = Outputs(
        torch.arange(8.0).view(4, 2), torch.arange(16.0).view(4, 2, 2), torch.arange(24.0).view(3, 4, 2), torch.arange(4.0)
    )
    for places in ([2, 0], slice(1), torch.tensor([False, True, True, False])):
        found = whole.some(places)
        assert torch.equal(found.mean, whole.mean[places]) and torch.equal(found.cov, whole.cov[places])
        assert torch.equal(found.samples, whole.samples[:, places]) and torch.equal(found.unlike, whole.unlike[places])
