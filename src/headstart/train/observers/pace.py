"""How far the present stage of work is, and how long it will still take."""

import time
from collections.abc import Callable

from headstart.core import Event, Progress, StepDone


class Pace:
    """Follows the events of one kind of work after another and tells the seconds left of the present one.

    The rate is taken from the first event of a stage on: the first batch is slow (memory, kernels, threads start) and
    must not count. Where the clock ends the stage, it tells the time left itself, and how many steps that will be is not known.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: tuple[str, int] = ("", 0)
        self._first = (0, 0.0)
        self.began = 0.0
        self.what = ""
        self.done = 0
        self.total = 0
        self.share = 0.0
        """Of the present stage that is done, in [0, 1]."""
        self._clock_left: float | None = None

    def follow(self, event: Event) -> bool:
        """Takes note of a step or of progress, and tells whether this event begins a new stage."""
        match event:
            case StepDone():
                what, stage, done, total = f"epoch {event.epoch}", "steps", event.step, event.steps
                by_clock = event.left is not None
                self._clock_left = event.left
                self.share = event.progress if by_clock else done / max(1, total)
            case Progress():
                what, stage, done, total = event.what, event.what, event.done, event.total
                by_clock, self._clock_left, self.share = False, None, done / max(1, total)
            case _:
                return False
        length = 0 if by_clock else total  # by the clock it is an estimate, which changes with every step
        fresh = (stage, length) != self._stage or done < self.done
        if fresh:
            self._stage = (stage, length)
            self.began = self._clock()
            self._first = (done, self.began)
        self.what, self.done, self.total = what, done, total
        return fresh

    def left(self) -> float | None:
        """Seconds until the stage is done, or None before that can be known."""
        if self._clock_left is not None:
            return self._clock_left
        done, began = self._first
        if self.done <= done or self.total <= 0:
            return None
        return (self._clock() - began) / (self.done - done) * max(self.total - self.done, 0)

    def count(self, of: str = " of ") -> str:
        """How much of it is done: "11 of 1,000", or "step 11" where the clock ends it."""
        return f"step {self.done:,}" if self._clock_left is not None else f"{self.done:,}{of}{self.total:,}"
