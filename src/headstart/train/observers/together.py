"""Several observers as one."""

from collections.abc import Sequence

from headstart.core import Event, Observer


class Together:
    """Shows every event to each of its observers, in their order; with none of them, a silent observer."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def show(self, event: Event) -> None:
        for observer in self._observers:
            observer.show(event)

    def close(self) -> None:
        for observer in self._observers:
            observer.close()
