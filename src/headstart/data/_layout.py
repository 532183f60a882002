"""What the folders of a data set mean: wrappers, parts (train, valid, test), classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from headstart.core import Part
from headstart.modalities._scan import counted, quoted

_PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def part_of(name: str) -> Part | None:
    """The part that a folder or table cell names, in any capitals: `val` and `Validation` are valid."""
    return _PARTS.get(name.strip().casefold())


@dataclass(frozen=True, slots=True)
class Layout:
    """The images that belong to the data, each with its part and its class as far as the folders say."""

    images: list[tuple[str, str]]
    """(id, absolute path)"""
    parts: list[Part | None]
    classes: list[str | None]
    notes: list[str]
    class_notes: list[str]
    """Sentences that matter only when classes are taken from folders."""


def read_layout(images: Sequence[tuple[str, str]]) -> Layout:
    """Parts and classes from the folders in ids such as `photos/train/cat/indoor/1.jpg`.

    A single folder that holds nothing but folders is a wrapper and is descended; below the parts it is too. The first
    folder after that is the class, and what lies deeper belongs to it. An image beside the class folders has no class.
    """
    folders = [identifier.split("/")[:-1] for identifier, _ in images]
    notes: list[str] = []
    start = _after_wrappers(folders, 0)
    if start:
        notes.append(f"Read from the only folder inside: {quoted('/'.join(folders[0][:start]))}.")
    names = Counter(path[start] if len(path) > start else "" for path in folders)
    divided = _is_divided(set(names) - {""})
    parts: list[Part | None] = [part_of(path[start]) if divided and len(path) > start else None for path in folders]
    inside = list(range(len(images))) if not divided else [index for index, part in enumerate(parts) if part]
    if divided:
        notes += _outside_notes(names)
        start = _after_wrappers([folders[index] for index in inside], start + 1)
    known = {
        name: normalize("NFC", name) for name in {path[start] for path in folders if len(path) > start}
    }  # one string a class
    classes = [known[folders[index][start]] if len(folders[index]) > start else None for index in inside]
    nested = [index for index in inside if len(folders[index]) > start + 1]
    class_notes = []
    if nested:
        example = quoted(images[nested[0]][0])
        class_notes.append(
            f"{counted(len(nested), 'image')} in folders inside a class folder count as that class (as {example})."
        )
    return Layout([images[index] for index in inside], [parts[index] for index in inside], classes, notes, class_notes)


def _after_wrappers(folders: Sequence[Sequence[str]], start: int) -> int:
    """The depth below all folders that are alone on their level and hold no image themselves."""
    depth = start
    while folders and all(len(path) > depth + 1 for path in folders):
        names = {path[depth] for path in folders}
        if len(names) > 1 or any(part_of(name) for name in names):
            break
        depth += 1
    return depth


def _is_divided(folders: set[str]) -> bool:
    """Whether folders side by side are parts: all of them, or train and another one ({valid, invalid} are classes)."""
    parts = {part_of(name) for name in folders} - {None}
    return bool(folders) and (all(part_of(name) for name in folders) or ("train" in parts and len(parts) > 1))


def _outside_notes(names: Counter[str]) -> list[str]:
    outside = [(name, counted(count, "image")) for name, count in names.most_common() if part_of(name) is None]
    return [
        f"Left out {images} in the folder {quoted(name)}, which is none of train, valid, test."
        if name
        else f"Left out {images} beside the folders train, valid, test."
        for name, images in outside[:5]
    ]
