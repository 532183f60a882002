"""A data set looked at before training: what was found in its files, whether it could be trained on, a sheet of samples."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headstart.core import Dataset, Geometry, Record
from headstart.data import pixels
from headstart.data.audit import Audit, FileReport, auditing, require_usable
from headstart.data.pixels import OnProgress, PixelStore
from headstart.data.split import make_split
from headstart.errors import DataError
from headstart.modalities import image
from headstart.seeds import derive
from headstart.store import atomic

CHECK_GEOMETRY = Geometry(size=224, short=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What `check` decodes to: that of the default backbone, so that training finds the pixels in the cache."""
SHEET_COLUMNS = 6
SHEET_ROWS = 12


@dataclass(frozen=True)
class Checked:
    """What `check` found: the audit, a picture with images of every class, and sentences for people."""

    dataset: Dataset
    audit: Audit
    sheet: Image.Image
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def check(dataset: Dataset, folder: Path | None = None, on_progress: OnProgress | None = None) -> Checked:
    """Audit and sample sheet without training; with a `folder`, also written there as `audit.json` and `sheet.png`.

    Raises:
        DataError: when nothing can be read.
    """
    store, reports = pixels.build(dataset, CHECK_GEOMETRY, on_progress)
    try:
        found = _audited(dataset, reports, store, on_progress)
        require_usable(dataset, found)
        usable = found.usable()
        chosen = _chosen([index for index, name in enumerate(store.ids) if name in usable], dataset.records, dataset.seed)
        picture = _sheet([store.pixels(index) for index in chosen], [dataset.records[index] for index in chosen])
    finally:
        store.close()
    if folder is not None:
        atomic.write_json(folder / "audit.json", found.json())
        atomic.write_bytes(folder / "sheet.png", png(picture))
    return Checked(dataset, found, picture, (*dataset.notes, *store.notes, *found.summary(), *_unfit(dataset, found)))


def _audited(dataset: Dataset, reports: list[FileReport], store: PixelStore, on_progress: OnProgress | None) -> Audit:
    steps = auditing(dataset, reports, store.prints)
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(progress)


def _unfit(dataset: Dataset, found: Audit) -> list[str]:
    """Why no training could start, if so."""
    try:
        make_split(dataset, found.usable(), found.groups())
        return []
    except DataError as error:
        return [f"This cannot be trained on yet: {error}"]


def show(dataset: Dataset, rows: int = SHEET_ROWS) -> Image.Image:
    """A sheet with images of every class, as a picture that a notebook displays."""
    chosen, pictures = [], []
    for index in _chosen(range(len(dataset.records)), dataset.records, dataset.seed, rows):
        try:
            pictures.append(image.read(pixels.source_of(dataset, index), CHECK_GEOMETRY, dataset.records[index].id).pixels)
        except image.Unreadable:
            continue
        chosen.append(dataset.records[index])
    return _sheet(pictures, chosen)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _chosen(indices: Sequence[int], records: Sequence[Record], seed: int, rows: int = SHEET_ROWS) -> list[int]:
    """A few images of each class, drawn by the seed; with few classes, more rows of each."""
    drawn = sorted(indices, key=lambda index: derive(seed, "sheet", records[index].id))
    classes = sorted({records[index].target or "" for index in indices})[:rows]
    each = SHEET_COLUMNS * max(1, min(rows // max(1, len(classes)), 2))
    return [index for name in classes for index in [i for i in drawn if (records[i].target or "") == name][:each]]


def _sheet(pictures: Sequence[UInt8[np.ndarray, "height width 3"]], records: Sequence[Record]) -> Image.Image:
    return image.sheet(
        pictures, [f"{record.target or '?'} · {record.id.rsplit('/', 1)[-1]}" for record in records], SHEET_COLUMNS
    )
