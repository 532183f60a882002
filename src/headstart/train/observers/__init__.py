"""What a user sees of a run: one observer for each kind of place where it can be shown. All watch, none changes the run.

Where                                     Observer
a terminal                                `Table`: rows, with a live bar and the time left below them
a file, a pipe, a log of a job queue      `Lines`: one line per row, now and then a line of progress, no carriage returns
a notebook                                `Notebook`: one table that grows in its place
another program                           `JsonLines`: rows as JSON on stdout, the rest in words on stderr
"""

import sys

from headstart.core import Observer
from headstart.train.observers.json_lines import JsonLines
from headstart.train.observers.lines import Lines
from headstart.train.observers.notebook import Notebook, in_notebook
from headstart.train.observers.stream import Stream
from headstart.train.observers.table import Table
from headstart.train.observers.together import Together

__all__ = ["JsonLines", "Lines", "Notebook", "Table", "Together", "choose"]


def choose(json: bool = False, stdout: Stream | None = None, stderr: Stream | None = None) -> Observer:
    """The observer that suits where the output goes: a notebook, a terminal or a file; with `json`, JSON lines on stdout."""
    out, err = stdout or sys.stdout, stderr or sys.stderr
    if json:
        return JsonLines(out, notes=_for_stream(err))
    if stdout is None and in_notebook():
        return Notebook()
    return _for_stream(out)


def _for_stream(stream: Stream) -> Observer:
    return Table.on(stream) if stream.isatty() else Lines(stream)
