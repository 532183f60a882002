"""The table for other programs: JSON lines on stdout, words on stderr."""

import json
import math
from typing import Any

from headstart.core import Event, Observer, RowDone
from headstart.train.observers.stream import Stream


class JsonLines:
    """One JSON object per row on the stream; notes and progress go to the observer `notes`.

    Pure ASCII and strict JSON: what is not a finite number is null. A reader that goes away silences it: the run goes on.
    """

    def __init__(self, stream: Stream, notes: Observer) -> None:
        self._stream = stream
        self._notes = notes
        self._broken = False

    def show(self, event: Event) -> None:
        if isinstance(event, RowDone):
            self.write(event.row)
        else:
            self._notes.show(event)

    def close(self) -> None:
        self._notes.close()

    def write(self, value: Any) -> None:
        """Writes one more object, for example the summary at the end."""
        if self._broken:
            return
        try:
            self._stream.write(to_line(value) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True


def to_line(value: Any) -> str:
    """The value as one line of strict JSON."""
    return json.dumps(_strict(value), allow_nan=False, default=str)


def _strict(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): _strict(item) for key, item in value.items()}
        case list() | tuple():
            return [_strict(item) for item in value]
        case _:
            return value
