"""How far the present stage of work is, and how long it will still take."""

import time
from collections.abc import Callable

from headstart.core import Event, Progress, StepDone


class Pace:
    """Follows the events of one kind of work after another and tells the seconds left of the present one.

    The rate is taken from the first event of a stage on: the first batch is slow (memory, kernels, threads start) and
    must not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: tuple[str, int] = ("", 0)
        self._first = (0, 0.0)
        self.began = 0.0
        self.what = ""
        self.done = 0
        self.total = 0

    def follow(self, event: Event) -> bool:
        """Takes note of a step or of progress, and tells whether this event begins a new stage."""
        match event:
            case StepDone():
                what, stage, done, total = f"epoch {event.epoch}", "steps", event.step, event.steps
            case Progress():
                what, stage, done, total = event.what, event.what, event.done, event.total
            case _:
                return False
        fresh = (stage, total) != self._stage or done < self.done
        if fresh:
            self._stage = (stage, total)
            self.began = self._clock()
            self._first = (done, self.began)
        self.what, self.done, self.total = what, done, total
        return fresh

    def left(self) -> float | None:
        """Seconds until the stage is done, or None before that can be known."""
        done, began = self._first
        if self.done <= done or self.total <= 0:
            return None
        return (self._clock() - began) / (self.done - done) * max(self.total - self.done, 0)
