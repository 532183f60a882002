"""How many threads compute: those of a run, or fewer beside other programs, as the threads of a parallel region wait for the slowest."""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from headstart.machine import logical_cores

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


def of_a_run() -> int:
    """Threads of a run on the CPU: what OMP_NUM_THREADS says, as everywhere in torch, else one for each physical core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else physical_cores()


def physical_cores() -> int:
    """Cores that this process may use, counting two hyper-threads as one where the system tells."""
    logical = logical_cores()
    with suppress(OSError, ValueError):
        shared = {
            Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
            for cpu in os.sched_getaffinity(0)
        }
        return max(1, min(len(shared), logical))
    return max(1, min(torch.get_num_threads(), logical))


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
