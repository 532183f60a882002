"""Files and folders that are whole or not there: whoever is killed, at any instant, leaves the old content or the new.

A file is written beside its place, fsynced, then renamed over it. A folder is written beside its place and fsynced, and
replacing an old one takes two renames: target -> old, ready -> target. Between them the target is missing; `finish_swap`,
which every reader calls first, completes what a killed writer began. Nothing here needs locks or POSIX.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from headstart.errors import StoreError
from headstart.store._leftover import Leftover, beside, found, remove, renamed, sweep
from headstart.store._trouble import explain, free_bytes, in_words, told

__all__ = [
    "append_line",
    "finish_swap",
    "free_bytes",
    "in_words",
    "read_folder",
    "read_json",
    "replace_folder",
    "sweep",
    "write_bytes",
    "write_json",
    "write_text",
]

T = TypeVar("T")


def write_bytes(path: Path, data: bytes) -> None:
    """Makes `path` hold exactly `data`: after a crash it holds what it held before, or this."""
    with told(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(path, "new")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _patiently(Path.replace, temporary, path)
        except BaseException:
            remove(temporary)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Makes `path` hold exactly `text` as UTF-8; what is no Unicode (odd file names) is escaped as JSON and Python do."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, data: Any) -> None:
    """Makes `path` hold `data` as readable JSON. Numbers that are not finite become null, as strict readers want."""
    try:
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _finite(data: Any) -> Any:
    """`data` with null in place of every number that JSON cannot express."""
    if isinstance(data, float):
        return data if -float("inf") < data < float("inf") else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def append_line(path: Path, text: str) -> None:
    """Adds one line of JSON to `path`, on disk when this returns. A torn last line (from a killed writer) is cut away first."""
    with told(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            prefix = _mend_tail(file)
            file.write(prefix + text.encode("utf-8", "backslashreplace") + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds.

    Raises:
        StoreError: names the file, when it is missing or broken.
    """
    with told(path, "read"):
        data = path.read_bytes()
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise StoreError(
            f'"{path}" is not valid JSON ({error}). It was changed or damaged after it was written: restore it from a copy, '
            "or delete the folder it is in and make it anew."
        ) from error


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """A fresh folder to fill, which takes the place of `target` when the block ends well and vanishes when it does not."""
    with told(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        finish_swap(target)
        temporary = beside(target, "new")
        temporary.mkdir()
    try:
        yield temporary
        with told(target, "write"):
            _sync_tree(temporary)
            ready = renamed(temporary, target, "ready")
            _patiently(Path.rename, temporary, ready)
            _sync_folder(target.parent)
    except OSError as error:
        remove(temporary)
        raise explain(error, Path(target), "write") from error
    except BaseException:
        remove(temporary)
        raise
    try:
        _swap(ready, target)
    except OSError as error:
        raise StoreError(f'{explain(error, target, "replace")} What was to be saved is whole in "{ready}".') from error
    finish_swap(target)


def finish_swap(target: Path) -> None:
    """Completes a replacement of `target` that was interrupted, and removes what dead writers left beside it."""
    with told(target, "read"):
        for _ in range(50):
            if _settle(target):
                break
            time.sleep(0.002)
    for leftover in found(target.parent, target.name):
        if leftover.state in {"new", "gone"} and leftover.abandoned():
            remove(leftover.path)


def read_folder(target: Path, read: Callable[[Path], T]) -> T:
    """What `read(target)` returns, repeated if the folder was replaced meanwhile: never half of the old and half of the new."""
    for _ in range(5):
        finish_swap(target)
        before = _identity(target)
        try:
            result = read(target)
        except (OSError, StoreError):
            if _identity(target) == before:
                raise
            continue
        if _identity(target) == before:
            return result
    raise StoreError(f'"{target}" was replaced again and again while it was read. Wait until the run that writes it is done.')


def _settle(target: Path) -> bool:
    """One look and at most one repair; False when somebody moved something meanwhile, so that another look is due."""
    mine = list(found(target.parent, target.name))
    ready = sorted((item for item in mine if item.state == "ready"), key=_age)
    old = sorted((item for item in mine if item.state == "old"), key=_age)
    try:
        if not target.exists():
            if ready or old:
                (ready or old)[-1].path.rename(target)
                return False
            return True
        if ready and ready[-1].abandoned():
            newest = ready[-1].path
            if _time(newest) > _time(target):
                _swap(newest, target)
            else:
                remove(newest)
            return False
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:  # a writer, or another reader, was faster
            return False
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and target.exists():
            return True  # beware: a reader without the right to write still reads
        raise
    for item in old:
        if target.exists():
            remove(item.path)
    return True


def _swap(ready: Path, target: Path) -> None:
    """Puts `ready` in the place of `target`. Two renames; nothing else can be seen than old, nothing, new."""
    old = renamed(ready, target, "old")
    with suppress(FileNotFoundError):
        _patiently(Path.rename, target, old)
    try:
        _patiently(Path.rename, ready, target)
    except OSError:
        if ready.exists():
            with suppress(OSError):
                old.rename(target)
            raise
    _sync_folder(target.parent)
    remove(old)


def _mend_tail(file: Any) -> bytes:
    """Cuts an unfinished last line off the file; returns what must precede the next one (a newline, if only that is missing)."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - (1 << 20))
    file.seek(start)
    tail = file.read()
    if not tail or tail.endswith(b"\n"):
        return b""
    line_start = tail.rfind(b"\n") + 1
    try:
        json.loads(tail[line_start:])
    except ValueError:
        file.truncate(start + line_start)
        return b""
    return b"\n"


def _patiently(rename: Callable[[Path, Path], Any], source: Path, target: Path) -> None:
    """`rename(source, target)`, tried for a second: on Windows a virus scanner or an indexer may hold a file for a moment."""
    for attempt in range(8):
        try:
            rename(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == 7:
                raise
            time.sleep(0.008 * 2**attempt)


def _sync_tree(folder: Path) -> None:
    for name, _, files in os.walk(folder, topdown=False):
        for file in files:
            with (Path(name) / file).open("r+b") as handle:
                os.fsync(handle.fileno())
        _sync_folder(Path(name))


def _sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable, where the system lets a folder be opened (not on Windows)."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _age(leftover: Leftover) -> int:
    try:
        return _time(leftover.path)
    except OSError:
        return 0
