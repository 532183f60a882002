"""What tasks share that have one likelihood, and those that say one thing of an example as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

One = TypeVar("One", bound="OneLikelihood")
T = TypeVar("T", bound="OfTheWhole")


class OneLikelihood:
    """The part of a task that has no choice of losses."""

    __slots__ = ()

    def under(self: One, loss: str | None) -> One:
        """Itself: there is one likelihood, which `accept` sees to."""
        return self


class OfTheWhole:
    """The part of a task that says so; whoever inherits says the rest."""

    __slots__ = ()
    head = "linear"

    def balanced(self: T, targets: Any) -> T:
        """Itself: examples get the weights of their class."""
        return self

    def faults(self, raw: Sequence[Any]) -> Mapping[int, str]:
        """None: labels are words, and need not be read."""
        return {}
