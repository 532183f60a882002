"""Observers of which nothing can come back: whatever fails in them is told once, then they are silent and the training goes on."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from headstart.core import Event, Observer

Tell = Callable[[str], None]
PATIENCE = 20.0
"""Seconds that a tracker has, after the end, to take what it has not taken yet."""


class Guarded:
    """An observer that shows its events at once, until it fails."""

    def __init__(self, name: str, observer: Observer, tell: Tell) -> None:
        self._name, self._observer, self._tell = name, observer, tell
        self._failed = False

    def show(self, event: Event) -> None:
        self._tried(lambda: self._observer.show(event))

    def close(self) -> None:
        self._tried(self._observer.close)

    def _tried(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever it is: watching must not end what is watched
            self._failed = True
            self._tell(silenced_in_words(self._name, error))


class Aside:
    """An observer that works on a thread of its own, in the order of events; what went wrong there is told at the next event.

    Beware: its thread is left alone `patience` seconds after the end, so that a server that never answers holds nobody.
    """

    def __init__(self, name: str, observer: Observer, tell: Tell, patience: float = PATIENCE) -> None:
        self._name, self._observer, self._tell, self._patience = name, observer, tell, patience
        self._waiting: SimpleQueue[Event | None] = SimpleQueue()
        self._trouble: Exception | None = None
        self._told = False
        self._thread = threading.Thread(target=self._work, name=f"headstart-track-{name}", daemon=True)
        self._thread.start()

    def show(self, event: Event) -> None:
        if self._trouble is None:
            self._waiting.put(event)
        self._tell_of_trouble()

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(self._patience)
        self._tell_of_trouble()
        if self._thread.is_alive():
            self._tell(
                f"{self._name} is still busy {self._patience:.0f} s after the end and is left behind: it may lack the last rows."
            )

    def _work(self) -> None:
        try:
            while (event := self._waiting.get()) is not None:
                self._observer.show(event)
            self._observer.close()
        except Exception as error:
            self._trouble = error

    def _tell_of_trouble(self) -> None:
        if self._trouble is not None and not self._told:
            self._told = True
            self._tell(silenced_in_words(self._name, self._trouble))


def silenced_in_words(name: str, error: Exception) -> str:
    """What the user is told once."""
    why = " ".join(str(error).split())[:200]
    return f"{name} failed and shows nothing from here on; the training is not touched by it. ({type(error).__name__}: {why})"
