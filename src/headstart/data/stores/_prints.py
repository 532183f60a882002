"""The small grey pictures of a data set, kept in a file while its images are decoded: 100,000 of them would fill 100 MB of memory."""

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from headstart.data._fingerprint import SIDE

BYTES = SIDE * SIDE


class Prints:
    """One picture [SIDE, SIDE] for each image, read a stretch at a time; zeros where there is none.

    `path` is None where nothing can be kept, and a file may fail (a full disk): then what it could not take is in memory.
    """

    def __init__(self, count: int, path: Path | None, new: bool = True) -> None:
        self.count = count
        self._memory: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._file: int | None = None
        self._closed = False
        if path is not None:
            ways = os.O_RDWR | os.O_CREAT | os.O_TRUNC if new else os.O_RDONLY
            self._file = os.open(path, ways | getattr(os, "O_BINARY", 0), 0o666)
            self._let_go = weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice) -> UInt8[np.ndarray, "rows side side"]:
        first, last, step = rows.indices(self.count)
        assert step == 1, "pictures are read a stretch at a time"
        assert not self._closed, "pictures are read before they are closed"
        last = max(first, last)
        found = bytearray((last - first) * BYTES)
        with self._lock:
            if self._file is not None:
                data = _read(self._file, first * BYTES, len(found))
                found[: len(data)] = data
            for index in range(first, last) if self._memory else ():
                if index in self._memory:
                    found[(index - first) * BYTES : (index - first + 1) * BYTES] = self._memory[index]
        return np.frombuffer(found, np.uint8).reshape(-1, SIDE, SIDE)

    def put(self, index: int, picture: UInt8[np.ndarray, "side side"]) -> None:
        """Keeps the picture of one image."""
        data = picture.tobytes()
        with self._lock:
            if self._file is not None and _written(self._file, index * BYTES, data):
                return
            self._memory[index] = data

    def complete(self) -> bool:
        """Whether the file has them all, durably: as many as there are images."""
        with self._lock:
            if self._file is None or self._memory:
                return False
            os.ftruncate(self._file, self.count * BYTES)  # the last images may have none
            os.fsync(self._file)
            return True

    def close(self) -> None:
        """Lets go of the file; what was in it cannot be read after."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._let_go()
                self._file = None


def _read(file: int, start: int, count: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    parts = []
    while count > 0 and (part := os.read(file, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _written(file: int, start: int, data: bytes) -> bool:
    """Whether all of it went into the file; not on a disk that is full or gone."""
    with suppress(OSError):
        os.lseek(file, start, os.SEEK_SET)
        return os.write(file, data) == len(data)
    return False
