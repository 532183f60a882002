"""How far a phase is: by steps, by a clock, by a log; and what the learning rate makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.core import Phase
from headstart.train.course import Place
from headstart.train.pacing import ByClock, ByEpochs, Logged, Replayed
from headstart.train.schedule import warmup_stable_cooldown

PHASE = Phase("all", 3, lr=1.0, warmup=0.2, cooldown=0.35)


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def by_clock(seconds: float, step_seconds: list[float], row_seconds: float = 0.0, busy: float = 0.0) -> tuple[list[float], float]:
    """The rates of a phase whose steps take so long (the last one again and again), and the time it ended."""
    watch, place = Watch(), Place(1)
    phase = Phase("all", 10, lr=1.0, seconds=seconds, warmup=0.2, cooldown=0.35)
    pacing, rates = ByClock(phase, place, row_seconds, now=watch), []
    while not pacing.over(place):
        rates.append(warmup_stable_cooldown(pacing.progress(place), phase.warmup, phase.cooldown))
        taken = step_seconds[min(place.step, len(step_seconds) - 1)]
        watch.time += taken
        place.step += 1
        place.batch += 1
        pacing.stepped(place, taken)
        watch.time += busy
    return rates, watch.time - 100.0


@settings(max_examples=30)
@given(st.floats(5, 100), st.floats(0.25, 2), st.floats(0, 0.5))
def test_a_phase_by_the_clock_ends_with_its_seconds(seconds: float, step: float, busy: float) -> None:
    rates, ended = by_clock(seconds, [5 * step, step], busy=busy)
    assert abs(ended - seconds) <= 5 * step + busy
    if seconds > 30 * step:
        assert abs(ended - seconds) <= 0.51 * (step + busy) + busy
        assert rates[-1] < 0.01
        assert max(rates) == pytest.approx(1.0, abs=0.1)


def test_the_last_step_by_the_clock_has_under_a_hundredth_of_the_peak() -> None:
    for seconds in (30.0, 61.3, 170.2):
        rates, ended = by_clock(seconds, [2.0, 0.7])
        assert rates[-1] < 0.01
        assert abs(ended - seconds) < 0.4
        descent = rates[rates.index(max(rates)) :]
        assert descent == sorted(descent, reverse=True)


@settings(max_examples=200)
@given(st.floats(4, 40), st.lists(st.floats(0.85, 1.15), min_size=45, max_size=45))
def test_a_few_uneven_steps_end_with_the_descent_too(seconds: float, steps: list[float]) -> None:
    """A step that was expected and does not fit any more would leave the rate where it was."""
    rates, ended = by_clock(seconds, steps)
    assert rates[-1] < 0.01
    assert abs(ended - seconds) < 1.0


def test_slower_steps_end_the_descent_at_the_same_time() -> None:
    rates, ended = by_clock(100.0, [0.5] * 60 + [2.0])
    assert abs(ended - 100.0) <= 1.1
    assert rates[-1] < 0.05


def test_a_row_fits_only_where_time_is_left_for_it() -> None:
    """It takes three seconds: a third of nine, and less than what two steps leave of three and a half."""
    watch, place = Watch(), Place(1)
    pacing = ByClock(Phase("all", 1, lr=1.0, seconds=10.0), place, 3.0, now=watch)
    place.step = 1
    pacing.stepped(place, 0.5)
    watch.time += 0.9
    assert pacing.row_fits(place)
    watch.time += 0.2
    assert pacing.left(place) == pytest.approx(8.9)
    assert not pacing.row_fits(place)
    watch.time += 5.4
    assert not pacing.row_fits(place)
    slow = ByClock(Phase("all", 1, lr=1.0, seconds=10.0), Place(1), 3.0, now=Watch())
    slow.stepped(Place(1, step=1), 4.0)
    assert not slow.row_fits(place)


def test_what_follows_the_last_step_is_part_of_the_phase_and_slows_down_with_the_steps() -> None:
    """The end takes ten steps: on a machine that gets three times slower on the way, the last step leaves that much more."""
    watch, place = Watch(), Place(1)
    phase = Phase("all", 1, lr=1.0, seconds=60.0, warmup=0.2, cooldown=0.35)
    pacing, rates = ByClock(phase, place, 0.0, lambda step: 10 * step, watch), []
    assert pacing.left(place) == 60.0
    while not pacing.over(place):
        rates.append(warmup_stable_cooldown(pacing.progress(place), phase.warmup, phase.cooldown))
        taken = 0.5 if watch.time < 120 else 1.5
        watch.time += taken
        place.step, place.batch = place.step + 1, place.batch + 1
        pacing.stepped(place, taken)
    assert watch.time - 100 + 10 * 1.5 == pytest.approx(60, abs=1.0)
    assert rates[-1] < 0.02
    assert pacing.step_seconds(place) == pytest.approx(1.5, abs=0.05)


def test_a_phase_that_is_taken_up_knows_its_steps_at_once() -> None:
    watch, place = Watch(), Place(4, batch=1, step=100, seconds=50.0)
    pacing = ByClock(Phase("all", 1, lr=1.0, seconds=80.0), place, 0.0, now=watch)
    for _ in range(2):
        watch.time += 1.0
        place.step, place.batch = place.step + 1, place.batch + 1
        pacing.stepped(place, 1.0)
    assert pacing.steps(place) == 102 + 28


def test_the_evaluation_between_epochs_is_no_part_of_a_step() -> None:
    watch, place = Watch(), Place(1)
    pacing = ByClock(Phase("all", 9, lr=1.0, seconds=60.0), place, 0.0, now=watch)
    for batch in (1, 2, 1, 2):
        watch.time += 11.0 if batch == 1 and place.step else 1.0
        place.step, place.batch = place.step + 1, batch
        pacing.stepped(place, 1.0)
    assert pacing.steps(place) == 4 + 46


def test_by_epochs_the_share_is_that_of_the_middle_of_the_step() -> None:
    pacing, place = ByEpochs(PHASE, 4), Place(1)
    shares = []
    while not pacing.over(place):
        shares.append(pacing.progress(place))
        place.step += 1
        pacing.stepped(place, 0.5)
    assert shares == [(step + 0.5) / 12 for step in range(12)]
    assert (place.seconds, pacing.steps(place), pacing.left(place)) == (6.0, 12, None)


def test_a_replay_says_what_was_logged_and_then_follows_the_clock() -> None:
    watch = Watch()
    phase = Phase("all", 1, lr=1.0, seconds=10.0)
    logged = [Logged(0.25, 3.0, 0), Logged(0.5, 6.0, 1)]
    pacing, place = Replayed(logged, 5, lambda place: ByClock(phase, place, 1.0, now=watch)), Place(2, step=5)
    assert not pacing.over(place)
    assert pacing.progress(place) == 0.25
    place.step += 1
    pacing.stepped(place, 99.0)
    assert (place.seconds, pacing.progress(place), pacing.row_fits(place)) == (3.0, 0.5, False)
    place.step += 1
    pacing.stepped(place, 99.0)
    assert place.seconds == 6.0
    assert pacing.left(place) == pytest.approx(4.0)  # the clock goes on where the log ends, however long the pause was
    assert pacing.progress(place) == pytest.approx(0.6)
    watch.time += 4.0
    assert pacing.over(place)


@given(st.floats(0.0, 0.6), st.floats(0.05, 0.4), st.floats(0, 1))
def test_the_rate_stays_between_nothing_and_the_peak(warmup: float, cooldown: float, progress: float) -> None:
    assert 0.0 <= warmup_stable_cooldown(progress, warmup, cooldown) <= 1.0


def test_the_rate_rises_stays_and_ends_at_zero() -> None:
    shares = [warmup_stable_cooldown(progress, 0.2, 0.4) for progress in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert shares == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])
    assert warmup_stable_cooldown(0.0, 0.0, 0.4) == 1.0


@given(st.integers(2, 400), st.floats(0.1, 0.6), st.data())
def test_a_phase_that_ends_early_falls_from_its_rate_to_zero(total: int, cooldown: float, data: st.DataObject) -> None:
    done, fall = data.draw(st.integers(1, total - 1)), data.draw(st.floats(0.0, 400.0))
    phase = Phase("all", total, lr=1.0, warmup=0.2, cooldown=cooldown)
    pacing, place = ByEpochs(phase, 1), Place(1, step=done)

    def share(of: Phase) -> float:
        return warmup_stable_cooldown(pacing.progress(place), of.warmup, of.cooldown)

    before = share(phase)
    short = pacing.end_early(place, phase, lambda *_: fall)
    if short == phase:
        assert max(1, math.ceil(fall - 1e-9)) >= total - done
        return
    assert short.steps is not None and done < short.steps < total
    assert ByEpochs(short, 1).total == pacing.total == short.steps
    shares = []
    while not pacing.over(place):
        shares.append(share(short))
        place.step += 1
    if short.cooldown == 1.0:  # the rate had hardly risen
        return
    assert np.diff(shares).max(initial=-1.0) < 1e-9
    assert shares[-1] == pytest.approx(shares[0] / (2 * len(shares) - 1))  # the last half step of a straight line to zero
    assert shares[0] <= before + 1e-9


def test_a_phase_by_the_clock_that_ends_early_has_less_time() -> None:
    watch, place = Watch(), Place(1, batch=1)
    phase = Phase("all", 9, lr=1.0, seconds=100.0, cooldown=0.35)
    pacing = ByClock(phase, place, 0.0, now=watch)
    watch.time += 26.0
    place.step = 26
    pacing.stepped(place, 1.0)
    seen = []
    short = pacing.end_early(place, phase, lambda *given: seen.append(given) or 14.0)
    assert seen == [(26.0, 74.0, 1.0)]
    assert (short.seconds, short.cooldown) == (40.0, pytest.approx(0.35))
    assert pacing.left(place) == 14.0
    assert pacing.end_early(place, short, lambda done, left, step: left) == short


def test_a_replay_that_ends_early_forgets_what_was_logged_behind_it() -> None:
    watch = Watch()
    phase = Phase("all", 1, lr=1.0, seconds=100.0)
    logged = [Logged(0.2, 30.0, 0), Logged(0.3, 40.0, 0)]
    pacing, place = Replayed(logged, 5, lambda place: ByClock(phase, place, 1.0, now=watch)), Place(2, step=5)
    place.step += 1
    pacing.stepped(place, 9.0)
    assert pacing.end_early(place, phase, lambda *_: 10.0).seconds == 40.0
    assert pacing.left(place) == 10.0
