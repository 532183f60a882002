"""What modalities share whose examples have one look: no changes in training, one view, one size."""

from collections.abc import Sequence
from typing import Any

from headstart.core import Modality, Predictive, Settings
from headstart.errors import BadSetting


class Single:
    """The part of a modality that says so; whoever inherits says the rest."""

    __slots__ = ()
    store = "memory"
    compiles = False

    def draw(self, augment: str, seed: int, epoch: int, places: Any) -> None:
        """Nothing happens to examples."""

    def gathered(self, store: Any, indices: Sequence[int], draws: None) -> Any:
        return store.stored(indices)

    def augmented(self, stored: Any, draws: None, augment: str) -> Any:
        return self.to_input(stored)

    def moved(self, targets: Any, draws: None, augment: str) -> Any:
        """The targets as they are."""
        return targets

    def extent(self, source: Any) -> None:
        """None: an example has no places of which something is said."""

    def to_input(self, stored: Any) -> Any:
        raise NotImplementedError("each modality has its own")

    def shrunk(self, inputs: Any, size: int) -> Any:
        """The inputs: `accept` refuses to ask for others."""
        return inputs

    def accept(self, settings: Settings) -> None:
        """Raises `BadSetting` for what only images can do: be mixed, and be made smaller."""
        for name in ("mixup", "cutmix", "train_size"):
            if getattr(settings, name):
                raise BadSetting(f"{name} is for images, got {getattr(settings, name)!r} for other examples. Leave it out.")

    def published(self) -> dict[str, Any]:
        """Nothing: no other library's words are needed."""
        return {}


def one_view(model: Predictive, modality: Modality, count: int) -> tuple[Predictive, Modality]:
    """The model and the modality as they are.

    Raises:
        BadSetting: for more views than the one there is.
    """
    if count != 1:
        raise BadSetting(f"tta must be 1 for {modality.words.items}: there is one view of each, got {count!r}.")
    return model, modality
