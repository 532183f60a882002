"""The images among what a user gives to be predicted: files, folders, patterns, arrays, PIL images, the bytes of a file."""

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.core import Named
from headstart.modalities._scan import clean, scan

Source = str | Path | bytes | np.ndarray | Image.Image
Inputs = Source | Iterable[Source]


def named(inputs: Inputs) -> Iterator[Named]:
    """Each image among the inputs with its id: the path as given, joined with the path inside it; a number if it has no path."""
    numbers = count()
    single = isinstance(inputs, str | Path | bytes | Image.Image) or not isinstance(inputs, Iterable)
    alone = single or (isinstance(inputs, np.ndarray) and not _is_stack(inputs))
    sources: Iterable[Any] = [inputs] if alone else inputs  # pyright: ignore[reportAssignmentType]
    for source in sources:
        if isinstance(source, str | Path):
            yield from _from_path(str(source))
        else:
            file = getattr(source, "filename", "") if isinstance(source, Image.Image) else ""
            yield Named(clean(str(file)) if file else f"{next(numbers):06d}", source)


def _from_path(given: str) -> Iterator[Named]:
    if not os.path.isdir(given):  # noqa: PTH112 (Path raises where the parent may not be read)
        if not os.path.lexists(given) and glob.has_magic(given):  # shells on Windows leave patterns to the program
            found = sorted(glob.glob(given, recursive=True))  # noqa: PTH207
            for path in found:
                yield from _from_path(path)
            if found:
                return
        yield Named(clean(given), given)
        return
    prefix = clean(given).rstrip("/" if os.sep == "/" else "/\\") + "/"
    try:
        inside = scan(str(Path(given).absolute())).images
    except OSError as error:
        yield Named(clean(given), None, f"the folder cannot be listed ({error.strerror or error}). Check its permissions.")
        return
    for name, path in inside:
        yield Named(prefix + name, path)
    if not inside:
        yield Named(clean(given), None, "there is no image in this folder (hidden files and files of other kinds do not count).")


def _is_stack(array: np.ndarray) -> bool:
    """Whether an array is many images; three axes of which the last is no channel axis are grey images one after another."""
    return array.ndim > 3 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
