"""What got worse: exact tests against closed forms, and verdicts that small numbers cannot earn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from headstart.evaluate.changes import FEWEST, RISK, compared, in_words, mcnemar


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_paired_test_is_the_exact_binomial_one(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_fewer_than_six_can_never_tell() -> None:
    assert mcnemar(FEWEST, 0) < RISK < mcnemar(FEWEST - 1, 0)


def wrong(n: int, errors: range) -> np.ndarray:
    found = np.zeros(n, bool)
    found[list(errors)] = True
    return found


def test_each_class_is_judged_on_its_own_images_and_the_worst_comes_first() -> None:
    names = ["a"] * 40 + ["b"] * 40 + ["c"] * 5
    before = np.concatenate([wrong(40, range(10)), wrong(40, range(2)), wrong(5, range(0))])
    after = np.concatenate([wrong(40, range(0)), wrong(40, range(1, 20)), wrong(5, range(2))])
    changes = compared(names, before, after)
    assert [(change.name, change.verdict) for change in changes] == [
        ("b", "worse"),
        ("c", "too few to tell"),
        ("a", "better"),
        ("all", "no difference"),
    ]
    worse = changes[0]
    assert (worse.n, worse.before, worse.after, worse.lost, worse.gained) == (40, 2 / 40, 19 / 40, 18, 1)
    told = in_words(changes)
    assert told[0].startswith("Got worse: b 5.0% -> 47.5% (n = 40, 18 lost, 1 gained")
    assert told[1].startswith("Got better: a 25.0% -> 0.0%")


def test_among_many_classes_one_that_is_a_little_worse_is_no_finding() -> None:
    """Six of six lost is p = .03: enough for one class, not for the worst of twenty."""
    before, after = np.zeros(200, bool), np.zeros(200, bool)
    after[:6] = True
    many = compared([f"class {number // 10}" for number in range(200)], before, after)
    assert {change.verdict for change in many[:-1]} == {"no difference"}
    one = compared(["only"] * 200, before, after)
    assert [change.verdict for change in one] == ["worse", "worse"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40))
def test_errors_add_up(rows: list[tuple[str, bool, bool]]) -> None:
    names = [name for name, _, _ in rows]
    before, after = (np.array([row[at] for row in rows], bool) for at in (1, 2))
    changes = compared(names, before, after)
    if not rows:
        assert changes == []
        assert in_words(changes) == []
        return
    *each, every = changes
    assert sum(change.n for change in each) == every.n == len(rows)
    assert sum(change.n * change.after for change in each) == pytest.approx(after.sum())
    assert sum(change.lost - change.gained for change in each) == int(after.sum()) - int(before.sum())
