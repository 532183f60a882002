"""Every image decoded once, kept as bytes in one memory-mapped file: threads, no processes, readable while it grows."""

import mmap
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from headstart.core import Dataset, Progress
from headstart.data.audit import FileReport
from headstart.data.stores import OnProgress, _shelf
from headstart.data.stores._filling import Filling, Fit, Place
from headstart.data.stores._prints import Prints
from headstart.data.stores._shelf import source_of
from headstart.errors import DataError, HeadstartError
from headstart.machine import logical_cores
from headstart.modalities import image
from headstart.modalities.image import Images
from headstart.places import evenly

__all__ = ["OnProgress", "PixelStore", "are_stored", "build", "sample", "source_of", "start"]

MAX_THREADS = 16
REMAP_BYTES = 256 << 20
"""The map is renewed after so many bytes were read through it, so that pages once touched do not count as memory in use."""

READS_FILES = True
"""Whether a text as the source of a record is the path of a file."""


class _Ledger:
    """What is known of each image so far; filled by threads, read under `changed`."""

    def __init__(self, layout: Int[np.ndarray, "images 3"], reports: Sequence[FileReport | None]) -> None:
        self.layout = layout
        self.reports = list(reports)
        self.n_done = sum(report is not None for report in reports)
        self.decoded = 0
        self.notes: list[str] = []
        self.failure: BaseException | None = None
        self.changed = threading.Condition()

    def counted(self) -> None:
        with self.changed:
            self.decoded += 1

    def done(self, index: int, report: FileReport, place: Place) -> bool:
        with self.changed:
            self.layout[index] = place
            self.reports[index] = report
            self.n_done += 1
            self.changed.notify_all()
            return self.n_done == len(self.reports)

    def failed(self, error: BaseException) -> None:
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def declare(self, folder: Path, token: str, n_bytes: int) -> None:
        _shelf.write_state(folder, token, n_bytes, self.layout, [report for report in self.reports if report is not None])


class PixelStore:
    """The pixels of a data set, short side `modality.short`, by index into its records (`ids` has their order).

    While it is being filled, reading waits for the image asked for. Images that could not be kept on disk are decoded again
    at each read; `notes` says why. `key` names exactly these pixels. Made by `start` and `build`.
    """

    def __init__(self, dataset: Dataset, modality: Images, key: str, path: Path | None, ledger: _Ledger, prints: Prints) -> None:
        self.ids = tuple(record.id for record in dataset.records)
        self.modality = modality
        self.key = key
        self._dataset = dataset
        self._path = path
        self._ledger = ledger
        self._prints = prints
        self._filling: Filling | None = None
        self._map: mmap.mmap | None = None
        self._map_lock = threading.Lock()
        self._read_bytes = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prints(self) -> Prints:
        """A small grey picture of each image that could be read, as soon as `reports` are there and until `close`."""
        return self._prints

    @property
    def decoded(self) -> int:
        """How many times this process decoded a file for this store."""
        return self._ledger.decoded

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about what could not be kept, and why."""
        return self._ledger.notes

    def wait(self, index: int, on_progress: OnProgress | None = None) -> bool:
        """Whether image `index` can be used, as soon as that is known."""
        self._until(lambda: self._ledger.reports[index] is not None, on_progress)
        return self._report(index).status == "ok"

    def reports(self, on_progress: OnProgress | None = None) -> list[FileReport]:
        """What was found in each file, once all have been read."""
        self._until(lambda: self._ledger.n_done == len(self), on_progress)
        return [self._report(index) for index in range(len(self))]

    def pixels(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The stored image, a read-only view where it is on disk.

        Raises:
            DataError: when the file is quarantined.
        """
        if not self.wait(index):
            raise DataError(f"the pixels of a quarantined file were asked for: {self._report(index).message}")
        offset, height, width = self._ledger.layout[index].tolist()
        stored = self._view(offset, height * width * 3) if offset >= 0 else None
        if stored is not None:
            return image.enlarged(stored.reshape(height, width, 3), self.modality)
        self._ledger.counted()
        return image.read(source_of(self._dataset, index), self.modality, self.ids[index]).pixels

    def windows(self, indices: Sequence[int], positions: Sequence[float]) -> UInt8[np.ndarray, "batch short short 3"]:
        """The square cut along the long side of each image, at `positions` from 0 to 1."""
        short = self.modality.short
        out = np.empty((len(indices), short, short, 3), np.uint8)
        for row, index, position in zip(out, indices, positions, strict=True):
            row[:] = image.window(self.pixels(int(index)), short, float(position))
        return out

    def stored(self, indices: Sequence[int], modality: Images | None = None) -> UInt8[np.ndarray, "batch size size 3"]:
        """What the model sees of each image when it predicts, by the store's modality or by another of equal `short`."""
        size = (modality or self.modality).size
        out = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in zip(out, indices, strict=True):
            row[:] = image.centre(self.pixels(int(index)), size)
        return out

    def lengths(self, indices: Int[np.ndarray, " images"]) -> None:
        """None: all images that a model sees are of one size."""

    def pictures(self, indices: Sequence[int]) -> list[UInt8[np.ndarray, "height width 3"]]:
        """The stored images."""
        return [self.pixels(int(index)) for index in indices]

    def texts(self, indices: Sequence[int]) -> list[str]:
        """None: images are shown."""
        return []

    def close(self) -> None:
        """Stop filling and let go of the file; a store that was not filled completely leaves nothing behind."""
        if self._filling is not None:
            self._filling.stop()
        self._prints.close()
        with self._map_lock:
            self._map = None

    def _fill(self, fit: Fit, folder: Path | None, token: str, threads: int) -> None:
        self._filling = Filling(self._dataset, self.modality, fit, self._prints, folder, token, threads, self._ledger)
        self._filling.start()

    def _report(self, index: int) -> FileReport:
        report = self._ledger.reports[index]
        assert report is not None
        return report

    def _until(self, ready: Callable[[], bool], on_progress: OnProgress | None) -> None:
        """Wait in short naps (so that Ctrl-C is heard everywhere) and tell the caller's thread how far the filling is."""
        ledger = self._ledger
        while True:
            with ledger.changed:
                done = ready() or not self._still_filling()
                if not done:
                    ledger.changed.wait(0.1)
                n_done = ledger.n_done
            if on_progress is not None:
                on_progress(Progress("reading images", n_done, len(self)))
            if done:
                return

    def _still_filling(self) -> bool:
        if self._ledger.failure is not None:
            raise self._ledger.failure
        if self._filling is None or self._filling.stopped.is_set():
            raise HeadstartError("the pixels were asked for after their store was closed. Open the data set again.")
        return True

    def _view(self, offset: int, count: int) -> UInt8[np.ndarray, " count"] | None:
        """Bytes of the file; None when it is gone (a cache may be deleted at any time)."""
        with self._map_lock:
            fits = self._map is not None and offset + count <= len(self._map)
            if not fits or self._read_bytes > REMAP_BYTES:
                self._read_bytes = 0
                with suppress(OSError, ValueError):  # then the old map, if there is one, still holds what it held
                    self._map = self._mapped()
            if self._map is None or offset + count > len(self._map):
                return None
            self._read_bytes += count
            return np.frombuffer(self._map, np.uint8, count, offset)

    def _mapped(self) -> mmap.mmap:
        assert self._path is not None
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def start(dataset: Dataset, modality: Images, threads: int | None = None) -> PixelStore:
    """A store that is full from the cache, or is filled by threads from now on; it can be read at once."""
    key = _shelf.key_of(dataset, modality)
    folder = _shelf.folder_of(key)
    count = len(dataset.records)
    stored = _shelf.open_stored(folder, [record.id for record in dataset.records])
    if stored is not None:
        return PixelStore(dataset, modality, key, stored.path, _Ledger(stored.layout, stored.reports), stored.prints)
    token = secrets.token_hex(8)
    need = _shelf.enlarged_bytes(count, modality.short)
    large = need > _shelf.ENLARGED_BYTES
    usable, note = _shelf.make_room(folder, _shelf.own_bytes(dataset, modality.short) if large else need)
    ledger = _Ledger(np.full((count, 3), -1, np.int64), [None] * count)
    if note:
        ledger.note(note)
    path = usable / f"{token}.bin" if usable else None
    prints = Prints(count, path.with_suffix(".prints") if path else None)
    store = PixelStore(dataset, modality, key, path, ledger, prints)
    fit = image.as_it_is if large else image.fitted
    store._fill(fit, usable, token, max(1, min(threads or logical_cores(), MAX_THREADS, count)))
    return store


def are_stored(dataset: Dataset, modality: Images) -> bool:
    """Whether `start` would find all pixels in the cache."""
    folder = _shelf.folder_of(_shelf.key_of(dataset, modality))
    return _shelf.open_stored(folder, [record.id for record in dataset.records]) is not None


def sample(dataset: Dataset, modality: Images, count: int) -> PixelStore:
    """`count` of the images, evenly from all, decoded now and at each read, kept nowhere; under the key of the whole."""
    places = evenly(len(dataset.records), count)
    some = replace(dataset, records=tuple(dataset.records[place] for place in places.tolist()))
    ledger = _Ledger(np.full((len(places), 3), -1, np.int64), [None] * len(places))
    store = PixelStore(some, modality, _shelf.key_of(dataset, modality), None, ledger, Prints(len(places), None))
    store._fill(image.fitted, None, "", max(1, min(logical_cores(), MAX_THREADS, len(places))))
    return store


def build(
    dataset: Dataset, modality: Images, on_progress: OnProgress | None = None, threads: int | None = None
) -> tuple[PixelStore, list[FileReport]]:
    """The complete store and what was found in each file; from the cache when nothing changed since."""
    store = start(dataset, modality, threads)
    try:
        return store, store.reports(on_progress)
    except BaseException:
        store.close()
        raise
