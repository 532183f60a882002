"""Examples that fit in memory, such as texts and rows of numbers: each is prepared once, when the store is made."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from headstart.core import Dataset, Modality, Progress
from headstart.data.audit import FileReport
from headstart.errors import DataError
from headstart.places import evenly

READS_FILES = False
"""Whether a text as the source of a record is the path of a file."""


@runtime_checkable
class InMemory(Modality, Protocol):
    """What is asked of a modality here."""

    @property
    def copies(self) -> bool:
        """Whether two equal examples are copies of one, and not two observations."""
        ...

    def remarks(self, source: Any, example: Any) -> tuple[str, ...]:
        """What is odd about an example that is used, in the words that the audit knows."""
        ...


class MemoryStore:
    """The prepared examples of a data set. `key` names them by their content."""

    prints = None
    """Nothing here is a picture."""

    def __init__(self, dataset: Dataset, modality: InMemory, key: str) -> None:
        self.modality = modality
        self.ids = tuple(record.id for record in dataset.records)
        self.key = key
        self.notes: list[str] = []
        self._dataset = dataset
        self._examples: list[Any] = []
        self._reports: list[FileReport] = []
        for index, record in enumerate(dataset.records):
            example, report = _prepared(_source(dataset, index), record.id, modality)
            self._examples.append(example)
            self._reports.append(report)

    def __len__(self) -> int:
        return len(self.ids)

    def wait(self, index: int, on_progress: Callable[[Progress], None] | None = None) -> bool:
        """Whether an example can be used."""
        return self._reports[index].status == "ok"

    def reports(self, on_progress: Callable[[Progress], None] | None = None) -> list[FileReport]:
        """What was found of each example."""
        return list(self._reports)

    def stored(self, indices: Sequence[int], modality: Modality | None = None) -> Any:
        """A batch of examples."""
        return (modality or self.modality).stacked([self._examples[int(index)] for index in indices])

    def lengths(self, indices: Int[np.ndarray, " examples"]) -> Int[np.ndarray, " examples"]:
        """How long each example is."""
        return np.array([len(self._examples[int(index)]) for index in indices], np.int64)

    def pictures(self, indices: Sequence[int]) -> list[Any]:
        """None: nothing here is a picture."""
        return []

    def texts(self, indices: Sequence[int]) -> list[str]:
        """Each example as it was given."""
        return [str(_source(self._dataset, int(index))) for index in indices]

    def close(self) -> None:
        """Nothing: memory is given back with the store."""


def start(dataset: Dataset, modality: InMemory) -> MemoryStore:
    """The examples of the data set, all prepared."""
    return MemoryStore(dataset, modality, _key(dataset, modality))


def are_stored(dataset: Dataset, modality: Modality) -> bool:
    """True: preparing takes no time worth a forecast."""
    return True


def sample(dataset: Dataset, modality: InMemory, count: int) -> MemoryStore:
    """`count` of the examples, evenly from all, under the key of the whole."""
    places = evenly(len(dataset.records), count)
    some = replace(dataset, records=tuple(dataset.records[place] for place in places.tolist()))
    return MemoryStore(some, modality, _key(dataset, modality))


def _source(dataset: Dataset, index: int) -> Any:
    source = dataset.records[index].source
    assert isinstance(source, int) and dataset.arrays is not None, "what is kept in memory was read with its table"
    return dataset.arrays[source]


def _prepared(source: Any, name: str, modality: InMemory) -> tuple[Any, FileReport]:
    try:
        example = modality.prepared(source, name)
    except DataError as error:
        return (), FileReport(name, "quarantined", getattr(error, "reason", "unsupported"), str(error))
    return example, FileReport(
        name, "ok", notes=modality.remarks(source, example), digest=_digest(source, "" if modality.copies else name)
    )


def _digest(source: Any, name: str) -> str:
    return hashlib.blake2b(f"{name}|{source!r}".encode(), digest_size=16).hexdigest()


def _key(dataset: Dataset, modality: Modality) -> str:
    digest = hashlib.blake2b(repr(modality.state()).encode(), digest_size=16)
    for index, record in enumerate(dataset.records):
        digest.update(f"{record.id}|{_source(dataset, index)!r}|".encode())
    return digest.hexdigest()
