"""Observers for tests."""

from typing import Any

from headstart.core import Note


class Notes:
    """Keeps the notes that it is shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def show(self, event: Any) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)

    def close(self) -> None: ...
