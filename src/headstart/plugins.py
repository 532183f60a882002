"""Interchangeable one-file methods: the file name is the method name, entry points add more, typos get the nearest name."""

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from headstart.errors import MissingExtra, unknown_name


def names(folder: str) -> list[str]:
    """The names of all methods of a plural folder, e.g. `names("heads")`: its public modules and the entry points of its group.

    The group of `heads` is `headstart.heads`, that of `train.trackers` is `headstart.trackers`.
    """
    package = importlib.import_module(f"headstart.{folder}")
    found = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
    return sorted(found | {point.name for point in entry_points(group=_group(folder))})


def find(folder: str, name: str) -> ModuleType:
    """The module that implements method `name` of `folder`.

    Raises:
        UnknownName: with the nearest names.
    """
    for point in entry_points(group=_group(folder), name=name):
        return point.load()
    if name not in names(folder):
        raise unknown_name(folder.rpartition(".")[2].replace("_", " ").rstrip("s"), name, names(folder))
    return importlib.import_module(f"headstart.{folder}.{name}")


def _group(folder: str) -> str:
    return f"headstart.{folder.rpartition('.')[2]}"


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
