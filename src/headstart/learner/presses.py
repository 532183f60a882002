"""Ctrl-C and a notebook's stop button: the first press is counted and heeded between two steps, the second quits at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Presses:
    """How often the user asked to stop while this was watching."""

    def __init__(self) -> None:
        self.count = 0

    def press(self, _signal: int, _frame: FrameType | None) -> None:
        """What a press does: the first is only counted, as libraries drop exceptions, or break, where one comes unexpected."""
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def raise_if_any(self) -> None:
        """Raises the first press, at a place where work can be saved."""
        if self.count:
            raise KeyboardInterrupt


@contextmanager
def counted() -> Iterator[Presses]:
    """Counts presses where Python's own handler is in charge (the main thread of a program that set none); gives it back after."""
    presses = Presses()
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield presses
        return
    signal.signal(signal.SIGINT, presses.press)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
