"""Drift against slow twins, and what must be exactly zero."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headstart import model as models
from headstart.backbones import from_module
from headstart.backbones._taught import Taught
from headstart.inspections import drift


def slow_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate as the mean over all quadruples of different examples (Song et al. 2012, theorem 2)."""
    first, second = (rows - rows.mean(0) for rows in (one, other))
    k, m = first @ first.T, second @ second.T
    terms = [k[a, b] * m[a, b] + k[a, b] * m[c, d] - 2 * k[a, b] * m[a, c] for a, b, c, d in permutations(range(len(one)), 4)]
    return float(np.mean(terms))


def test_debiased_cka_is_that_of_all_quadruples() -> None:
    draw = np.random.default_rng(0)
    one = draw.normal(size=(7, 4))
    other = one @ draw.normal(size=(4, 3)) + 0.3 * draw.normal(size=(7, 3))
    twin = slow_hsic(one, other) / np.sqrt(slow_hsic(one, one) * slow_hsic(other, other))
    assert drift.debiased_cka(one, other) == pytest.approx(twin, rel=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.01, 100.0))
def test_a_rotation_and_a_scale_change_nothing(seed: int, scale: float) -> None:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(40, 6))
    turn = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    assert drift.debiased_cka(rows, rows) == pytest.approx(1.0, abs=1e-10)
    assert drift.debiased_cka(rows, scale * rows @ turn + 3.0) == pytest.approx(1.0, abs=1e-9)


def test_independent_features_are_not_alike_however_many_there_are() -> None:
    draw = np.random.default_rng(0)
    found = [drift.debiased_cka(draw.normal(size=(128, 512)), draw.normal(size=(128, 512))) for _ in range(5)]
    assert np.abs(np.mean(found)) < 0.02  # the biased estimate is .80 here


def test_eta_squared_is_the_share_between_classes_and_about_zero_by_chance() -> None:
    draw = np.random.default_rng(0)
    classes = np.arange(300) % 3
    values = np.stack([draw.normal(size=300), classes + 0.0, draw.normal(size=300) + 2.0 * (classes == 1), np.full(300, 7.0)], 1)
    chance, all_of_it, some, none = drift.eta_squared(values, classes)
    assert abs(chance) < 0.02 and all_of_it == pytest.approx(1.0) and none == 0.0
    assert some == pytest.approx((4 * 2 / 9) / (1 + 4 * 2 / 9), abs=0.07)


def test_what_is_cut_out_is_around_the_place_and_within_the_picture() -> None:
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[96:128, 64:96] = 255
    cut = drift.around(picture, place=3 * 7 + 2, side=(7, 7))
    assert cut.shape == (96, 96, 3) and (cut[32:64, 32:64] == 255).all() and cut.mean() == pytest.approx(255 / 9)
    for place in range(49):
        assert drift.around(picture, place, (7, 7)).shape == (96, 96, 3)
    assert drift.around(picture[:32, :32], 0, (2, 2)).shape == (32, 32, 3)


def test_a_body_that_did_not_change_is_said_to_be_as_published() -> None:
    faulty = drift.plant(0).faulty
    found = drift.inspect(replace(faulty, before=faulty.after))
    assert "only the head learned" in found.headline and found.verdict == "good"


def test_layers_that_did_not_train_are_checked_to_be_the_same() -> None:
    planted = drift.plant(0)
    (check,) = drift.inspect(planted.faulty).checks
    assert check.passed and "1 layers" in check.told
    (failed,) = drift.inspect(replace(planted.faulty, weights={"early": 0.0, "late": 0.0})).checks
    assert not failed.passed


def test_channels_that_are_features_are_named_by_what_they_speak_for_before_and_now() -> None:
    """Of the last layer alone: what others feed is not a class."""
    planted = replace(drift.plant(0).faulty, pictures=lambda places: np.zeros((len(places), 32, 32, 3), np.uint8))
    with torch.random.fork_rng(devices=[]):
        model = models.build(from_module.build(nn.Conv2d(3, 30, 8, stride=8), 32), 4)
    weights = np.zeros((6, 30))
    weights[5, 7] = 1.0
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[2, 7] = 1.0
    named = replace(planted, model=model, taught=Taught(tuple("abcdef"), weights))
    titles = [strip.title for strip in drift.inspect(named).strips if "channel 7," in strip.title and "late" in strip.title]
    assert [title.split("; ")[1] for title in titles] == ["it spoke for f, a, b", "it speaks for class 2"]
    assert not any(";" in strip.title for strip in drift.inspect(named).strips if "early" in strip.title)
    assert not any(";" in strip.title for strip in drift.inspect(planted).strips)
