"""The table for files, pipes and logs: complete lines, written once."""

import time
from collections.abc import Callable

from headstart.core import Event, Note, Progress, RowDone, StepDone
from headstart.train.observers.pace import Pace
from headstart.train.observers.rows import FOOTNOTE, Layout, cells, columns, duration, is_marked, printable
from headstart.train.observers.stream import Stream


class Lines:
    """One line per row, one per note, and a line of progress when a stage takes long: never a carriage return.

    The first line of progress comes after `patience` seconds, each later one of the same stage after twice the time.
    A stream that can no longer be written to silences it: the run goes on.
    """

    def __init__(self, stream: Stream, patience: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._patience = patience
        self._clock = clock
        self._pace = Pace(clock)
        self._next = 0.0
        self._layout: Layout | None = None
        self._broken = False
        self._footnote_due = True

    def show(self, event: Event) -> None:
        match event:
            case RowDone():
                self._row(event)
            case Note():
                self._say(event.text)
            case StepDone() | Progress():
                self._progress(event)

    def close(self) -> None:
        """Nothing is pending: every line was flushed when it was written."""

    def _row(self, event: RowDone) -> None:
        if self._layout is None or self._layout.headings != tuple(columns(event.row)):
            self._layout = Layout.of(event.row)
            self._say("  ".join(self._layout.line(self._layout.headings)).rstrip())
        self._say("  ".join(self._layout.line(cells(event.row))).rstrip())
        if self._footnote_due and is_marked(event.row):
            self._footnote_due = False
            self._say(FOOTNOTE)

    def _progress(self, event: StepDone | Progress) -> None:
        if self._pace.follow(event):
            self._next = self._patience
        waited = self._clock() - self._pace.began
        if waited < self._next or self._pace.done >= self._pace.total:
            return
        self._next = 2 * max(waited, self._patience)
        left = self._pace.left()
        rest = "" if left is None else f", {duration(left)} left"
        self._say(f"{self._pace.what}: {self._pace.count()}{rest}")

    def _say(self, text: str) -> None:
        if self._broken:
            return
        text = printable(text)
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True
