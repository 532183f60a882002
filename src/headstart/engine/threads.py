"""How many threads compute fastest while other programs run: the threads of a parallel region wait for the slowest of them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from headstart.engine import device

RUNS = 3
UNHINDERED = 0.85
"""The least share of its threads' time that work gets where no other program wants the processor."""
FASTER = 1.1
"""What fewer threads must gain: timings of a busy machine are rough, and it may be idle again soon."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Work with so many threads: seconds it takes, and seconds of processor time that it gets in each of them."""

    threads: int
    seconds: float
    processors: float


def whole() -> int:
    """Sets and tells as many threads as a run has."""
    use(device.threads_to_use())
    return torch.get_num_threads()


def use(count: int) -> None:
    """Sets the number of threads; 0 changes nothing."""
    if count:
        torch.set_num_threads(count)


def timed(work: Callable[[], object], runs: int = RUNS) -> Timing:
    """The work's medians over a few runs with the threads that are set."""
    seconds, processors = [], []
    for _ in range(runs):
        before, started = time.process_time(), time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
        processors.append((time.process_time() - before) / max(seconds[-1], 1e-9))
    return Timing(torch.get_num_threads(), statistics.median(seconds), statistics.median(processors))


def fastest(work: Callable[[], object], measure: Callable[[Callable[[], object]], Timing] = timed) -> Timing:
    """The work with as many threads as are set, or fewer where other programs keep processors busy and fewer are faster.

    Fewer are tried only where the work did not get all the time of its threads: one thread less, and as many as got time. The
    number that was set stays set.
    """
    first = measure(work)
    if first.processors >= UNHINDERED * first.threads:
        return first
    found = [first]
    try:
        for fewer in sorted({first.threads - 1, min(first.threads - 1, int(first.processors))} - {0}, reverse=True):
            use(fewer)
            found.append(measure(work))
    finally:
        use(first.threads)
    best = min(found, key=lambda timing: timing.seconds)
    return best if best.seconds * FASTER < first.seconds else first
