"""What went wrong on disk, told as a `StoreError`: which place, how much is free, what to do next."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import StoreError

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
DENIED = {errno.EACCES, errno.EPERM}
WINDOWS_FULL = {112, 39}
WINDOWS_IN_USE = {32, 33}


def nearest_existing(path: Path) -> Path:
    """The deepest folder on the way to `path` that exists."""
    path = path.absolute()
    for candidate in (path, *path.parents):
        try:
            if candidate.is_dir():
                return candidate
        except OSError:
            continue
    return Path(path.anchor or ".")


def is_file(path: Path) -> bool:
    """True for a file; False also where the system does not let us look, or the name is impossible."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises there)


def free_bytes(path: Path) -> int | None:
    """Bytes free on the disk that holds (or would hold) `path`; None where the system does not say."""
    try:
        return shutil.disk_usage(nearest_existing(path)).free
    except OSError:
        return None


def in_words(count: int | float) -> str:
    """A number of bytes as people read it: "3.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def explain(error: OSError, path: Path, doing: str) -> StoreError:
    """The `StoreError` for what the system refused while `doing` something ("write", "read", "replace") at `path`."""
    name = f'could not {doing} "{path}"'
    winerror = getattr(error, "winerror", None)
    if error.errno in FULL or winerror in WINDOWS_FULL:
        free = free_bytes(path)
        left = f"{in_words(free)} are free there" if free is not None else "nobody says how much is free"
        return StoreError(
            f"{name}: the disk is full ({left}). Make room, run `headstart doctor --clear-cache`, "
            "or name a folder on another disk (--run for runs, the variable HEADSTART_CACHE for caches)."
        )
    if error.errno == errno.EROFS:
        return StoreError(f"{name}: the disk is mounted read-only. Name a folder on another disk (--run, HEADSTART_CACHE).")
    if winerror in WINDOWS_IN_USE:
        return StoreError(f"{name}: another program holds it open. Close it (a second headstart, a viewer) and try again.")
    if error.errno in DENIED:
        return StoreError(f"{name}: permission denied. Check who owns the folder, or name another one (--run, HEADSTART_CACHE).")
    if error.errno == errno.ENAMETOOLONG:
        return StoreError(f"{name}: the name is too long for this disk. Choose a shorter one with --run.")
    if error.errno == errno.ENOENT:
        return StoreError(f"{name}: it is not there. It may have been moved or deleted while it was in use.")
    if error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return StoreError(f"{name}: a file stands where a folder is needed, or the other way round. Choose another name.")
    return StoreError(f"{name}: {error.strerror or error}.")


@contextmanager
def told(path: Path, doing: str) -> Iterator[None]:
    """Inside, an `OSError` becomes the `StoreError` that explains it."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, doing) from error
