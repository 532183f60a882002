"""Views of test-time augmentation: each against a slow twin, one view exactly the model, symmetric images seen alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstart import model as models
from headstart.core import Outputs
from headstart.errors import BadSetting
from headstart.evaluate.predict import outputs, predict
from headstart.modalities import _views as views
from headstart.modalities import image
from headstart.modalities.image import Images
from headstart.tasks.segmentation import Segmentation
from headstart.tasks.single_label import SingleLabel, probabilities

TASK = SingleLabel(("a", "b", "c"))
HALF = (0.5, 0.5, 0.5)
ROOMY, TIGHT = Images(32, 39, HALF, HALF, "bilinear"), Images(32, 32, HALF, HALF, "bilinear")


class Reader:
    """A Predictive that keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def outputs(self, inputs: Any) -> Outputs:
        self.seen.append(inputs)
        return Outputs(inputs[:, :, 0, 0])


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.build(models.build_backbone("tiny"), 3, seed=1)


def picture(side: int = 39, height: int | None = None, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height or side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("geometry", [ROOMY, TIGHT])
@pytest.mark.parametrize(("augment", "count"), [("none", 5), ("flip", 10), ("light", 4), ("dihedral", 40)])
def test_every_view_against_a_slow_twin(geometry: Images, augment: str, count: int) -> None:
    reader = Reader()
    seen = views.of(reader, TASK, geometry, augment, count)
    pixels = picture(geometry.short)
    centre = image.centre(pixels, seen.geometry.size)
    seen.outputs(image.to_input(torch.from_numpy(centre[None].copy()), geometry))
    margin = (geometry.short - 32) // 2
    reach = max(margin, 2)
    wide = np.pad(image.centre(pixels, 32 + 2 * margin), [(reach - margin,) * 2] * 2 + [(0, 0)], mode="reflect")
    symmetries = {"none": [0], "dihedral": list(range(8))}.get(augment, [0, 1])
    expected = []
    for symmetry in symmetries:
        expected.append((0, 0, symmetry))
    for turn in range(len(symmetries)):
        for place, (down, right) in enumerate([(-1, -1), (1, 1), (-1, 1), (1, -1)]):
            expected.append((down, right, symmetries[(turn + place) % len(symmetries)]))
    assert len(reader.seen) == count and len(set(expected)) == len(expected)
    for (down, right, symmetry), shown in zip(expected, reader.seen, strict=False):
        top, left = reach * (1 + down), reach * (1 + right)
        cut = wide[top : top + 32, left : left + 32]
        cut = cut.transpose(1, 0, 2) if symmetry & 4 else cut
        cut = cut[:, ::-1] if symmetry & 1 else cut
        cut = cut[::-1] if symmetry & 2 else cut
        assert torch.equal(shown, image.to_input(torch.from_numpy(cut[None].copy()), geometry)), (down, right, symmetry)


@pytest.mark.parametrize("side", [(39, 39), (51, 39), (39, 52)])
def test_one_view_and_the_first_of_many_are_the_model_bit_for_bit(model: models.Model, side: tuple[int, int]) -> None:
    given = [picture(side[0], side[1], seed) for seed in range(3)]
    plain = [each.values for each in predict(model, TASK, given, ROOMY)]
    one = views.of(model, TASK, ROOMY, "flip", 1)
    assert all(np.array_equal(a, b.values) for a, b in zip(plain, predict(one, TASK, given, one.geometry), strict=True))
    two = views.of(model, TASK, ROOMY, "flip", 4)
    first = views.Views(two.model, two.task, two.geometry, two.size, two.views[:1])
    assert all(np.array_equal(a, b.values) for a, b in zip(plain, predict(first, TASK, given, first.geometry), strict=True))


def test_probabilities_are_averaged(model: models.Model) -> None:
    given, seen = [picture(seed=3)], views.of(model, TASK, ROOMY, "flip", 3)
    (found,) = predict(seen, TASK, given, seen.geometry)
    single = []
    for view in seen.views:
        one = views.Views(model, TASK, seen.geometry, 32, (view,))
        single.append(next(iter(predict(one, TASK, given, seen.geometry))).values)
    assert np.allclose(found.values, np.mean(single, axis=0), atol=1e-12) and not np.allclose(single[0], single[1])
    assert found.total is None and found.epistemic is None, "that views differ is no uncertainty of the model"


def test_an_image_that_is_its_own_mirror_image_is_seen_alike(model: models.Model) -> None:
    even = np.full((39, 39, 3), 90, np.uint8)
    seen = views.of(model, TASK, ROOMY, "dihedral", 40)
    (many,), (plain,) = predict(seen, TASK, [even], seen.geometry), predict(model, TASK, [even], ROOMY)
    assert np.allclose(many.values, plain.values, atol=1e-6)
    pixels = picture(40)
    mirror = np.concatenate([pixels[:, :20], pixels[:, :20][:, ::-1]], axis=1)
    reader = Reader()
    two = views.of(reader, TASK, Images(32, 40, HALF, HALF), "flip", 2)
    outputs(two, [image.centre(mirror, two.geometry.size)[None].copy()], two.geometry)
    assert torch.equal(reader.seen[0], reader.seen[1])


class Places:
    """A Predictive that says of each place what its pixels are, plus something that hangs on where it lies in what is shown."""

    def __init__(self, slope: float = 0.0) -> None:
        self.slope = slope

    def outputs(self, inputs: torch.Tensor) -> Outputs:
        side = inputs.shape[-1]
        said = inputs.double() + self.slope * torch.arange(side)[:, None] ** 2 + self.slope * torch.arange(side)
        return Outputs(said, torch.diag_embed(said.movedim(1, -1)), torch.stack([said, -said]))


@pytest.mark.parametrize("symmetry", range(8))
def test_what_is_said_of_places_is_turned_back(symmetry: int) -> None:
    shown = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    plain = Places().outputs(shown)
    found = views.turned_back(Places().outputs(views.seen(shown, 6, views.View(symmetry=symmetry))), symmetry)
    for one, other in ((found.mean, plain.mean), (found.cov, plain.cov), (found.samples, plain.samples)):
        assert torch.equal(one, other)
    whole = Outputs(shown[:, :, 0, 0])
    assert views.turned_back(whole, symmetry) is whole


def test_views_of_places_are_averaged_in_probabilities() -> None:
    task = Segmentation(("a", "b", "c"), (0, 1, 2), (), (6, 6))
    shown = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    model = Places(0.1)
    said = views.of_places(model, task, "light", 2).outputs(shown)
    mirrored = torch.as_tensor(model.outputs(shown.flip(3)).mean).softmax(1).flip(3)
    by_hand = (torch.as_tensor(model.outputs(shown).mean).softmax(1) + mirrored) / 2
    assert torch.allclose(torch.as_tensor(said.mean).softmax(1), by_hand)
    assert torch.equal(views.of_places(model, task, "light", 1).outputs(shown).mean, model.outputs(shown).mean)
    assert views.of_places(model, task, "dihedral", 8).symmetries == tuple(range(8))
    for augment, count in (("light", 3), ("none", 2), ("dihedral", 9)):
        with pytest.raises(BadSetting, match=r"tta must be a whole number of views .*mirrored as in training"):
            views.of_places(model, task, augment, count)


def test_draws_of_a_posterior_are_averaged_one_by_one() -> None:
    draw = np.random.default_rng(0)
    both = [
        Outputs(torch.from_numpy(draw.normal(size=(2, 3))), samples=torch.from_numpy(draw.normal(size=(5, 2, 3)))) for _ in "ab"
    ]
    found = TASK.averaged(both)
    assert found.samples is not None
    wanted = np.mean([torch.as_tensor(each.samples).softmax(-1).numpy() for each in both], axis=0)
    assert np.allclose(torch.as_tensor(found.samples).softmax(-1).numpy(), wanted)
    assert np.allclose(probabilities(found), wanted.mean(0))
    assert TASK.averaged(both[:1]) is both[0]


@pytest.mark.parametrize(("augment", "count"), [("none", 6), ("flip", 11), ("dihedral", 41), ("flip", 0), ("flip", True)])
def test_what_cannot_be_is_told(augment: str, count: Any) -> None:
    with pytest.raises(BadSetting, match="tta must be a whole number of views"):
        views.of(Reader(), TASK, ROOMY, augment, count)


@pytest.mark.slow
def test_the_learner_and_the_command_line_take_views(make_shapes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    import headstart as hs
    from headstart.cli.main import main

    folder: Path = make_shapes(8)
    learn = hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=8).fine_tune(0)
    files = sorted(folder.rglob("*.png"))[:3]
    plain, one, four = (learn.predict(files), learn.predict(files, tta=1), learn.predict(files, tta=4))
    assert [each.probs for each in plain] == [each.probs for each in one] != [each.probs for each in four]
    assert learn.evaluate(tta=1) == learn.evaluate() != learn.evaluate(tta=4)
    assert learn.evaluate(folder, tta=4) != learn.evaluate(folder)
    capsys.readouterr()
    assert main(["predict", str(learn.run.path), *map(str, files), "--tta", "4", "--json"]) == 0
    told = [json.loads(line)["probs"] for line in capsys.readouterr().out.splitlines()]
    assert all(a == pytest.approx(b.probs, abs=1e-6) for a, b in zip(told, four, strict=True))
    assert main(["evaluate", str(learn.run.path), "--per-class", "--tta", "2", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured["recall.disc"]) == {"value", "low", "high", "n"} and "precision.square" in measured
    assert main(["evaluate", str(learn.run.path), "--per-class"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["recall", "of"] for line in lines) and any(line.startswith("disc ") for line in lines)


def test_an_example_is_as_unlike_as_its_views_are_on_average() -> None:
    said = [Outputs(torch.zeros(2, 3), unlike=torch.tensor(each)) for each in ([0.2, 0.9], [0.4, 0.5])]
    assert views.together(TASK, said).unlike.tolist() == pytest.approx([0.3, 0.7])
    assert views.together(TASK, [Outputs(torch.zeros(2, 3))] * 2).unlike is None
