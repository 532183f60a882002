"""The exception tree. Every message says what, where, with which values, and what to do next.

HeadstartError                exit 1: could not
├── UsageError                exit 2: asked in a way that cannot work
│   ├── UnknownName           a name that does not exist; carries the nearest ones
│   └── BadSetting            a setting out of its range, or two that exclude each other
├── DataError                 the images, labels or tables cannot be used as they are
│   ├── NoLabels              images without any sign of a class
│   └── BadTable              a CSV that misses columns, files or labels
├── WeightsUnavailable        pretrained weights that are neither here nor reachable
├── MissingExtra              an optional package that is not installed
├── StoreError                a run, bundle or cache that cannot be read or written
│   ├── NotARun               a folder or file that is no run and no bundle
│   └── NewerFormat           written by a later version of headstart
└── Stopped                   exit 130: the user asked to stop before there was anything to keep
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HeadstartError(Exception):
    """Root of everything headstart raises on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(HeadstartError):
    """A request that cannot work as it was made."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that does not exist."""


class BadSetting(UsageError):
    """A setting with a value that it cannot take."""


class DataError(HeadstartError):
    """Images, labels or tables that cannot be used as they are."""


class NoLabels(DataError):
    """Images without any sign of a class."""


class BadTable(DataError):
    """A CSV or TSV that misses columns, files or labels."""


class WeightsUnavailable(HeadstartError):
    """Pretrained weights that are neither on this machine nor reachable."""


class MissingExtra(HeadstartError):
    """An optional package that is not installed."""


class StoreError(HeadstartError):
    """A run, bundle or cache that cannot be read or written."""


class NotARun(StoreError):
    """A path that is neither a run folder nor a bundle."""


class NewerFormat(StoreError):
    """A file written by a later version of headstart."""


class Stopped(HeadstartError):
    """The user stopped the work before there was anything worth keeping."""

    exit_code = 130


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> UnknownName:
    """An `UnknownName` that names the nearest of the `known` names and, when they are few, all of them."""
    names, name = sorted(map(_on_one_line, known)), _on_one_line(name)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    message = f'there is no {kind} "{name}"{where}.'
    if close:
        message += " Did you mean " + " or ".join(f'"{c}"' for c in close) + "?"
    if 0 < len(names) <= 20:
        message += f" There are: {', '.join(names)}."
    return UnknownName(message)


def _on_one_line(name: str) -> str:
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
