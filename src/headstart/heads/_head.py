"""What is asked of every head."""

from torch import nn


class Head:
    """The part of a head that says that nothing of it can be solved; whoever can be says what, and on what."""

    solved_rate = 1.0
    """Its rate after its linear part was solved, relative to that of the backbone's last stage."""
    solved_once = False
    """Whether the linear part can be solved only while the rest of the head is zero."""

    @property
    def solvable(self) -> nn.Linear | None:
        """The linear part that can be solved."""
        return None

    def solved(self) -> None:
        """Told when the linear part has been solved: whatever else there is says nothing from now on, until it is trained."""
