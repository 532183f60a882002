"""Every image decoded once, kept as bytes in one memory-mapped file: threads, no processes, readable while it grows."""

import errno
import hashlib
import itertools
import mmap
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from headstart.core import Dataset, Geometry, Progress
from headstart.data._fingerprint import SIDE, thumbnail
from headstart.data.audit import FileReport
from headstart.errors import DataError, HeadstartError, StoreError
from headstart.modalities import image
from headstart.store import atomic, cache

FORMAT = 1
RESERVE = 512 << 20
"""Bytes of the disk that the store never touches."""
CACHE_BYTES = 20 << 30
"""The pixels of data sets used long ago are deleted beyond this."""
USUAL_ASPECT = 1.4
"""Long to short side of common photographs; for the estimate of the space needed."""
MAX_THREADS = 16
REMAP_BYTES = 256 << 20
"""The map is renewed after so many bytes were read through it, so that pages once touched do not count as memory in use."""
DEAD_WRITER_SECONDS = 3600

OnProgress = Callable[[Progress], None]


class PixelStore:
    """The pixels of a data set, short side `geometry.short`, by index into its records (`ids` has their order).

    While it is being filled, reading waits for the image asked for. Images that could not be kept on disk are decoded again
    at each read; `notes` says why. `decoded` counts the files decoded in this process.
    """

    def __init__(self, dataset: Dataset, geometry: Geometry, path: Path | None) -> None:
        self.ids = tuple(record.id for record in dataset.records)
        self.geometry = geometry
        self.notes: list[str] = []
        self.key = _key(dataset, geometry)
        """A name for exactly these pixels."""
        self.decoded = 0
        self._dataset = dataset
        self._path = path
        self._layout = np.full((len(self.ids), 3), -1, np.int64)
        self._reports: list[FileReport | None] = [None] * len(self.ids)
        self._changed = threading.Condition()
        self._n_done = 0
        self._filler: _Filler | None = None
        self._map: mmap.mmap | None = None
        self._map_lock = threading.Lock()
        self._read_bytes = 0

    def __len__(self) -> int:
        return len(self.ids)

    def wait(self, index: int, on_progress: OnProgress | None = None) -> bool:
        """Whether image `index` can be used, as soon as that is known."""
        self._until(lambda: self._reports[index] is not None, on_progress)
        return self._report(index).status == "ok"

    def reports(self, on_progress: OnProgress | None = None) -> list[FileReport]:
        """What was found in each file, once all have been read."""
        self._until(lambda: self._n_done == len(self), on_progress)
        return [self._report(index) for index in range(len(self))]

    def pixels(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The stored image, a read-only view where it is on disk.

        Raises:
            DataError: when the file is quarantined.
        """
        if not self.wait(index):
            raise DataError(f"the pixels of a quarantined file were asked for: {self._report(index).message}")
        offset, height, width = self._layout[index].tolist()
        if offset < 0:
            self._count()
            return image.read(source_of(self._dataset, index), self.geometry, self.ids[index]).pixels
        return self._view(offset, height * width * 3).reshape(height, width, 3)

    def windows(self, indices: Sequence[int], positions: Sequence[float]) -> UInt8[np.ndarray, "batch short short 3"]:
        """The square cut along the long side of each image, at `positions` from 0 to 1."""
        short = self.geometry.short
        out = np.empty((len(indices), short, short, 3), np.uint8)
        for row, index, position in zip(out, indices, positions, strict=True):
            row[:] = image.window(self.pixels(int(index)), short, float(position))
        return out

    def centres(self, indices: Sequence[int]) -> UInt8[np.ndarray, "batch size size 3"]:
        """What the model sees of each image when it predicts."""
        size = self.geometry.size
        out = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in zip(out, indices, strict=True):
            row[:] = image.centre(self.pixels(int(index)), size)
        return out

    def close(self) -> None:
        """Stop filling and let go of the file; a store that was not filled completely leaves nothing behind."""
        if self._filler is not None:
            self._filler.stop()
        with self._map_lock:
            self._map = None

    def _report(self, index: int) -> FileReport:
        report = self._reports[index]
        assert report is not None
        return report

    def _until(self, ready: Callable[[], bool], on_progress: OnProgress | None) -> None:
        """Wait in short naps (so that Ctrl-C is heard everywhere) and tell the caller's thread how far the filling is."""
        while True:
            with self._changed:
                if self._filler is not None:
                    self._filler.raise_failure()
                done = ready()
                if not done:
                    self._changed.wait(0.1)
                    done = ready()
                n_done = self._n_done
            if on_progress is not None:
                on_progress(Progress("reading images", n_done, len(self)))
            if done:
                return

    def _count(self) -> None:
        with self._changed:
            self.decoded += 1

    def _done(self, index: int, report: FileReport, place: tuple[int, int, int]) -> bool:
        """Note that image `index` is finished; whether it was the last."""
        with self._changed:
            self._layout[index] = place
            self._reports[index] = report
            self._n_done += 1
            self._changed.notify_all()
            return self._n_done == len(self)

    def _view(self, offset: int, count: int) -> UInt8[np.ndarray, " count"]:
        with self._map_lock:
            if self._map is None or offset + count > len(self._map) or self._read_bytes > REMAP_BYTES:
                assert self._path is not None
                with self._path.open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._read_bytes = 0
            self._read_bytes += count
            return np.frombuffer(self._map, np.uint8, count, offset)


class _Filler:
    """Decodes on threads and appends to the file; what the disk does not take is left to be decoded at each read."""

    def __init__(self, store: PixelStore, dataset: Dataset, folder: Path | None, token: str, threads: int) -> None:
        self.store, self.dataset, self.folder, self.token = store, dataset, folder, token
        self.file = None
        if folder is not None:
            self.file = (folder / f"{token}.bin").open("wb", buffering=0)
        self.end = 0
        self.next = itertools.count()
        self.stopped = threading.Event()
        self.complete = False
        self.failure: BaseException | None = None
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._work, daemon=True, name=f"decode-{i}") for i in range(threads)]
        self.finisher: threading.Thread | None = None

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; without a complete file, remove it."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        if self.finisher is not None:
            self.finisher.join()
        self._drop_file()

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.stopped.is_set() and self.store._n_done < len(self.store):
            raise HeadstartError("the pixel store was closed while images were still being read.")

    def _work(self) -> None:
        try:
            while not self.stopped.is_set() and (index := next(self.next)) < len(self.store):
                if self._one(index):
                    self.finisher = threading.Thread(target=self._finish, name="decode-finish")
                    self.finisher.start()
        except BaseException as error:
            with self.store._changed:
                self.failure = error
                self.stopped.set()
                self.store._changed.notify_all()

    def _one(self, index: int) -> bool:
        record, geometry = self.dataset.records[index], self.store.geometry
        digest, place = "", (-1, 0, 0)
        self.store._count()
        try:
            source = source_of(self.dataset, index)
            if isinstance(source, str):
                source = image.read_bytes(source)
            digest = _digest(source)
            picture, info = image.load(source, geometry.short, record.id)
            scaled = image.scale(picture, geometry.short, geometry.interpolation)
            fingerprint = thumbnail(scaled).tobytes()
            place = self._append(scaled.convert("RGB").tobytes(), scaled.height, scaled.width)
            report = FileReport(
                record.id, "ok", "", "", info.width, info.height, info.format, info.mode, info.notes, digest, fingerprint
            )
        except image.Unreadable as error:
            report = FileReport(record.id, "quarantined", error.reason, str(error), digest=digest)
        return self.store._done(index, report, place)

    def _append(self, data: bytes, height: int, width: int) -> tuple[int, int, int]:
        """Where the pixels now lie; (-1, ...) when they must be decoded again at each read."""
        with self.lock:
            if self.file is None:
                return (-1, height, width)
            try:
                offset, rest = self.end, memoryview(data)
                while rest:
                    rest = rest[self.file.write(rest) :]
                self.end += len(data)
                return (offset, height, width)
            except OSError as error:
                self._give_up(error)
                return (-1, height, width)

    def _give_up(self, error: OSError) -> None:
        why = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else f"it cannot be written ({error.strerror or error})"
        )
        self.store.notes.append(_on_the_fly(self.folder, why))
        assert self.file is not None
        self.file.close()
        self.file = None

    def _finish(self) -> None:
        """Make the file durable, then name it in the state: only now a later process will trust it."""
        with self.lock:
            if self.file is None or self.folder is None:
                return
            try:
                os.fsync(self.file.fileno())
                self.file.close()
                self.file = None
                _write_state(self.folder, self.token, self.store, self.end)
                self.complete = True
            except (OSError, StoreError):
                return  # the pixels stay readable in this process; a later one decodes again

    def _drop_file(self) -> None:
        with self.lock:
            if self.file is not None:
                self.file.close()
                self.file = None
            if not self.complete and self.folder is not None:
                _remove(self.folder / f"{self.token}.bin")


def start(dataset: Dataset, geometry: Geometry, threads: int | None = None) -> PixelStore:
    """A store that is filled from the cache at once, or by threads from now on; it can be read at once, in order or not."""
    folder = cache.folder("pixels") / _key(dataset, geometry)
    stored = _open(dataset, geometry, folder)
    if stored is not None:
        return stored
    token = secrets.token_hex(8)
    usable, note = _prepare_folder(folder, dataset, geometry)
    store = PixelStore(dataset, geometry, usable / f"{token}.bin" if usable else None)
    if note:
        store.notes.append(note)
    n_threads = max(1, min(threads or _cores(), MAX_THREADS, len(store)))
    store._filler = _Filler(store, dataset, usable, token, n_threads)
    store._filler.start()
    return store


def build(
    dataset: Dataset, geometry: Geometry, on_progress: OnProgress | None = None, threads: int | None = None
) -> tuple[PixelStore, list[FileReport]]:
    """The complete store and what was found in each file; from the cache when nothing changed since."""
    store = start(dataset, geometry, threads)
    try:
        return store, store.reports(on_progress)
    except BaseException:
        store.close()
        raise


def source_of(dataset: Dataset, index: int) -> str | np.ndarray:
    """What image `index` is decoded from: its path, or its array."""
    source = dataset.records[index].source
    if isinstance(source, str):
        return source
    if dataset.arrays is None:
        raise DataError(
            f"record {dataset.records[index].id!r} names array {source}, but the data set {dataset.name!r} holds no arrays."
        )
    return np.asarray(dataset.arrays[source])


def _digest(source: bytes | np.ndarray) -> str:
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).hexdigest()
    head = f"{source.dtype.str}{source.shape}".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(source).tobytes(), digest_size=16).hexdigest()


def _key(dataset: Dataset, geometry: Geometry) -> str:
    """A name for exactly these pixels: which files, their sizes and times (one stat each; arrays by content), and how they are scaled."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((FORMAT, SIDE, geometry.short, geometry.interpolation, len(dataset.records))).encode())
    for index, record in enumerate(dataset.records):
        if isinstance(record.source, str):
            try:
                status = os.stat(record.source)
                facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            except (OSError, ValueError) as error:
                facts = (type(error).__name__,)
        else:
            facts = (_digest(source_of(dataset, index)),)
        digest.update(f"{record.id!r}{record.source!r}{facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _prepare_folder(folder: Path, dataset: Dataset, geometry: Geometry) -> tuple[Path | None, str]:
    """The folder if it can take the pixels, else None and a sentence for the user. Old pixels make room first."""
    need = int(len(dataset.records) * geometry.short**2 * 3 * USUAL_ASPECT)
    try:
        cache.make("pixels")
        folder.mkdir(exist_ok=True)
        _sweep(folder)
        probe = folder / f"{secrets.token_hex(8)}.probe"
        probe.write_bytes(b"")
        probe.unlink()
        cache.bound("pixels", max(0, CACHE_BYTES - need), keep=[folder])
        missing = need + RESERVE - shutil.disk_usage(folder).free
        if missing > 0:
            cache.bound("pixels", max(0, cache.usage()["pixels"] - missing), keep=[folder])
        free = shutil.disk_usage(folder).free
    except (OSError, StoreError) as error:
        return None, _on_the_fly(folder, f"it cannot be written ({getattr(error, 'strerror', None) or error})")
    if need + RESERVE > free:
        with suppress(OSError):
            folder.rmdir()
        return None, _on_the_fly(folder, f"they need about {need / 1e9:.1f} GB there and {free / 1e9:.1f} GB are free")
    return folder, ""


def _on_the_fly(folder: Path | None, why: str) -> str:
    return (
        f"Images are decoded again in every epoch instead of once, which is slower: the cache folder {folder} cannot hold them, {why}. "
        "Free some space (headstart doctor --clear-cache), or set HEADSTART_CACHE to a folder on a disk with room."
    )


def _sweep(folder: Path) -> None:
    """Remove what writers that died left in this folder."""
    for file in folder.glob("*.bin"):
        if time.time() - file.stat().st_mtime > DEAD_WRITER_SECONDS:
            _remove(file)
            _remove(file.with_suffix(".npz"))


def _remove(file: Path) -> None:
    with suppress(OSError):  # open in another process on Windows: the next sweep gets it
        file.unlink(missing_ok=True)


def _write_state(folder: Path, token: str, store: PixelStore, n_bytes: int) -> None:
    reports = [store._report(index) for index in range(len(store))]
    blank = bytes(SIDE * SIDE)
    prints = np.frombuffer(b"".join(report.fingerprint or blank for report in reports), np.uint8)
    np.savez(folder / f"{token}.npz", layout=store._layout, prints=prints.reshape(len(reports), SIDE * SIDE))
    state = {"format": FORMAT, "token": token, "bytes": n_bytes, "reports": [report.json() for report in reports]}
    atomic.write_json(folder / "state.json", state)


def _open(dataset: Dataset, geometry: Geometry, folder: Path) -> PixelStore | None:
    """The store that an earlier process completed, or None."""
    try:
        state = atomic.read_json(folder / "state.json")
        path = folder / f"{state['token']}.bin"
        if state["format"] != FORMAT or path.stat().st_size != state["bytes"]:
            return None
        with np.load(path.with_suffix(".npz")) as saved:
            layout, prints = saved["layout"], saved["prints"]
        store = PixelStore(dataset, geometry, path)
        reports = [
            FileReport(**entry | {"notes": tuple(entry["notes"])}, fingerprint=row.tobytes() if entry["status"] == "ok" else b"")
            for entry, row in zip(state["reports"], prints, strict=True)
        ]
        if tuple(report.id for report in reports) != store.ids or layout.shape != store._layout.shape:
            return None
    except (OSError, StoreError, ValueError, KeyError, TypeError, EOFError):
        return None  # a cache that cannot be trusted is made again
    store._layout, store._reports, store._n_done = layout, list(reports), len(reports)
    cache.touch(folder)
    return store


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))  # pyright: ignore[reportAttributeAccessIssue]
    except (AttributeError, OSError):
        return os.cpu_count() or 1
