"""Where the pixels of a data set lie between runs: one folder of the cache for each content, trusted only once it is complete."""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int
from PIL import Image

from headstart.core import Dataset
from headstart.data._fingerprint import SIDE
from headstart.data.audit import FileReport
from headstart.data.stores._prints import BYTES, Prints
from headstart.errors import DataError, StoreError
from headstart.modalities import image
from headstart.modalities.image import Geometry
from headstart.store import atomic, cache

FORMAT = 2
RESERVE = 512 << 20
"""Bytes of the disk that the store never touches."""
CACHE_BYTES = 20 << 30
"""The pixels of data sets used long ago are deleted beyond this."""
USUAL_ASPECT = 1.4
"""Long to short side of common photographs; for the estimate of the space needed."""
DEAD_WRITER_SECONDS = 3600
ENLARGED_BYTES = 4 << 30
"""Images smaller than the model's input are stored enlarged, to be read at once, unless the set would take more than this."""
DIGEST = 16
"""Bytes of the name of a content."""
PLAIN_MODES = frozenset({"L", "RGB", "RGBA", "I;16"})
"""Of images in memory that are used as they are."""
SAMPLED = 32
"""Images whose size is looked up to estimate the space needed."""


@dataclass(frozen=True)
class Stored:
    """A complete file of pixels: where each image lies (offset, height, width; -1 where it could not be read), what was found."""

    path: Path
    layout: Int[np.ndarray, "images 3"]
    reports: tuple[FileReport, ...]
    prints: Prints


def folder_of(key: str) -> Path:
    """The folder for the pixels of this name (it may not exist)."""
    return cache.folder("pixels") / key


def open_stored(folder: Path, ids: Sequence[str]) -> Stored | None:
    """What an earlier process completed for these ids, or None: a cache that cannot be trusted is made again."""
    try:
        state = atomic.read_json(folder / "state.json")
        path = folder / f"{state['token']}.bin"
        prints = path.with_suffix(".prints")
        sizes = (path.stat().st_size, prints.stat().st_size)
        if state["format"] != FORMAT or sizes != (state["bytes"], len(ids) * BYTES):
            return None
        with np.load(path.with_suffix(".npz")) as saved:
            layout, reports = saved["layout"], _reports(ids, state, saved)
        if layout.shape != (len(ids), 3):
            return None
        stored = Stored(path, layout, reports, Prints(len(ids), prints, new=False))
    except (OSError, StoreError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile):
        return None
    cache.touch(folder)
    return stored


def write_state(
    folder: Path, token: str, n_bytes: int, layout: Int[np.ndarray, "images 3"], reports: Sequence[FileReport]
) -> None:
    """Declares the file `token` complete: from now on later processes trust it.

    What is told of each image stands in columns of numbers: 100,000 objects of JSON take a hundred times the memory.
    """
    kinds: dict[tuple[str, str, tuple[str, ...]], int] = {}
    bad = {index: [report.reason, report.message] for index, report in enumerate(reports) if report.status == "quarantined"}
    columns = {
        "layout": layout,
        "size": np.array([(report.width, report.height) for report in reports], np.int32).reshape(-1, 2),
        "kind": np.array([kinds.setdefault((each.format, each.mode, each.notes), len(kinds)) for each in reports], np.int32),
        "digest": np.frombuffer(b"".join(bytes.fromhex(each.digest).ljust(DIGEST, b"\0") for each in reports), np.uint8),
        "known": np.array([bool(report.digest) for report in reports], bool),
    }
    np.savez(folder / f"{token}.npz", **columns)
    told = {"quarantined": bad, "kinds": [[format, mode, list(notes)] for format, mode, notes in kinds]}
    atomic.write_json(folder / "state.json", {"format": FORMAT, "token": token, "bytes": n_bytes, **told})


def _reports(ids: Sequence[str], state: dict[str, Any], saved: Mapping[str, np.ndarray]) -> tuple[FileReport, ...]:
    """The reports that `write_state` was given, of the images `ids`."""
    kinds = [(format, mode, tuple(notes)) for format, mode, notes in state["kinds"]]
    bad = {int(index): (reason, message) for index, (reason, message) in state["quarantined"].items()}
    digests, known = saved["digest"].tobytes(), saved["known"]
    reports = []
    for index, (name, size, kind) in enumerate(zip(ids, saved["size"].tolist(), saved["kind"].tolist(), strict=True)):
        digest = digests[DIGEST * index : DIGEST * (index + 1)].hex() if known[index] else ""
        reason, message = bad.get(index, ("", ""))
        status = "quarantined" if index in bad else "ok"
        (width, height), (format, mode, notes) = size, kinds[kind]
        reports.append(FileReport(name, status, reason, message, width, height, format, mode, notes, digest))
    return tuple(reports)


def enlarged_bytes(count: int, short: int) -> int:
    """About how much the pixels of so many images take, each with this short side."""
    return int(count * short**2 * 3 * USUAL_ASPECT)


def own_bytes(dataset: Dataset, short: int) -> int:
    """The same where small images stay as they are; from the sizes of a few, read from the heads of their files."""
    count, usual = len(dataset.records), enlarged_bytes(1, short)
    areas = [_area(source_of(dataset, index)) for index in range(0, count, max(1, count // SAMPLED))]
    return count * sum(min(usual, 3 * area or usual) for area in areas) // len(areas)


def _area(source: str | np.ndarray) -> int:
    return image.area(source) if isinstance(source, str) else int(np.prod(source.shape[:2]))


def make_room(folder: Path, need: int) -> tuple[Path | None, str]:
    """The folder if it can take `need` bytes of pixels, else None and a sentence for the user. Old pixels make room first."""
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
            remove(folder, file.stem)


def remove(folder: Path, token: str) -> None:
    """Deletes the files of one writer as far as possible."""
    for ending in ("bin", "npz", "prints"):
        with suppress(OSError):  # open in another process on Windows: the next sweep gets it
            (folder / f"{token}.{ending}").unlink(missing_ok=True)


def source_of(dataset: Dataset, index: int) -> str | np.ndarray:
    """What image `index` is decoded from: its path, or its array."""
    source = dataset.records[index].source
    if isinstance(source, str):
        return source
    if dataset.arrays is None:
        raise DataError(
            f"record {dataset.records[index].id!r} names array {source}, but the data set {dataset.name!r} holds no arrays."
        )
    given = dataset.arrays[source]
    if isinstance(given, Image.Image) and given.mode not in PLAIN_MODES:  # the numbers of a palette are no grey values
        given = given.convert("RGBA" if given.has_transparency_data else "RGB")
    return np.asarray(given)


def digest_of(source: bytes | np.ndarray) -> str:
    """A name for this content."""
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=DIGEST).hexdigest()
    head = f"{source.dtype.str}{source.shape}".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(source).tobytes(), digest_size=DIGEST).hexdigest()


def key_of(dataset: Dataset, geometry: Geometry) -> str:
    """A name for exactly these pixels: which files, their sizes and times (one stat each), arrays by content; and the scale."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((FORMAT, SIDE, *geometry.stored_as, len(dataset.records))).encode())
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
