"""The table for a terminal: rows that stay, and below them a live bar with the time left."""

import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, cast

from headstart.core import Event, Note, Progress, RowDone, StepDone
from headstart.train.observers.pace import Pace
from headstart.train.observers.rows import FOOTNOTE, Layout, cells, columns, duration, is_marked, printable
from headstart.train.observers.stream import Stream

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar


class Table:
    """Rows and notes are printed once and scroll as usual; the bar of the present stage lives below them.

    The valid_loss of a row is green when it is the lowest so far. While no work is under way nothing is redirected and no
    thread is left.
    """

    def __init__(self, console: "Console", clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._pace = Pace(clock)
        self._bar: Bar | None = None
        self._layout: Layout | None = None
        self._best = float("inf")
        self._footnote_due = True

    @classmethod
    def on(cls, stream: Stream) -> "Table":
        """The table on a stream that is a terminal."""
        from rich.console import Console

        return cls(Console(file=cast(IO[str], stream), highlight=False, markup=False, emoji=False))

    def show(self, event: Event) -> None:
        match event:
            case StepDone() | Progress():
                self._progress(event)
            case RowDone():
                self._halt()
                self._row(event)
            case Note():
                self._note(event)

    def close(self) -> None:
        self._halt()

    def _row(self, event: RowDone) -> None:
        from rich.text import Text

        if self._layout is None or self._layout.headings != tuple(columns(event.row)):
            self._layout = Layout.of(event.row)
            self._print(Text("  ".join(self._layout.line(self._layout.headings)), style="bold"))
        parts = self._layout.line(cells(event.row))
        valid_loss = event.row.get("valid_loss")
        better = valid_loss is not None and valid_loss < self._best
        self._best = min(self._best, valid_loss) if valid_loss is not None else self._best
        line = Text()
        for heading, part in zip(self._layout.headings, parts, strict=True):
            line.append(part, style="green" if better and heading == "valid_loss" else "")
            line.append("  ")
        line.rstrip()
        self._print(line)
        if self._footnote_due and is_marked(event.row):
            self._footnote_due = False
            self._print(Text(FOOTNOTE, style="dim"))

    def _note(self, event: Note) -> None:
        from rich.text import Text

        self._console.print(Text(printable(event.text)))

    def _print(self, text: object) -> None:
        self._console.print(text, no_wrap=True, overflow="ignore", crop=False)

    def _progress(self, event: StepDone | Progress) -> None:
        self._pace.follow(event)
        bar = self._bar
        if bar is None:
            bar = self._bar = _bar(self._console)
            bar.add_task("", total=None, left="", count="")
        left = self._pace.left()
        bar.update(
            bar.task_ids[0],
            description=printable(self._pace.what),
            completed=self._pace.share,
            total=1.0 if self._pace.total else None,
            count=self._pace.count("/") if self._pace.total else "",
            left="" if left is None else f"{duration(left)} left",
        )
        bar.start()
        if isinstance(event, Progress) and event.total and event.done >= event.total:
            self._halt()

    def _halt(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: "Console") -> "Bar":
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False, style="dim"),
        console=console,
        transient=True,
        refresh_per_second=5,
    )
