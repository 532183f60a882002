"""The table for a notebook: one display that grows in its place."""

import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any, Protocol

from headstart.core import Event, Note, Progress, Row, RowDone, StepDone
from headstart.plugins import require
from headstart.train.observers.pace import Pace
from headstart.train.observers.rows import FOOTNOTE, cells, columns, duration, is_marked, printable


class Handle(Protocol):
    """What `IPython.display.display(..., display_id=True)` gives back."""

    def update(self, obj: Any) -> None: ...


def in_notebook() -> bool:
    """Whether this Python is a notebook's kernel, which draws HTML; an IPython terminal is not."""
    shell = sys.modules.get("IPython.core.getipython") or sys.modules.get("IPython")
    instance = shell.get_ipython() if shell is not None else None
    return instance is not None and any(kind.__name__ == "ZMQInteractiveShell" for kind in type(instance).__mro__)


class Notebook:
    """One HTML display: the rows, the bar of the present stage, then the notes. It is redrawn at most twice a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = 0.5) -> None:
        self._clock = clock
        self._every = every
        self._pace = Pace(clock)
        self._rows: list[Row] = []
        self._notes: list[str] = []
        self._busy = False
        self._drawn = float("-inf")
        self._handle: Handle | None = None

    def show(self, event: Event) -> None:
        match event:
            case StepDone() | Progress():
                self._pace.follow(event)
                self._busy = self._pace.total > 0 and not (isinstance(event, Progress) and event.done >= event.total)
                if self._clock() - self._drawn >= self._every:
                    self._draw()
            case RowDone():
                self._rows.append(event.row)
                self._busy = False
                self._draw()
            case Note():
                self._notes.append(event.text)
                self._draw()

    def close(self) -> None:
        self._busy = False
        if self._handle is not None:
            self._draw()

    def _draw(self) -> None:
        display = require("IPython.display", "dev", "The table of a notebook")
        page = display.HTML(self._html())
        self._drawn = self._clock()
        if self._handle is None:
            self._handle = display.display(page, display_id=True)
        else:
            self._handle.update(page)

    def _html(self) -> str:
        bar = _bar_html(self._pace) if self._busy else ""
        notes = "".join(f"<div>{escape(printable(note))}</div>" for note in self._notes)
        return f"<div>{table_html(self._rows)}{bar}{notes}</div>"


def table_html(rows: list[Row]) -> str:
    """The rows as an HTML table without colours of its own, so that it is readable on light and dark pages."""
    if not rows:
        return ""
    headings = max((columns(row) for row in rows), key=len)
    head = "".join(f'<th style="text-align:right;padding:0 .5em">{escape(heading)}</th>' for heading in headings)
    lowest = min((row["valid_loss"] for row in rows if row.get("valid_loss") is not None), default=None)
    lines = []
    for row in rows:
        texts = dict(zip(columns(row), cells(row), strict=True))
        weight = "bold" if row.get("valid_loss") == lowest and lowest is not None else "normal"
        style = f"text-align:right;padding:0 .5em;font-weight:{weight};font-variant-numeric:tabular-nums"
        lines.append("".join(f'<td style="{style}">{escape(texts.get(heading, "-"))}</td>' for heading in headings))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    footnote = f"<small>{escape(FOOTNOTE)}</small>" if any(is_marked(row) for row in rows) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{footnote}"


def _bar_html(pace: Pace) -> str:
    left = pace.left()
    rest = "" if left is None else f", {duration(left)} left"
    label = escape(printable(f"{pace.what}: {pace.count()}{rest}"))
    return f'<div><progress value="{pace.share:.4f}" max="1" style="width:20em"></progress> {label}</div>'
