"""Data at a path, read as a run has read its own: its columns, its rule for labels, its shares."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headstart.core import Dataset
from headstart.data import fixes, sources
from headstart.data._paths import FOLDERS, absolute
from headstart.errors import DataError, UsageError
from headstart.store.runs import Run, folder_of

Data = Dataset | str | Path


def opened(data: Data, run: Run | None) -> Dataset:
    """The data given; a path is read as the run read its own (label rule, groups, shares, seed), where it is of the same kind."""
    if isinstance(data, Dataset):
        return data
    origin = _origin(run)
    try:
        return _read_again(data, origin)
    except DataError as error:
        if "fixes" not in origin:
            raise
        plain = _read_again(data, _without_fixes(origin))
        return replace(plain, notes=(*plain.notes, f"The label file of the run does not fit these images any more: {error}"))


def to_judge(data: Data, run: Run | None, reading: Mapping[str, Any] | None = None) -> Dataset:
    """The data given; a path is read as the run read its own but for what `reading` says, where that can be, and else by itself.

    The label file of the run is for the run's own images: others may have the same names.
    """
    given = dict(reading or {})
    if isinstance(data, Dataset):
        return data
    origin = _origin(run)
    own = origin.get("path") == str(absolute(data))
    if not sources.takes(origin, given):
        return sources.open_as(data, given)
    try:
        return _read_again(data, origin if own else _without_fixes(origin), given)
    except (DataError, UsageError) as error:
        found = sources.open_as(data, given)
        return replace(found, notes=(*found.notes, f"Not read as the run has read its own data, but by itself. {error}"))


def carried(data: Dataset, start: str | Path) -> Dataset:
    """The data set with the label files of the run that a training starts from, where that run is of the same data."""
    if str(start) != "last" and folder_of(Path(start).expanduser()) is None:
        return data
    return fixes.carried(data, _origin(Run.open(start)))


def _origin(run: Run | None) -> Mapping[str, Any]:
    return {} if run is None else run.plan().data.get("origin", {})


def _without_fixes(origin: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in origin.items() if name != "fixes"}


def _read_again(data: str | Path, origin: Mapping[str, Any], reading: Mapping[str, Any] = MappingProxyType({})) -> Dataset:
    """The data at a path, read as `origin` tells but for what `reading` says, where it is of the same kind."""
    if (origin.get("kind") in FOLDERS) != Path(data).expanduser().is_dir() or origin.get("kind") not in sources.KINDS:
        shares = {name: origin[name] for name in ("valid", "test", "seed") if name in origin}
        return sources.open_as(data, {**shares, **reading})
    places = {name: place for name, place in reading.items() if name in ("folder", "masks")}
    return sources.from_origin({**origin, **reading}, path=data, **places)
