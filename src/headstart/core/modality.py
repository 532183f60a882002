"""The input side: how examples become what a backbone takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from headstart.core.model import Predictive
from headstart.core.settings import Settings


@dataclass(frozen=True, slots=True)
class InputWords:
    """How the examples of a modality are spoken of."""

    item: str
    """What one is: "image"."""
    items: str
    size: str
    """How large one is for the model: "224 pixels"."""
    described: str
    """How an input is made of an example, in a sentence."""
    tag: str
    """What Hugging Face calls the modality in the names of tasks."""
    python: str
    """An example in Python: '"photo.jpg"'."""
    shell: str
    """Some on the command line."""


@dataclass(frozen=True, slots=True)
class Named:
    """One input under the id its prediction will carry; `error` says why there is nothing to read."""

    id: str
    source: Any
    error: str | None = None


@runtime_checkable
class Modality(Protocol):
    """The input side: how examples become what a backbone takes. Nothing outside `modalities/` asks which modality it is.

    A store keeps the examples of a data set and gives them as a batch of bytes or numbers, "stored" below, an array of numpy.
    """

    @property
    def name(self) -> str: ...

    @property
    def store(self) -> str:
        """The file in `data/stores/` that keeps its examples."""
        ...

    @property
    def words(self) -> InputWords: ...

    @property
    def blends(self) -> bool:
        """Whether two inputs can be mixed in shares."""
        ...

    @property
    def compiles(self) -> bool:
        """Whether its inputs are bytes of one shape, for which an engine can be compiled."""
        ...

    @property
    def size(self) -> int:
        """As in `BackboneSpec`."""
        ...

    def to_input(self, stored: Any) -> Any:
        """A stored batch, as a tensor on the device it shall have, as the backbone takes it."""
        ...

    def draw(self, augment: str, seed: int, epoch: int, places: Any) -> Any:
        """What happens to the examples with these numbers in this epoch: a pure function of (seed, epoch, number)."""
        ...

    def gathered(self, store: Any, indices: Sequence[int], draws: Any) -> Any:
        """The stored batch of a store that `draws` need."""
        ...

    def augmented(self, stored: Any, draws: Any, augment: str) -> Any:
        """A gathered batch on its device, changed as drawn, as the backbone takes it."""
        ...

    def moved(self, targets: Any, draws: Any, augment: str) -> Any:
        """Targets that lie over the examples of a gathered batch, changed as these; others as they are."""
        ...

    def extent(self, source: Any) -> tuple[int, int] | None:
        """(height, width) of what is said of the places of an example that a user gives; None where nothing is."""
        ...

    def shrunk(self, inputs: Any, size: int) -> Any:
        """The inputs at a smaller size."""
        ...

    def named(self, inputs: Any) -> Iterator[Named]:
        """Each example among what a user gives to be predicted, with its id."""
        ...

    def is_one(self, inputs: Any) -> bool:
        """Whether a user who gives this means a single example."""
        ...

    def prepared(self, source: Any, name: str) -> Any:
        """One example as it is stored.

        Raises:
            DataError: when it cannot be read.
        """
        ...

    def stacked(self, examples: Sequence[Any]) -> Any:
        """Prepared examples as a stored batch."""
        ...

    def viewed(self, model: Predictive, task: Any, augment: str, count: int) -> tuple[Predictive, "Modality"]:
        """The model looking at `count` views of each example, with the modality that makes its inputs.

        Raises:
            BadSetting: when there are not so many views.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Plain JSON that says how inputs are made."""
        ...

    def accept(self, settings: Settings) -> None:
        """Raises `BadSetting` for settings that mean nothing for it, before anything is read."""
        ...

    def published(self) -> dict[str, Any]:
        """The same in the words of the library that knows such models by their config.json, as far as it has any."""
        ...
