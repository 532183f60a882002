"""Ctrl-C and a notebook's stop button: a press is counted and heeded between two steps, the one after the stop quits at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Presses:
    """How often the user asked to stop while this was watching; the first `gentle` presses only ask for an early end."""

    def __init__(self, gentle: int = 0) -> None:
        self.count = 0
        self.gentle = gentle

    def press(self, _signal: int, _frame: FrameType | None) -> None:
        """What a press does: the first is only counted, as libraries drop exceptions, or break, where one comes unexpected."""
        self.count += 1
        if self.quits():
            raise KeyboardInterrupt

    def asks(self) -> bool:
        """Whether the user asks for an early end and for no more."""
        return 0 < self.count <= self.gentle

    def quits(self) -> bool:
        """Whether the user pressed once more after the press that stops."""
        return self.count > self.gentle + 1

    def raise_if_any(self) -> None:
        """Raises the press that stops, at a place where work can be saved."""
        if self.count > self.gentle:
            raise KeyboardInterrupt


@contextmanager
def counted(gentle: int = 0) -> Iterator[Presses]:
    """Counts presses where Python's own handler is in charge (the main thread of a program that set none); gives it back after."""
    presses = Presses(gentle)
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield presses
        return
    signal.signal(signal.SIGINT, presses.press)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
