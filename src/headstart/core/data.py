"""What a data set is: records, how they are divided, and batches of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Shaped

from headstart.core.words import Label, Part


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled example: where it comes from and what was said of it.

    `id` is the path inside the data set (unique, with forward slashes); `source` is an absolute path, or an index into
    arrays held in memory; `target` is the raw label, a text or a text for each label column (None when unknown), which a task
    reads; `group` ties records that must not be separated by a split; `part` is set when the data came already divided.
    """

    id: str
    source: str | int
    target: Label | None
    group: str | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Dataset:
    """A named list of records with how it should be divided; `data.show()` looks at it.

    `root` is the folder (or table) the records came from, None for arrays; `modality` is the file in `modalities/` that knows
    what the examples are; `columns` are the names of the label columns of a table, `inputs` those of the numbers that each
    example is; `arrays` holds data given in memory, or read with its table: pixels, texts, or rows of numbers; `notes` are
    sentences for the user about what was read and how.
    """

    name: str
    records: tuple[Record, ...]
    root: str | None
    valid: float = 0.2
    test: float = 0.0
    seed: int = 0
    modality: str = "image"
    item: str = "image"
    """What one of its examples is called."""
    arrays: Sequence[Any] | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    """The call that made it, as plain JSON: what a run stores so that it can find its data again."""
    placed: Mapping[str, Part] = field(default_factory=dict)
    """Parts that single images (by id) must have, while the others are divided as if these were not there."""
    columns: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    legend: Mapping[int, str | None] = field(default_factory=dict)
    """What the numbers in masks mean, where the labels are masks: the name of a class, or None where nobody knows."""
    viewer: Callable[["Dataset"], Any] | None = field(default=None, repr=False, compare=False)
    """How a picture of it is made; whoever makes a data set knows."""

    @property
    def classes(self) -> tuple[Label, ...]:
        """The different labels that the records have, in order."""
        return tuple(sorted({record.target for record in self.records if record.target is not None}))

    def show(self) -> Any:
        """A picture with images of every class, which a notebook displays; None for data without pictures."""
        return None if self.viewer is None else self.viewer(self)


@dataclass(frozen=True, slots=True)
class Split:
    """Which ids train, which choose, which judge. `rule` says in words how it was made."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    rule: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs as the model takes them, with what is known of each: ids ride along so that a loss can name its file."""

    inputs: Shaped[Any, "batch ..."]
    targets: Any
    ids: tuple[str, ...]
    weights: Float[Any, " batch"] | None = None
    partners: Any | None = None
    """The targets of the images that were mixed in, where images were mixed; `share` is what the others kept."""
    share: float = 1.0
    partner_weights: Float[Any, " batch"] | None = None
    """The weights of the images that were mixed in, where examples have weights: each label counts with its own."""
    modality: Any | None = None
    """The `Modality` that made the inputs, where they may be wanted at another size."""
