"""Interchangeable one-file methods: the file name is the method name, entry points add more, typos get the nearest name."""

import importlib
import pkgutil
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from headstart.errors import MissingExtra, unknown_name


def names(folder: str) -> list[str]:
    """The names of all methods of a plural folder, e.g. `names("heads")`: its public modules and the entry points of its group.

    The group of `heads` is `headstart.heads`, that of `train.trackers` is `headstart.trackers`.
    """
    package = importlib.import_module(f"headstart.{folder}")
    found = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
    return sorted(found | {point.name for point in _points(folder)})


def find(folder: str, name: str) -> ModuleType:
    """The module that implements method `name` of `folder`.

    Raises:
        UnknownName: with the nearest names.
    """
    for point in _points(folder):
        if point.name == name:
            return point.load()
    if name not in names(folder):
        _installed.cache_clear()  # it may be installed before the next attempt
        raise unknown_name(folder.rpartition(".")[2].replace("_", " ").rstrip("s"), name, names(folder))
    return importlib.import_module(f"headstart.{folder}.{name}")


def _points(folder: str) -> list[EntryPoint]:
    """What other packages add to a folder."""
    return list(_installed(tuple(sys.path)).select(group=f"headstart.{folder.rpartition('.')[2]}"))


@cache
def _installed(_path: tuple[str, ...]) -> Any:
    """The entry points of all packages on this path, read once: it takes 20 ms with a hundred packages, and a training asks twenty times."""
    return entry_points()


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """The optional library `module`, or a message that says which extra brings it.

    Raises:
        MissingExtra: with the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f'{purpose} needs the package "{module}". Install it with: pip install "headstart[{extra}]"'
        ) from error
