"""Statistics that decide what a benchmark says, against scipy and by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired import NO_ERRORS, Errors, compared, markdown, paired_t, ratios
from scipy import stats

POSITIVE = st.floats(0.01, 10, allow_nan=False)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=8).filter(lambda pairs: len({a / b for a, b in pairs}) > 1))
def test_the_interval_of_ratios_is_scipys_paired_t_test_on_logarithms(pairs: list[tuple[float, float]]) -> None:
    after, before = zip(*pairs, strict=True)
    logs = [[math.log(value) for value in values] for values in (after, before)]
    wanted = stats.ttest_rel(*logs).confidence_interval(0.95)
    found = ratios(after, before)
    assert found.n == len(pairs)
    for value, expected in ((found.low, wanted.low), (found.high, wanted.high)):
        assert math.log(value) == pytest.approx(expected, rel=1e-6, abs=1e-9) if 0 < value < math.inf else abs(expected) > 500


def test_one_pair_has_a_mean_and_no_interval() -> None:
    found = ratios([2.0], [4.0])
    assert (found.mean, found.low, found.high) == (0.5, 0.0, math.inf)
    assert str(found) == "0.500 (n = 1)"


def test_no_pairs_are_an_error() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_t([])


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_errors_count_who_was_wrong_alone_and_the_test_is_the_exact_binomial(first: set[int], second: set[int]) -> None:
    found = compared([str(one) for one in first], [str(one) for one in second], 31)
    assert (found.first, found.second) == (len(first), len(second))
    assert found.only_first - found.only_second == len(first) - len(second)
    either = found.only_first + found.only_second
    # by hand: twice the smaller tail of a fair coin, at most one
    tail = sum(math.comb(either, k) for k in range(min(found.only_first, found.only_second) + 1)) / 2**either
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    interval = found.difference
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == pytest.approx((len(second) - len(first)) / 31)


def test_the_interval_of_a_difference_is_that_of_agresti_and_min() -> None:
    interval = Errors(first=20, second=10, only_first=15, only_second=5, n=100).difference
    b, c, n = 5.5, 15.5, 102
    half = stats.norm.ppf(0.975) * math.sqrt(((b + c) / n - ((b - c) / n) ** 2) / n)
    assert (interval.low, interval.high) == pytest.approx(((b - c) / n - half, (b - c) / n + half), abs=1e-6)


def test_errors_add_up() -> None:
    one, other = compared(["a", "b"], ["b", "c", "d"], 10), compared(["x"], [], 5)
    assert NO_ERRORS + one + other == Errors(3, 3, 2, 2, 15)


def test_markdown_has_a_line_for_each_row() -> None:
    assert markdown(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
