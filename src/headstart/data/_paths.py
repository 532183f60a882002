"""Paths as people give them."""

import os
from difflib import get_close_matches
from pathlib import Path

from headstart.core import Dataset
from headstart.data._finder import is_url
from headstart.errors import BadSetting, DataError
from headstart.modalities._scan import clean, quoted

AnyPath = str | os.PathLike[str]
FOLDERS = frozenset({"image_folder", "mask_folder"})
"""Kinds of data whose path is a folder."""


def absolute(path: AnyPath) -> Path:
    """The whole path, with `~` opened, links kept and `..` resolved by name.

    Raises:
        DataError: it is a web address, or no path at all.
    """
    text = os.fspath(path)
    if not text.strip():
        raise DataError("the path is empty. Name a folder or a table; the current folder is a dot.")
    if is_url(text):
        raise DataError(
            f"{quoted(text)} is a web address, which is not supported: headstart reads local files. Download it first."
        )
    if "\0" in text:
        raise DataError(f"{quoted(text)} is no path: it holds a zero byte.")
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 (resolve would follow links)
    except RuntimeError:
        return Path(text).absolute()  # `~name` of a user who does not exist


def moved(place: str, beside: str, now: AnyPath) -> str | None:
    """The folder that lies to `now` as `place` lay to `beside`, which are files or folders; None where there is none."""
    found = os.path.normpath(absolute(now) / os.path.relpath(place, beside))
    return found if Path(found).is_dir() else None


def not_there(path: AnyPath) -> DataError:
    """The error for a path that does not exist: from where on it does not, and what is near."""
    missing = absolute(path)
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        names = [each.name for each in missing.parent.iterdir()]
    except OSError:
        names = []
    near = get_close_matches(missing.name, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(quoted(clean(str(missing.parent / name))) for name in near)}?" if near else ""
    place = f"{quoted(clean(str(missing.parent)))} holds no {quoted(missing.name)}"
    return DataError(f"there is no file or folder {quoted(os.fspath(path))}: {place}.{hint}")


def outside(data: Dataset, path: AnyPath) -> Path:
    """The whole path, which lies outside the folder of images: what is written there would be taken for a class or an image.

    Raises:
        BadSetting: it lies inside. For a table any place will do, because only the files that it lists are read.
    """
    whole = absolute(path)
    if data.root is not None and data.origin.get("kind") in FOLDERS and whole.resolve().is_relative_to(Path(data.root).resolve()):
        raise BadSetting(
            f"{quoted(clean(str(path)))} lies inside the folder of images {quoted(clean(data.root))}, "
            "which is never written to. Name a place outside it."
        )
    return whole
