"""The user's cache folder: what can be made again at any time, keyed by content, bounded, one folder for each kind.

It is `$HEADSTART_CACHE/headstart`, or the platform's place for caches. Nothing is created until something is written.
"""

import os
import sys
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from headstart.errors import unknown_name
from headstart.store._leftover import PATTERN, alive, beside, found, remove, sweep
from headstart.store._trouble import nearest_existing, told

KINDS = ("pixels", "features", "engines", "weights")


def root() -> Path:
    """The folder that holds all caches (it may not exist yet)."""
    if named := os.environ.get("HEADSTART_CACHE"):
        return Path(named).expanduser().absolute() / "headstart"  # its own folder: `clear` must never meet the user's files
    try:
        home = Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "headstart-cache"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "headstart" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "headstart"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "headstart"


def folder(kind: str) -> Path:
    """Where caches of this kind ("pixels", "features", "engines", "weights") live. It may not exist yet.

    Raises:
        UnknownName: for another kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind of cache", kind, KINDS)
    return root() / kind


def usage() -> dict[str, int]:
    """Bytes that each kind takes now."""
    return {kind: _size(folder(kind)) for kind in KINDS}


def clear() -> int:
    """Deletes every cache and returns how many bytes that freed. What another process holds open (on Windows) stays."""
    before = sum(usage().values())
    for kind in KINDS:
        for entry in _entries(folder(kind)):
            _drop(entry)
        sweep(folder(kind))
        with suppress(OSError):
            folder(kind).rmdir()
    return before - sum(usage().values())


def bound(kind: str, max_bytes: int, keep: Collection[Path] = ()) -> int:
    """Deletes the least recently used entries of `kind` until at most `max_bytes` remain; returns the bytes freed.

    An entry is a file or folder right inside `folder(kind)`; `touch` marks it as used. Entries in `keep` and what living
    writers are filling stay.
    """
    sweep(folder(kind))
    kept = {path.absolute() for path in keep}
    sizes = {entry: _size(entry) for entry in _entries(folder(kind))}
    total, freed = sum(sizes.values()), 0
    for entry in sorted(sizes, key=_last_use):
        if total - freed <= max_bytes:
            break
        if entry in kept or _being_written(entry):
            continue
        _drop(entry)
        freed += sizes[entry] - _size(entry)
    return freed


def touch(entry: Path) -> None:
    """Marks a cache entry as used just now, so that `bound` keeps it longest."""
    with suppress(OSError):
        os.utime(entry)


def writable(kind: str) -> bool:
    """True when a new entry of this kind could be written; creates nothing that stays."""
    where = nearest_existing(folder(kind))
    if any(path.exists() and not path.is_dir() for path in (folder(kind), *folder(kind).parents)):
        return False
    if not os.access(where, os.W_OK | os.X_OK):
        return False
    if os.name != "nt":
        return True
    try:  # os.access does not know the access lists of Windows
        with tempfile.TemporaryFile(dir=where):
            return True
    except OSError:
        return False


def make(kind: str) -> Path:
    """`folder(kind)`, created now.

    Raises:
        StoreError: says which folder and why not.
    """
    where = folder(kind)
    with told(where, "create"):
        where.mkdir(parents=True, exist_ok=True)
    return where


def _entries(where: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(where)]
    except OSError:
        return []


def _drop(entry: Path) -> None:
    """Removes an entry in one rename, so that a reader finds it whole or not at all."""
    gone = beside(entry, "gone")
    try:
        entry.rename(gone)
    except OSError:
        return
    remove(gone)


def _being_written(entry: Path) -> bool:
    return bool(PATTERN.match(entry.name)) and any(item.path == entry and alive(item.pid) for item in found(entry.parent))


def _last_use(entry: Path) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:
        return 0


def _size(path: Path) -> int:
    """Bytes of the file, or of all files under the folder (links count as nothing)."""
    total = 0
    waiting = [path]
    while waiting:
        where = waiting.pop()
        try:
            if where.is_file() and not where.is_symlink():
                total += where.stat().st_size
                continue
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
