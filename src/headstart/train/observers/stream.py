"""What an observer needs of the place that it writes to."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Stream(Protocol):
    """A text stream: stdout, a file, a buffer in memory."""

    @property
    def encoding(self) -> str | None: ...

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...
