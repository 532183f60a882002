"""Where the examples of a data set lie while they are trained on; a modality names the file here that keeps its kind."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from headstart import plugins
from headstart.core import Dataset, Modality, Progress
from headstart.data.audit import FileReport

OnProgress = Callable[[Progress], None]


@runtime_checkable
class Store(Protocol):
    """The examples of a data set by index into its records. While it is being filled, reading waits for the example asked for."""

    modality: Any
    ids: tuple[str, ...]
    key: str
    """Names exactly what is stored."""

    def __len__(self) -> int: ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user about what could not be kept, and why."""
        ...

    @property
    def prints(self) -> Any:
        """A small grey picture of each example, by which look-alikes are found; None where examples are no pictures."""
        ...

    def wait(self, index: int, on_progress: OnProgress | None = None) -> bool:
        """Whether an example can be used, as soon as that is known."""
        ...

    def reports(self, on_progress: OnProgress | None = None) -> list[FileReport]:
        """What was found of each example, once all have been read."""
        ...

    def stored(self, indices: Sequence[int], modality: Modality | None = None) -> Any:
        """A batch of examples as `modality`, by default the store's own, takes them to predict."""
        ...

    def lengths(self, indices: Any) -> Any:
        """How long each example is, where a batch is as long as its longest; None where all are of one size."""
        ...

    def pictures(self, indices: Sequence[int]) -> list[Any]:
        """Each example as an image for people; empty where examples are no pictures."""
        ...

    def texts(self, indices: Sequence[int]) -> list[str]:
        """Each example in a line for people; empty where examples are pictures."""
        ...

    def close(self) -> None: ...


def reads_files(modality: Modality) -> bool:
    """Whether a text as the source of a record is the path of a file, and not an example itself."""
    return _of(modality).READS_FILES


def start(dataset: Dataset, modality: Modality) -> Store:
    """A store that is full, or is filled from now on; it can be read at once."""
    return _of(modality).start(dataset, modality)


def are_stored(dataset: Dataset, modality: Modality) -> bool:
    """Whether `start` would have nothing left to read."""
    return _of(modality).are_stored(dataset, modality)


def sample(dataset: Dataset, modality: Modality, count: int) -> Store:
    """`count` of the examples, evenly from all, kept nowhere; under the key of the whole."""
    return _of(modality).sample(dataset, modality, count)


def _of(modality: Modality) -> ModuleType:
    return plugins.find("data.stores", modality.store)
