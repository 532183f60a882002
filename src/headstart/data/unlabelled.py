"""Examples that nobody has labelled yet: whatever a user gives to be predicted, as a data set without labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.core import Dataset, Modality, Named, Record
from headstart.data import stores
from headstart.data._assemble import assemble, describe_call
from headstart.errors import DataError


def unlabelled(inputs: Any, modality: Modality, name: str = "pool") -> tuple[Dataset, tuple[Named, ...]]:
    """The examples among the inputs as records without a label, and those inputs in which there is none, each with its reason.

    Labels that the inputs may have (folders of classes) are not looked at.

    Raises:
        DataError: when there is no example at all.
    """
    found = list(modality.named(inputs))
    troubles = tuple(each for each in found if each.error is not None)
    good = _once([each for each in found if each.error is None])
    if not good:
        reason = f" {troubles[0].id}: {troubles[0].error}" if troubles else ""
        raise DataError(f"there are no {modality.words.items} to choose from.{reason}")
    arrays, records = list[Any](), list[Record]()
    for each in good:
        if stores.reads_files(modality) and isinstance(each.source, str | Path):
            records.append(Record(each.id, str(Path(each.source).absolute()), None))
        else:
            records.append(Record(each.id, len(arrays), None))
            arrays.append(each.source)
    origin = describe_call("unlabelled", 0.0, 0.0, 0)
    return assemble(name, records, None, (), origin, arrays or None, modality=modality.name), troubles


def _once(found: Sequence[Named]) -> list[Named]:
    """Each id once: a file that is given twice is one example."""
    return list({each.id: each for each in found}.values())
