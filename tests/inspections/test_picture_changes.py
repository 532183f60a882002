"""Changes of pictures: each takes away its own thing and nothing else, and its numbers tell how much of it is there."""

import numpy as np
import pytest

from headstart.inspections import _changes
from headstart.inspections._changes import all_changes

DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(40, 200, (4, 50, 50, 3)).astype(np.uint8)
CHANGES = {change.name: change for change in all_changes(50, 50)}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_gives_pictures_of_the_same_kind_and_leaves_those_given_alone(name: str) -> None:
    before = PICTURES.copy()
    changed = CHANGES[name].take(PICTURES)
    assert changed.shape == PICTURES.shape and changed.dtype == np.uint8 and not np.array_equal(changed, PICTURES)
    np.testing.assert_array_equal(PICTURES, before)


@pytest.mark.parametrize("name", [name for name in CHANGES if "corner" in name or "border" in name])
def test_what_is_filled_is_the_part_and_nothing_else(name: str) -> None:
    inside = {"the border": _changes.border(50, 50), **_changes.corners(50, 50)}[name]
    without = CHANGES[name].take(PICTURES)
    np.testing.assert_array_equal(without[:, ~inside], PICTURES[:, ~inside])
    assert (without[:, inside] == without[:, inside][:, :1]).all()


def test_a_mark_is_told_by_itself_whatever_the_rest_shows() -> None:
    marked = PICTURES.copy()
    inside = _changes.corners(50, 50)["the top left corner"]
    marked[:, inside] = [250, 240, 40]
    told = CHANGES["the top left corner"].tell(marked)
    np.testing.assert_allclose(told, [[530 / 3, 10, -200, 210, 0]] * 4, rtol=1e-4, atol=1e-3)
    other = marked.copy()
    other[:, ~inside] = 9
    np.testing.assert_array_equal(CHANGES["the top left corner"].tell(other), CHANGES["the top left corner"].tell(marked))


def test_corners_are_four_and_do_not_overlap() -> None:
    inside = np.stack(list(_changes.corners(50, 50).values()))
    assert inside.sum((1, 2)).tolist() == [100] * 4 and inside.sum(0).max() == 1


def test_the_tint_is_told_and_taken_away() -> None:
    warm = np.clip(PICTURES.astype(int) + np.array([30, 0, -20]), 0, 255).astype(np.uint8)
    difference = _changes.tints(warm) - _changes.tints(PICTURES)
    np.testing.assert_allclose(difference[:, :2], [[30, -20]] * 4, atol=1.5)
    means = _changes.untinted(warm).reshape(4, -1, 3).mean(1)
    np.testing.assert_allclose(means, 118, atol=1.5)


def test_a_softened_picture_has_less_detail_and_a_softened_one_loses_little_more() -> None:
    soft = _changes.softened(PICTURES)
    assert (_changes.details(soft) < _changes.details(PICTURES)).all()
    flat = np.full((2, 50, 50, 3), 77, np.uint8)
    np.testing.assert_array_equal(_changes.softened(flat), flat)


def test_a_frame_is_told() -> None:
    framed = PICTURES.copy()
    framed[:, _changes.border(50, 50)] = 0
    tell = CHANGES["the border"].tell
    bright, *_, uneven = (tell(framed) - tell(PICTURES)).T
    assert (bright < -80).all() and (uneven < 0).all()
