"""Where the pixels of a data set lie between runs: one folder of the cache for each content, trusted only once it is complete."""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int

from headstart.core import Dataset, Geometry
from headstart.data._fingerprint import SIDE
from headstart.data.audit import FileReport
from headstart.errors import DataError, StoreError
from headstart.store import atomic, cache

FORMAT = 1
RESERVE = 512 << 20
"""Bytes of the disk that the store never touches."""
CACHE_BYTES = 20 << 30
"""The pixels of data sets used long ago are deleted beyond this."""
USUAL_ASPECT = 1.4
"""Long to short side of common photographs; for the estimate of the space needed."""
DEAD_WRITER_SECONDS = 3600


@dataclass(frozen=True)
class Stored:
    """A complete file of pixels: where each image lies (offset, height, width; -1 where it could not be read), what was found."""

    path: Path
    layout: Int[np.ndarray, "images 3"]
    reports: tuple[FileReport, ...]


def folder_of(key: str) -> Path:
    """The folder for the pixels of this name (it may not exist)."""
    return cache.folder("pixels") / key


def open_stored(folder: Path, ids: Sequence[str]) -> Stored | None:
    """What an earlier process completed, or None: a cache that cannot be trusted is made again."""
    try:
        state = atomic.read_json(folder / "state.json")
        path = folder / f"{state['token']}.bin"
        if state["format"] != FORMAT or path.stat().st_size != state["bytes"]:
            return None
        with np.load(path.with_suffix(".npz")) as saved:
            layout, prints = saved["layout"], saved["prints"]
        reports = tuple(
            FileReport(**entry | {"notes": tuple(entry["notes"])}, fingerprint=row.tobytes() if entry["status"] == "ok" else b"")
            for entry, row in zip(state["reports"], prints, strict=True)
        )
    except (OSError, StoreError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
    if tuple(report.id for report in reports) != tuple(ids) or layout.shape != (len(reports), 3):
        return None
    cache.touch(folder)
    return Stored(path, layout, reports)


def write_state(
    folder: Path, token: str, n_bytes: int, layout: Int[np.ndarray, "images 3"], reports: Sequence[FileReport]
) -> None:
    """Declares the file `token` complete: from now on later processes trust it."""
    blank = bytes(SIDE * SIDE)
    prints = np.frombuffer(b"".join(report.fingerprint or blank for report in reports), np.uint8)
    np.savez(folder / f"{token}.npz", layout=layout, prints=prints.reshape(len(reports), SIDE * SIDE))
    state = {"format": FORMAT, "token": token, "bytes": n_bytes, "reports": [report.json() for report in reports]}
    atomic.write_json(folder / "state.json", state)


def make_room(folder: Path, count: int, short: int) -> tuple[Path | None, str]:
    """The folder if it can take the pixels, else None and a sentence for the user. Old pixels make room first."""
    need = int(count * short**2 * 3 * USUAL_ASPECT)
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
        return None, on_the_fly(folder, f"it cannot be written ({getattr(error, 'strerror', None) or error})")
    if need + RESERVE > free:
        with suppress(OSError):
            folder.rmdir()
        return None, on_the_fly(
            folder,
            f"they need about {(need + RESERVE) / 1e6:,.0f} MB there, some reserve included, and {free / 1e6:,.0f} MB are free",
        )
    return folder, ""


def on_the_fly(folder: Path | None, why: str) -> str:
    """What the user is told when images cannot be kept."""
    return (
        "Images are decoded again in every epoch instead of once, which is slower: "
        f"the cache folder {folder} cannot hold them, {why}. "
        "Free some space (headstart doctor --clear-cache), or set HEADSTART_CACHE to a folder on a disk with room."
    )


def _sweep(folder: Path) -> None:
    """Remove what writers that died left in this folder."""
    for file in folder.glob("*.bin"):
        if time.time() - file.stat().st_mtime > DEAD_WRITER_SECONDS:
            remove(file)
            remove(file.with_suffix(".npz"))


def remove(file: Path) -> None:
    """Deletes a file of pixels if that is possible."""
    with suppress(OSError):  # open in another process on Windows: the next sweep gets it
        file.unlink(missing_ok=True)


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


def digest_of(source: bytes | np.ndarray) -> str:
    """A name for this content."""
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).hexdigest()
    head = f"{source.dtype.str}{source.shape}".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(source).tobytes(), digest_size=16).hexdigest()


def key_of(dataset: Dataset, geometry: Geometry) -> str:
    """A name for exactly these pixels: which files, their sizes and times (one stat each), arrays by content; and the scale."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((FORMAT, SIDE, geometry.short, geometry.interpolation, len(dataset.records))).encode())
    for index, record in enumerate(dataset.records):
        if isinstance(record.source, str):
            try:
                status = os.stat(record.source)  # noqa: PTH116 (a Path for each of 100,000 files costs a second)
                facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            except (OSError, ValueError) as error:
                facts = (type(error).__name__,)
        else:
            facts = (digest_of(np.asarray(source_of(dataset, index))),)
        digest.update(f"{record.id!r}{record.source!r}{facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
