"""Decoding on threads into one growing file."""

import errno
import itertools
import os
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from headstart.core import Dataset
from headstart.data._fingerprint import thumbnail
from headstart.data.audit import FileReport
from headstart.data.stores import _shelf
from headstart.data.stores._prints import Prints
from headstart.errors import StoreError
from headstart.modalities import image
from headstart.modalities.image import Geometry, ImageInfo

Fit = Callable[[bytes | np.ndarray, Geometry, str], tuple[Image.Image, ImageInfo]]
Place = tuple[int, int, int]
"""Offset in the file, height, width; offset -1: not kept, to be decoded again at each read."""


@runtime_checkable
class Receiver(Protocol):
    """Who is told of each image, from the threads."""

    def counted(self) -> None:
        """A file is about to be decoded."""
        ...

    def done(self, index: int, report: FileReport, place: Place) -> bool:
        """Image `index` is finished; whether it was the last."""
        ...

    def failed(self, error: BaseException) -> None:
        """Something went wrong that is no fault of a file."""
        ...

    def note(self, text: str) -> None:
        """A sentence for the user."""
        ...

    def declare(self, folder: Path, token: str, n_bytes: int) -> None:
        """All images are in the file, durably."""
        ...


class Filling:
    """Decodes the images of a data set in order and appends them to `folder/token.bin`; without a folder nothing is kept.

    `fit` makes an image and its facts of a source: `image.fitted`, or `image.as_it_is`.
    """

    def __init__(
        self,
        dataset: Dataset,
        geometry: Geometry,
        fit: Fit,
        prints: Prints,
        folder: Path | None,
        token: str,
        threads: int,
        receiver: Receiver,
    ) -> None:
        self.dataset, self.geometry, self.folder, self.token, self.receiver = dataset, geometry, folder, token, receiver
        self.fit, self.prints = fit, prints
        self.file = FileIO(folder / f"{token}.bin", "w") if folder is not None else None
        self.end = 0
        self.complete = False
        self.next = itertools.count()
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._work, daemon=True, name=f"headstart-decode-{i}") for i in range(threads)]
        self.finisher: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; a file that did not become complete is removed."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        if self.finisher is not None:
            self.finisher.join()
        with self.lock:
            self._let_go()
            self.prints.close()
            if not self.complete and self.folder is not None:
                _shelf.remove(self.folder, self.token)

    def _work(self) -> None:
        try:
            while not self.stopped.is_set() and (index := next(self.next)) < len(self.dataset.records):
                if self._one(index):
                    # Not a daemon: a process that ends now still waits for the disk, else its work would be lost.
                    self.finisher = threading.Thread(target=self._finish, name="headstart-decode-finish")
                    self.finisher.start()
        except BaseException as error:
            self.stopped.set()
            self.receiver.failed(error)

    def _one(self, index: int) -> bool:
        name, digest, place = self.dataset.records[index].id, "", (-1, 0, 0)
        self.receiver.counted()
        try:
            source = _shelf.source_of(self.dataset, index)
            if isinstance(source, str):
                source = image.read_bytes(source, name)
            digest = _shelf.digest_of(source)
            kept, info = self.fit(source, self.geometry, name)
            place = self._append(kept.convert("RGB").tobytes(), kept.height, kept.width)
            self.prints.put(index, thumbnail(kept))
            report = FileReport(name, "ok", "", "", info.width, info.height, info.format, info.mode, info.notes, digest)
        except MemoryError:
            message = f"{image.shown(name)} needs more memory than there is. Scale it down or cut it into tiles."
            report = FileReport(name, "quarantined", "bomb", message, digest=digest)
        except image.Unreadable as error:
            report = FileReport(name, "quarantined", error.reason, str(error), digest=digest)
        return self.receiver.done(index, report, place)

    def _append(self, data: bytes, height: int, width: int) -> Place:
        with self.lock:
            if self.file is None:
                return (-1, height, width)
            try:
                offset, rest = self.end, memoryview(data)
                while rest:
                    rest = rest[self.file.write(rest) :]
            except OSError as error:
                full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
                why = "the disk is full" if full else f"it cannot be written ({error.strerror or error})"
                self.receiver.note(_shelf.on_the_fly(self.folder, why))
                self._let_go()
                return (-1, height, width)
            self.end += len(data)
            return (offset, height, width)

    def _finish(self) -> None:
        """Make the file durable, then name it in the state: only now a later process will trust it."""
        with self.lock:
            if self.file is None or self.folder is None:
                return
            try:
                if not self.prints.complete():
                    return
                os.fsync(self.file.fileno())
                self._let_go()
                self.receiver.declare(self.folder, self.token, self.end)
                self.complete = True
            except (OSError, StoreError):
                return  # the pixels stay readable in this process; a later one decodes again

    def _let_go(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
