"""Augmentation: draws are pure functions of their place, and applying them does what the geometry says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import UnknownName
from headstart.modalities import image
from headstart.modalities._augment import _homography, _uniform, _warp
from headstart.modalities.image import Images

GEOMETRY = Images(size=28, short=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
PRESETS = ["none", "flip", "dihedral", "light", "strong"]


def smooth_windows(count, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()


def fields(draws):
    return [getattr(draws, name) for name in type(draws).__slots__]


@pytest.mark.parametrize("preset", PRESETS)
def test_draws_depend_on_seed_epoch_and_item_alone(preset):
    items = np.array([7, 3, 11, 100_000, 0])
    together = image.draw(preset, 5, 2, items)
    for row, item in enumerate(items):
        alone = image.draw(preset, 5, 2, np.array([item]))
        for whole, single in zip(fields(together), fields(alone), strict=True):
            assert np.allclose(whole[row], single[0], atol=1e-12)
    if preset != "none":
        many = np.arange(100)
        for seed, epoch in ((5, 3), (6, 2)):
            assert (image.draw(preset, seed, epoch, many).homography != image.draw(preset, 5, 2, many).homography).any()


def test_uniform_numbers_are_uniform_and_independent():
    u = _uniform(123, np.arange(20_000))
    assert ((u >= 0) & (u < 1)).all()
    assert np.abs(u.mean(0) - 0.5).max() < 0.012
    assert np.abs(u.std(0) - 12**-0.5).max() < 0.008
    correlation = np.corrcoef(u.T)
    assert np.abs(correlation - np.eye(u.shape[1])).max() < 0.04
    assert np.abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.03
    other = _uniform(124, np.arange(20_000))
    assert np.abs(np.corrcoef(u[:, 0], other[:, 0])[0, 1]) < 0.03


def test_light_draws_what_it_says():
    draws = image.draw("light", 0, 0, np.arange(20_000))
    assert abs(draws.symmetry.mean() - 0.5) < 0.015
    assert set(np.unique(draws.symmetry)) == {0, 1}
    lit = draws.brightness != 0
    assert abs(lit.mean() - 0.75) < 0.015
    assert np.abs(1 / (1 + np.exp(-draws.brightness[lit])) - 0.5).max() <= 0.1 + 1e-9
    assert abs((draws.contrast != 1).mean() - 0.75) < 0.015
    assert 0.8 - 1e-9 <= draws.contrast.min() < 0.81
    assert 1.24 < draws.contrast.max() <= 1.25 + 1e-9
    assert abs(draws.position.mean() - 0.5) < 0.01
    assert (draws.saturation == 1).all()
    assert (draws.erase == 0).all()
    rule = image.PRESETS["light"]
    unwarped = type(rule)(**{name: getattr(rule, name) for name in rule.__slots__} | {"warp": 0.0, "flip": 0.0})
    matrix = _homography(unwarped, _uniform(1, np.arange(20_000)), np.zeros(20_000, int))
    side = np.sqrt(np.linalg.det(matrix[:, :2, :2]))
    assert np.sqrt(0.75) / 1.1 - 1e-9 <= side.min()
    assert side.max() <= 1 + 1e-9
    angle = np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert 9.9 < np.abs(angle).max() <= 10 + 1e-9
    assert abs((np.abs(angle) > 1e-9).mean() - 0.75) < 0.015
    corners = np.array([[-1, -1, 1], [1, 1, 1.0]]).T
    straight = np.abs(angle) < 1e-9
    assert np.abs((matrix[straight] @ corners)[:, :2]).max() <= 1 + 1e-9, "crops stay inside the window"


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UnknownName, match="strong"):
        image.draw("stronk", 0, 0, np.arange(2))


@pytest.mark.parametrize("preset", PRESETS)
def test_augmented_batches_have_the_promised_form_and_no_batch_dependence(preset):
    windows, items = smooth_windows(5), np.arange(5)
    together = image.augment(windows, image.draw(preset, 0, 1, items), GEOMETRY, preset)
    assert together.shape == (5, 3, 28, 28)
    assert together.dtype == torch.float32
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(together).all()
    for i in range(5):
        alone = image.augment(windows[i : i + 1], image.draw(preset, 0, 1, items[i : i + 1]), GEOMETRY, preset)
        assert torch.allclose(together[i], alone[0], atol=1e-5)
    black, white = (image.to_input(torch.full((1, 1, 1, 3), value, dtype=torch.uint8), GEOMETRY) for value in (0, 255))
    assert (together >= black - 1e-5).all()
    assert (together <= white + 1e-5).all()


def test_none_is_the_centre():
    windows = smooth_windows(3)
    got = image.augment(windows, image.draw("none", 0, 0, np.arange(3)), GEOMETRY, "none")
    assert torch.equal(got, image.to_input(windows[:, 2:30, 2:30].contiguous(), GEOMETRY))
    assert (image.draw("none", 0, 0, np.arange(3)).position == 0.5).all()


def test_dihedral_gives_the_8_symmetries_of_the_centre_exactly():
    windows = smooth_windows(1).repeat(64, 1, 1, 1)
    draws = image.draw("dihedral", 0, 0, np.arange(64))
    got = image.augment(windows, draws, GEOMETRY, "dihedral")
    base = image.to_input(windows[:1, 2:30, 2:30].contiguous(), GEOMETRY)[0]
    turns = [base.rot90(k, (1, 2)) for k in range(4)] + [base.flip(2).rot90(k, (1, 2)) for k in range(4)]
    which = [next(k for k, turn in enumerate(turns) if torch.equal(turn, each)) for each in got]
    assert set(which) == set(range(8))
    assert len({(symmetry, k) for symmetry, k in zip(draws.symmetry.tolist(), which, strict=True)}) == 8


def test_flip_mirrors_half_of_them_and_moves_nothing_else():
    windows = smooth_windows(1).repeat(40, 1, 1, 1)
    draws = image.draw("flip", 0, 0, np.arange(40))
    got = image.augment(windows, draws, GEOMETRY, "flip")
    base = image.to_input(windows[:1, 2:30, 2:30].contiguous(), GEOMETRY)[0]
    for each, mirrored in zip(got, draws.symmetry, strict=True):
        assert torch.equal(each, base.flip(2) if mirrored else base)


def test_exact_symmetries_agree_with_their_homography():
    """The resampler, given only the symmetry's matrix, must do what the exact path does."""
    windows = smooth_windows(1, side=28)
    same = Images(28, 28, GEOMETRY.mean, GEOMETRY.std)
    for symmetry in range(8):
        draws = image.draw("none", 0, 0, np.arange(1))
        matrix = _homography(image.PRESETS["dihedral"], np.zeros((1, 24)), np.array([symmetry]))
        turned = image.Draws(draws.position, np.array([symmetry]), matrix, *fields(draws)[3:])
        exact = image.augment(windows, turned, same, "dihedral")
        sampled = image.augment(windows, turned, same, "light")
        assert torch.allclose(exact, sampled, atol=0.03)  # the edges of the logit move black and white by 1/1000


def slow_twin(window, homography, size):
    """Bilinear sampling of one window [side, side, 3] with reflection, pixel by pixel."""
    side = window.shape[0]

    def reflect(value):
        value = abs(value + 0.5) % (2 * side)
        return min(max(min(value, 2 * side - value) - 0.5, 0), side - 1)

    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            point = homography @ [(2 * column + 1) / size - 1, (2 * row + 1) / size - 1, 1]
            x, y = (reflect(((each / point[2] + 1) * side - 1) / 2) for each in point[:2])
            left, top = min(int(x), side - 2), min(int(y), side - 2)
            u, v = x - left, y - top
            out[row, column] = ((1 - v) * ((1 - u) * window[top, left] + u * window[top, left + 1])
                                + v * ((1 - u) * window[top + 1, left] + u * window[top + 1, left + 1]))  # fmt: skip
    return out


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_resampling_and_light_agree_with_the_slow_twin(preset):
    windows, items = smooth_windows(4, seed=3), np.arange(40, 44)
    draws = image.draw(preset, 9, 4, items)
    got = image.augment(windows, draws, GEOMETRY, preset).permute(0, 2, 3, 1).numpy()
    for i in range(4):
        values = slow_twin(windows[i].numpy().astype(float), draws.homography[i], 28) / 255
        values = values.clip(1e-3, 1 - 1e-3)
        values = 1 / (1 + np.exp(-draws.contrast[i] * (np.log(values / (1 - values)) + draws.brightness[i])))
        grey = values @ [0.299, 0.587, 0.114]
        values = (grey[..., None] + draws.saturation[i] * (values - grey[..., None])).clip(0, 1)
        expected = (values - GEOMETRY.mean) / GEOMETRY.std
        left, top, right, bottom = np.rint(draws.erase[i] * 28).astype(int)
        expected[top:bottom, left:right] = 0
        assert np.abs(got[i] - expected).max() < 5e-3


@settings(max_examples=50)
@given(st.floats(-0.25, 0.25), st.floats(-0.25, 0.25))
def test_the_perspective_takes_corners_where_it_says(x, y):
    matrix = _warp(np.array([[x, y]]))[0]
    for corner, target in (
        ((-1, -1), (-1 - y, -1 - x)),
        ((-1, 1), (-1 + y, 1 + x)),
        ((1, -1), (1 + y, -1 + x)),
        ((1, 1), (1 - y, 1 - x)),
    ):
        point = matrix @ [*corner, 1]
        assert np.allclose(point[:2] / point[2], target, atol=1e-9)


def test_strong_goes_grey_and_erases_sometimes():
    draws = image.draw("strong", 0, 0, np.arange(5000))
    assert abs((draws.saturation == 0).mean() - 0.1) < 0.02
    boxes = draws.erase[(draws.erase != 0).any(1)]
    assert abs(len(boxes) / 5000 - 0.25) < 0.02
    assert ((boxes >= 0) & (boxes <= 1 + 1e-9)).all()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert area.min() > 0.0199
    assert 0.15 < area.max() < 0.2001
