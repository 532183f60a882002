"""What is asked of every head."""

from collections.abc import Mapping

from torch import Tensor, nn


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

    @property
    def final(self) -> nn.Linear | None:
        """The layer that gives the outputs, where it is linear and sees an example as a whole: a posterior is one of its weights."""
        return None

    @property
    def guide(self) -> nn.Linear | None:
        """The layer through which the backbone learns, where that is not the head itself."""
        return None

    def guided(self, first: int, seed: int) -> "Head":
        """The head through whose guide the backbone learns, which sees the first so many features; itself where it has none."""
        return self

    def learned(self, features: Tensor) -> list[Tensor]:
        """Outputs whose losses add up to what is learned from; the last are what the head says."""
        return [self(features)]  # pyright: ignore[reportCallIssue]

    def filled(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors that were kept of such a head, with those that an earlier version did not keep."""
        return tensors

    def given(self, features: Tensor) -> Tensor:
        """What the last layer is given: the features, where it is all there is."""
        return features

    def solved(self) -> None:
        """Told when the linear part has been solved: whatever else there is says nothing from now on, until it is trained."""
