"""Weights and draws that let every class count alike, and what the user is told of the sizes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.data import balance
from headstart.errors import BadSetting

GROUPS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda groups: np.array(groups, np.int64))


@given(GROUPS)
def test_every_class_weighs_the_same_and_the_mean_weight_is_one(groups: np.ndarray) -> None:
    found, sizes = balance.weights(groups), Counter(groups.tolist())
    slow = [len(groups) / (len(sizes) * sizes[group]) for group in groups.tolist()]
    assert np.allclose(found, slow)
    assert found.mean() == pytest.approx(1.0)


@given(GROUPS, st.integers(0, 3), st.integers(1, 3))
def test_draws_are_even_over_classes_and_over_the_examples_of_each(groups: np.ndarray, seed: int, epoch: int) -> None:
    n, draws = len(groups), balance.drawn(groups, seed, epoch)
    rows = draws % n
    assert len(draws) == n == len(set(draws.tolist())), "a repeat is a draw of its own, so that it is changed in another way"
    per_class = Counter(groups[rows].tolist())
    even = n / len(set(groups.tolist()))
    assert all(abs(per_class[group] - even) < 1 for group in set(groups.tolist()))
    for group, quota in per_class.items():
        members = np.flatnonzero(groups == group)
        times = np.bincount(rows, minlength=n)[members]
        assert times.max() - times.min() <= 1 and times.sum() == quota
    assert all(set((draws[rows == row] // n).tolist()) == set(range((rows == row).sum())) for row in set(rows.tolist()))
    assert np.array_equal(draws, balance.drawn(groups, seed, epoch))


def test_another_epoch_draws_another_order() -> None:
    groups = np.array([0] * 30 + [1] * 5)
    first, second, other = balance.drawn(groups, 0, 1), balance.drawn(groups, 0, 2), balance.drawn(groups, 1, 1)
    assert not np.array_equal(first, second) and not np.array_equal(first, other)
    assert set(first % 35) != set(second % 35), "another selection of the large class too"


def test_equal_classes_make_a_complete_pass() -> None:
    assert sorted(balance.drawn(np.array([0, 1, 2] * 4), 0, 1).tolist()) == list(range(12))


def test_the_user_is_told_from_three_times_on() -> None:
    told = balance.in_words(["cat"] * 9 + ["owl"] * 3, "none")
    assert told is not None and "largest, cat, has 9" in told and "smallest, owl, 3" in told and "--balance weights" in told
    assert balance.in_words(["cat"] * 8 + ["owl"] * 3, "none") is None
    chosen = balance.in_words(["cat"] * 8 + ["owl"] * 3, "sample")
    assert chosen is not None and "no complete pass" in chosen and "unweighted" in chosen


def test_examples_without_classes_cannot_be_balanced() -> None:
    with pytest.raises(BadSetting, match="sizes of classes"):
        balance.weights(None)
