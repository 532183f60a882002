"""Training by the clock beside other programs: as many threads as are fastest at present (docs/decisions/0015).

On two cores of which another program keeps one busy, two threads take 2.5 times as long for a step as one.
"""

import time
from dataclasses import dataclass

from headstart.engine import threads
from headstart.train.budget import a_forward, time_a_forward
from headstart.train.course import Place
from headstart.train.state import TrainState

SECONDS_BETWEEN = 30.0
"""Between two questions of how many threads are fastest, which take a second or a few."""
SLOWER = 1.4
"""How much longer a step takes where a machine has become busy; other reasons change it by a tenth or two."""


def fit_threads(state: TrainState) -> tuple[int, str | None]:
    """As `time_a_forward`; sets the number of threads that is fastest beside what else the processor does now, and returns it (0 on
    another device), and what to say where the run has more."""
    if state.device.type != "cpu":
        time_a_forward(state)
        return 0, None
    most = threads.of_a_run()
    threads.use(most)
    work, images = a_forward(state)
    found = threads.fastest(work)
    threads.use(found.threads)
    state.forward_took(found.seconds / images, 0.0)
    fewer = f"{found.threads} of {most} threads are used, which is faster at present: other programs seem to keep cores busy."
    return found.threads, fewer if found.threads < most else None


def try_all_threads(state: TrainState, fewer: int) -> tuple[int, str | None]:
    """The number of threads from now on, which is set, and what to say where it is all of them again: where one forward with all takes
    less time than the last ones took with `fewer`."""
    most = threads.of_a_run()
    threads.use(most)
    work, images = a_forward(state)
    seconds = threads.timed(work, runs=1).seconds / images
    if seconds * threads.FASTER < state.spent["a forward"]:
        state.forward_took(seconds, 0.0)
        return most, "All threads are used again."
    threads.use(fewer)
    return fewer, None


def got_slower(state: TrainState, step_seconds: float) -> bool:
    """Whether a step takes much longer than it did when forwards were last timed beside one."""
    before = state.spent.get("a step", 0.0)
    return before > 0 and step_seconds > SLOWER * before


@dataclass
class Fitting:
    """Asks again, at rows of a phase by the clock, how many threads are fastest."""

    state: TrainState
    asked: float
    """When it was asked last, by `time.perf_counter()`."""

    def again(self, place: Place, slower: bool) -> str | None:
        """Sets the threads of the steps to come where the machine got busier, or idle again; what to say of it.

        Nothing is asked where the run does not choose its threads, or where it was asked a short while ago.
        """
        fewer = 0 < place.threads < threads.of_a_run()
        if not place.threads or not (slower or fewer) or time.perf_counter() - self.asked < SECONDS_BETWEEN:
            return None
        self.asked = time.perf_counter()
        place.threads, words = try_all_threads(self.state, place.threads) if fewer else fit_threads(self.state)
        return words
