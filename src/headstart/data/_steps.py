"""Work that tells how far it is, where nobody goes on from what it tells."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


def exhausted(steps: Generator[Any, None, T], show: Callable[[Any], None] | None = None) -> T:
    """What a generator returns at its end; what it yields is shown, or unseen."""
    while True:
        try:
            told = next(steps)
        except StopIteration as end:
            return end.value
        if show is not None:
            show(told)
