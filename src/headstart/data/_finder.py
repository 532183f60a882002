"""The files that a table names, found although written on another machine, without their ending, or from another folder."""
# Plain strings, for a Path for each of 100,000 files costs seconds.
# ruff: noqa: PTH117, PTH118, PTH122

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from unicodedata import normalize

from headstart.modalities._scan import IMAGE_SUFFIXES, clean, counted, is_hidden, suffix_of

_MAX_FOLDERS_TRIED = 50


def is_url(written: str) -> bool:
    """Whether a cell holds an address and not a path (`C:/photos` is a path)."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://|data:[a-z]+/", written))


@dataclass(slots=True)
class _Listing:
    """The files of one folder, by exact name, by name without regard to capitals and Unicode form, and by name without ending."""

    exact: frozenset[str] = frozenset()
    loose: dict[str, list[str]] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Finder:
    """Finds files from what a table says of them, relative to `base`. Each folder is listed once; no file is touched."""

    base: str
    ways: Counter[str] = field(default_factory=Counter)
    """How often each way other than the plain one was needed."""
    _listings: dict[str, _Listing] = field(default_factory=dict)
    _subfolders: list[str] | None = None

    def find(self, written: str) -> str | None:
        """The absolute path of the file, or None when it cannot be found (or when two files answer equally well)."""
        for text in dict.fromkeys((written, written.replace("\\", "/"))):
            if _is_absolute(text):
                path = self._look(text) or self._relocated(text)
            else:
                path = self._look(os.path.join(self.base, text)) or self._in_subfolder(text)
            if path:
                return path
        return None

    def notes(self) -> list[str]:
        """Sentences about the files that were not where the table says, but could be found."""
        texts = {
            "name": "named without the ending or with other capitals than on disk",
            "moved": "named by the path of another machine and found inside the folder",
            "below": "found in a subfolder of the place that the table names",
        }
        return [f"{counted(self.ways[way], 'file')} {text}." for way, text in texts.items() if self.ways[way]]

    def _look(self, path: str) -> str | None:
        folder, name = os.path.split(os.path.normpath(path))
        listing = self._list(folder)
        if name in listing.exact:
            return os.path.join(folder, name)
        if listing.exact and not listing.loose:
            _fill(listing)
        near = listing.loose.get(_fold(name)) or listing.stems.get(_fold(name)) or []
        if len(near) != 1:
            return None
        self.ways["name"] += 1
        return os.path.join(folder, near[0])

    def _relocated(self, text: str) -> str | None:
        """The longest tail of a path from another machine that exists inside the base folder."""
        parts = PureWindowsPath(text).parts[1:]
        tails = (self._look(os.path.join(self.base, *parts[drop:])) for drop in range(len(parts)))
        found = next(filter(None, tails), None)
        self.ways["moved"] += found is not None
        return found

    def _in_subfolder(self, text: str) -> str | None:
        if self._subfolders is None:
            self._subfolders = _subfolders(self.base)
        found = [path for name in self._subfolders if (path := self._look(os.path.join(self.base, name, text)))]
        self.ways["below"] += len(found) == 1
        return found[0] if len(found) == 1 else None

    def _list(self, folder: str) -> _Listing:
        if folder not in self._listings:
            try:
                with os.scandir(folder) as entries:
                    names = frozenset(entry.name for entry in entries if not _is_folder(entry))
            except (OSError, ValueError):
                names = frozenset()
            self._listings[folder] = _Listing(names)
        return self._listings[folder]


def identifier_of(path: str, base: str) -> str:
    """The id of a file: its path inside `base` with forward slashes, or the whole path when it lies elsewhere."""
    prefix = base.rstrip(os.sep) + os.sep
    inside = path.removeprefix(prefix)
    return clean(inside if os.sep == "/" else inside.replace(os.sep, "/"))


def _is_absolute(text: str) -> bool:
    windows = PureWindowsPath(text)
    return os.path.isabs(text) or text.startswith("/") or bool(windows.drive and windows.root)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link in a circle


def _fold(name: str) -> str:
    return normalize("NFC", name).casefold()


def _fill(listing: _Listing) -> None:
    for name in sorted(listing.exact):
        listing.loose.setdefault(_fold(name), []).append(name)
        if suffix_of(name) in IMAGE_SUFFIXES:
            listing.stems.setdefault(_fold(os.path.splitext(name)[0]), []).append(name)


def _subfolders(base: str) -> list[str]:
    try:
        with os.scandir(base) as entries:
            names = sorted(entry.name for entry in entries if _is_folder(entry) and not is_hidden(entry.name))
    except OSError:
        return []
    return names if len(names) <= _MAX_FOLDERS_TRIED else []
