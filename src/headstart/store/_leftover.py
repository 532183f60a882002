"""Names of temporary files and folders, and which of them a dead writer left behind.

A temporary stands beside its target and is called `.<target>.<state>-<host>-<pid>-<random>`: whoever finds it can tell
what it belongs to and whether its writer still runs. No lock is held, so a killed process leaves none.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATTERN = re.compile(
    r"^\.(?P<target>.+)\.(?P<state>new|ready|old|gone)-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{12}$", re.DOTALL
)
A_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """A temporary that was found: where, of which target, in which state, and whose."""

    path: Path
    target: str
    state: str
    host: str
    pid: int

    def abandoned(self) -> bool:
        """True when nobody will finish it: its writer is dead, or (on another machine) it is a day old."""
        if self.host == _host():
            return not alive(self.pid)
        try:
            return time.time() - self.path.stat().st_mtime > A_DAY
        except OSError:
            return False


def beside(target: Path, state: str) -> Path:
    """A fresh name beside `target`, for this process. Long target names are cut, so that any valid name has a temporary."""
    return target.parent / f".{_short(target.name)}.{state}-{_host()}-{os.getpid()}-{secrets.token_hex(6)}"


def renamed(temporary: Path, target: Path, state: str) -> Path:
    """The name that the `temporary` of `target` takes in another state."""
    token = temporary.name.rsplit(f".{_short(target.name)}.", 1)[-1].split("-", 1)[1]
    return target.parent / f".{_short(target.name)}.{state}-{token}"


def found(folder: Path, target: str | None = None) -> Iterator[Leftover]:
    """Every temporary in `folder` (of `target` alone, if given)."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (Path.iterdir builds a Path for each of perhaps 100,000 names)
    except OSError:
        return
    for name in names:
        if not name.startswith("."):
            continue
        match = PATTERN.match(name)
        if match and (target is None or match["target"] == _short(target)):
            yield Leftover(folder / name, match["target"], match["state"], match["host"], int(match["pid"]))


def sweep(folder: Path) -> None:
    """Removes what dead writers left half-written in `folder` (whole folders that wait for their swap are kept)."""
    for leftover in found(folder):
        if leftover.state in {"new", "gone"} and leftover.abandoned():
            remove(leftover.path)


def remove(path: Path) -> None:
    """Deletes a file or folder; what cannot be deleted now stays for a later sweep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def alive(pid: int) -> bool:
    """True while a process `pid` runs on this machine (also when the system does not say)."""
    if sys.platform == "win32":  # beware: os.kill(pid, 0) would end the process there
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _alive_on_windows(pid: int) -> bool:
    import ctypes
    from ctypes import wintypes

    query, still_active, invalid = 0x1000, 259, 87
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # pyright: ignore[reportAttributeAccessIssue]
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(query, False, wintypes.DWORD(pid))
    if not handle:
        return ctypes.get_last_error() != invalid  # pyright: ignore[reportAttributeAccessIssue]
    code = wintypes.DWORD()
    known = kernel.GetExitCodeProcess(wintypes.HANDLE(handle), ctypes.byref(code))
    kernel.CloseHandle(wintypes.HANDLE(handle))
    return not known or code.value == still_active


def _host() -> str:
    return hashlib.blake2b(platform.node().encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _short(name: str) -> str:
    """A name of at most 60 letters, of which equal ones come from equal names."""
    if len(name) <= 60 and len(os.fsencode(name)) <= 120:
        return name
    return f"{name[:24]}~{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}"
