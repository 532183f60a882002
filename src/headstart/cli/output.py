"""Where the words of a command go, and where its machine-readable results."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from headstart.train.observers.stream import Stream


@contextmanager
def results_on_stdout(json: bool) -> Iterator[Stream]:
    """The stream for results: stdout. With `json`, whatever else is printed meanwhile, by any library, goes to stderr."""
    stdout = sys.stdout
    if not json:
        yield stdout
        return
    with redirect_stdout(sys.stderr):
        yield stdout


@contextmanager
def told_if_slow(words: str, seconds: float = 5.0) -> Iterator[None]:
    """Says on stderr what is going on when it takes longer than this."""
    timer = threading.Timer(seconds, write_line, (sys.stderr, words))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def write_line(stream: Stream, text: str) -> None:
    """Writes one line and hands it on at once."""
    stream.write(text + "\n")
    stream.flush()


def size_in_words(n_bytes: int) -> str:
    """Bytes as people read them: `0 B`, `980 kB`, `1.4 GB`."""
    size, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}" if size < 10 and units[0] != "B" else f"{size:.0f} {units[0]}"


def process_start() -> float:
    """The `time.perf_counter()` of the start of this process; where the system does not tell, the time it has computed since counts."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        # the 22nd field, counted behind the name, which may hold anything: ticks between the start of the system and ours
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter() - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return time.perf_counter() - time.process_time()
