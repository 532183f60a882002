"""A data set as a sheet of pictures: some images with each label, which a notebook displays."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headstart.core import Dataset, Label, MaskFile, Record
from headstart.data.stores import pixels
from headstart.errors import DataError
from headstart.modalities import _masks, image
from headstart.places import evenly
from headstart.seeds import derive

SHEET_COLUMNS = 6
SHEET_ROWS = 12


def show(dataset: Dataset, rows: int = SHEET_ROWS) -> Image.Image:
    """A sheet with images of every label, as a picture that a notebook displays."""
    shown, pictures = [], []
    for index in chosen(range(len(dataset.records)), dataset.records, dataset.seed, rows):
        try:
            pictures.append(image.read(pixels.source_of(dataset, index), image.PLAIN, dataset.records[index].id).pixels)
        except image.Unreadable:
            continue
        shown.append(dataset.records[index])
    return sheet(pictures, shown)


def show_masks(dataset: Dataset, count: int = 2 * SHEET_COLUMNS) -> Image.Image:
    """A sheet of some images with their masks laid over them."""
    shown, pictures = [], []
    classes = [number for number, name in dataset.legend.items() if name is not None]
    table = np.full(1 << 16, len(classes), np.int64)
    table[classes] = np.arange(len(classes))
    drawn = sorted(dataset.records, key=lambda record: derive(dataset.seed, "sheet", record.id))
    for record in drawn:
        if len(shown) == count:
            break
        if not isinstance(record.target, MaskFile) or not isinstance(record.source, str):
            continue
        try:
            pixels = image.decode(record.source).pixels
            pictures.append(
                _masks.painted(
                    pixels, table[np.clip(_masks.read(record.target.path, record.target), 0, len(table) - 1)], len(classes)
                )
            )
        except DataError:
            continue
        shown.append(record)
    return _above(sheet(pictures, shown), _masks.key([name for name in dataset.legend.values() if name is not None]))


def _above(page: Image.Image, below: Image.Image) -> Image.Image:
    """One picture above another."""
    both = Image.new("RGB", (max(page.width, below.width), page.height + below.height), "white")
    both.paste(page, (0, 0))
    both.paste(below, (0, page.height))
    return both


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def chosen(indices: Sequence[int], records: Sequence[Record], seed: int, rows: int = SHEET_ROWS) -> list[int]:
    """A few images of each label, drawn by the seed; with few labels, more rows of each, with many (numbers), some of them."""
    drawn = sorted(indices, key=lambda index: derive(seed, "sheet", records[index].id))
    labels = sorted({_text(records[index].target) for index in indices}, key=_order)
    shown = [labels[place] for place in evenly(len(labels), rows)]
    each = SHEET_COLUMNS * max(1, min(rows // max(1, len(labels)), 2))
    return [index for label in shown for index in [i for i in drawn if _text(records[i].target) == label][:each]]


def _text(label: Label | None) -> str:
    return label or "?" if isinstance(label, str | None) else ", ".join(label)


def _order(label: str) -> tuple[float, str]:
    """Numbers by their size, words by the alphabet."""
    try:
        return float(label), label
    except ValueError:
        return float("-inf"), label


def sheet(pictures: Sequence[UInt8[np.ndarray, "height width 3"]], records: Sequence[Record]) -> Image.Image:
    """The pictures with their labels and names below."""
    return image.sheet(
        pictures, [f"{_text(record.target)} · {record.id.rsplit('/', 1)[-1]}" for record in records], SHEET_COLUMNS
    )
