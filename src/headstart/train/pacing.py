"""How far a phase is: by steps, by the clock, or as an earlier run of it has logged. The learning rate follows from this alone."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from headstart.core import Phase
from headstart.train.course import Place
from headstart.train.schedule import warmup_stable_cooldown

LAST_SHARE = 0.005
"""Of the cool-down that is left for the last step by the clock: a rate of zero would waste it."""
ROW_SHARE = 1 / 3
"""Of the time left, that a row in between may take: evaluation must not eat the descent, after which a row tells much more."""
WHOLE_STEPS = 20
"""From so many steps on before the end they are counted one by one."""
FULL_STEP = 0.2
"""What may be missing of a step to come, for it to be expected. Half a step is made where it comes to that, but the descent must not wait
for it: a step that takes a little longer than the last would leave no time for it, and a further step at the lowest rate does no harm."""


Ending = Callable[[float], float]
"""How long what follows the last step takes, from what a step takes."""
Fall = Callable[[float, float, float], float]
"""How long the rate shall fall, from what was done, what is left and what a step takes; in steps, or seconds by the clock."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One step of a run by the clock: what set its rate, the phase's seconds after it, `Place.rowless` and `Place.threads` while it was
    made."""

    progress: float
    seconds: float
    rowless: int
    threads: int = 0


@runtime_checkable
class Pacing(Protocol):
    """Tells the loop when to stop and how far it is."""

    def over(self, place: Place) -> bool:
        """Whether no further step fits."""
        ...

    def progress(self, place: Place) -> float:
        """Share of the phase at the step to come, in [0, 1]."""
        ...

    def steps(self, place: Place) -> int:
        """How many steps the phase will have had at its end."""
        ...

    def left(self, place: Place) -> float | None:
        """Seconds left, None where only the steps are known."""
        ...

    def row_fits(self, place: Place) -> bool:
        """Whether there is time to evaluate at the end of an epoch and train on."""
        ...

    def stepped(self, place: Place, seconds: float) -> None:
        """A step took this long: brings `place.seconds` up to date."""
        ...

    def step_seconds(self, place: Place) -> float:
        """What a step takes at present, 0 before that is known."""
        ...

    def threads(self, place: Place) -> int:
        """Threads of the step to come; 0: as many as there are."""
        ...

    def end_early(self, place: Place, phase: Phase, fall: Fall) -> Phase:
        """The phase with its rate falling from now on, over what `fall` says; this paces it from then on."""
        ...


class ByEpochs:
    """A phase of so many steps.

    Beware: the share is taken in the middle of the step, or the first step of a phase would have rate zero.
    """

    def __init__(self, phase: Phase, steps_per_epoch: int) -> None:
        self.total = phase.steps or phase.epochs * steps_per_epoch

    def over(self, place: Place) -> bool:
        return place.step >= self.total

    def progress(self, place: Place) -> float:
        return (place.step + 0.5) / self.total

    def steps(self, place: Place) -> int:
        return self.total

    def left(self, place: Place) -> float | None:
        return None

    def row_fits(self, place: Place) -> bool:
        return True

    def stepped(self, place: Place, seconds: float) -> None:
        place.seconds += seconds

    def step_seconds(self, place: Place) -> float:
        return place.seconds / place.step if place.step else 0.0

    def threads(self, place: Place) -> int:
        return place.threads

    def end_early(self, place: Place, phase: Phase, fall: Fall) -> Phase:
        left = self.total - place.step
        steps = max(1, math.ceil(fall(float(place.step), float(left), 1.0) - 1e-9)) if left else 0
        if steps >= left:
            return phase
        cooldown = _cooldown(phase, self.progress(place), float(place.step), float(steps))
        self.total = place.step + steps
        return replace(phase, steps=self.total, cooldown=cooldown)


class ByClock:
    """A phase that ends, with what follows its last step, when its seconds are over, its rate falling to zero by the last step.

    What the caller does between steps (evaluation, saving) counts: time does not wait. Towards the end the time left is
    counted in whole steps, so that the last one that fits is made at the end of the descent. Progress never goes back.

    Args:
        ending: how long what follows the last step will take, from what a step takes at present (0: not known yet). A machine
            that gets busy slows down both.
        now: the clock.
    """

    def __init__(
        self,
        phase: Phase,
        place: Place,
        row_seconds: float,
        ending: Ending = lambda _: 0.0,
        now: Callable[[], float] | None = None,
    ) -> None:
        assert phase.seconds is not None, "a phase by the clock has seconds"
        self._phase, self._row_seconds, self._ending = phase, row_seconds, ending
        self._now = now or time.perf_counter
        self._began = self._now() - place.seconds
        self._step = self._most = 0.0
        self._made = 0

    def over(self, place: Place) -> bool:
        left = self._left()
        return left <= 0 or (self._step > 0 and int(left / self._step + 0.5) < 1)

    def progress(self, place: Place) -> float:
        left, length = self._left(), max(self._length(), 1e-9)
        if self._step > 0:
            steps = left / self._step
            left = (steps if steps > WHOLE_STEPS else int(steps + FULL_STEP)) * self._step - self._step
        least = LAST_SHARE * self._phase.cooldown * length
        self._most = min(1.0, max(self._most, 1.0 - max(left, least) / length))
        return self._most

    def steps(self, place: Place) -> int:
        return place.step + (int(max(0.0, self._left()) / self._step + 0.5) if self._step > 0 else 1)

    def left(self, place: Place) -> float | None:
        return max(0.0, self._left())

    def row_fits(self, place: Place) -> bool:
        left = self._left()
        return self._row_seconds < min(ROW_SHARE * left, left - 2 * self._step)

    def stepped(self, place: Place, seconds: float) -> None:
        elapsed = self._elapsed()
        # what lies between two steps of an epoch counts, the evaluation between two epochs does not
        taken = elapsed - place.seconds if place.batch > 1 and self._made else seconds
        self._made += 1
        # beware: the first step starts threads and kernels, so it is forgotten as soon as there is another
        self._step = taken if self._made <= 2 else 0.8 * self._step + 0.2 * taken
        place.seconds = elapsed

    def step_seconds(self, place: Place) -> float:
        return self._step

    def threads(self, place: Place) -> int:
        return place.threads

    def end_early(self, place: Place, phase: Phase, fall: Fall) -> Phase:
        done, left = self._elapsed(), self._left()
        seconds = fall(done, left, self._step)
        if seconds >= left:
            return phase
        cooldown = _cooldown(phase, self.progress(place), done, seconds)
        self._phase = replace(phase, seconds=done + seconds + self._ending(self._step), cooldown=cooldown)
        return self._phase

    def _length(self) -> float:
        """Seconds from the first step of the phase to the end of its last."""
        assert self._phase.seconds is not None, "a phase by the clock has seconds"
        return self._phase.seconds - self._ending(self._step)

    def _left(self) -> float:
        return self._length() - self._elapsed()

    def _elapsed(self) -> float:
        return self._now() - self._began


class Replayed:
    """The steps that an interrupted run by the clock logged, as they were; then the clock again, from the time it was at."""

    def __init__(self, logged: Sequence[Logged], first: int, then: Callable[[Place], ByClock]) -> None:
        self._logged, self._first, self._then = logged, first, then
        self._clock: ByClock | None = None

    def over(self, place: Place) -> bool:
        return self._entry(place) is None and self._by_clock(place).over(place)

    def progress(self, place: Place) -> float:
        entry = self._entry(place)
        return self._by_clock(place).progress(place) if entry is None else entry.progress

    def steps(self, place: Place) -> int:
        return self._first + len(self._logged) if self._entry(place) is not None else self._by_clock(place).steps(place)

    def left(self, place: Place) -> float | None:
        return None if self._entry(place) is not None else self._by_clock(place).left(place)

    def row_fits(self, place: Place) -> bool:
        entry = self._entry(place)
        return self._by_clock(place).row_fits(place) if entry is None else not entry.rowless

    def stepped(self, place: Place, seconds: float) -> None:
        number = place.step - 1 - self._first
        if 0 <= number < len(self._logged):
            place.seconds = self._logged[number].seconds
        else:
            self._by_clock(place).stepped(place, seconds)

    def step_seconds(self, place: Place) -> float:
        return 0.0 if self._clock is None else self._clock.step_seconds(place)

    def threads(self, place: Place) -> int:
        entry = self._entry(place)
        return place.threads if entry is None else entry.threads

    def end_early(self, place: Place, phase: Phase, fall: Fall) -> Phase:
        self._logged = self._logged[: place.step - self._first]
        return self._by_clock(place).end_early(place, phase, fall)

    def _entry(self, place: Place) -> Logged | None:
        number = place.step - self._first
        return self._logged[number] if 0 <= number < len(self._logged) else None

    def _by_clock(self, place: Place) -> ByClock:
        self._clock = self._clock or self._then(place)
        return self._clock


def _cooldown(phase: Phase, progress: float, done: float, fall: float) -> float:
    """The cool-down of a phase that ends after `done + fall`, so that its rate falls from where it is at `progress` now."""
    share = warmup_stable_cooldown(progress, phase.warmup, phase.cooldown)
    return min(1.0, fall / ((done + fall) * max(share, 1e-9)))
