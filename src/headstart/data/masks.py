"""Images with masks: for each image another one beside it, whose pixels are the numbers of classes."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from os import fspath
from pathlib import Path, PurePosixPath

import numpy as np

from headstart.core import Dataset, MaskFile, Part, Record
from headstart.data._assemble import assemble, describe_call, group_notes
from headstart.data._layout import part_of
from headstart.data._paths import AnyPath, absolute, not_there
from headstart.data.labels import NameRule, by_rule, describe
from headstart.data.sheet import show_masks
from headstart.data.split import check_shares
from headstart.errors import BadSetting, DataError
from headstart.modalities import _masks
from headstart.modalities._scan import counted, quoted, scan

Classes = Sequence[str] | Mapping[int, str] | AnyPath
MASKS = re.compile(r"(segmentationclass|masks?|(?<![a-z])labels?|annot(ation)?s?|segmentations?|ground_?truth)$", re.IGNORECASE)
"""How folders of masks are called, or end: masks, train_masks, trainannot, labels."""
IMAGES = re.compile(r"(jpegimages|images?|imgs?|photos?)$", re.IGNORECASE)
ENDINGS = re.compile(r"[_-](mask|label|seg|gt|p|l)$", re.IGNORECASE)
"""What the name of a mask has behind that of its image."""
NAMED = ("codes.txt", "classes.txt", "label_names.txt")
"""Files beside the images that name the classes, one in each line."""
NOBODY_KNOWS = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled", "unknown"})
LOOKED_AT = 64
"""Masks that are opened to find the numbers in them, where nobody names the classes."""
WHITE = 255
Key = tuple[str, ...]


def mask_folder(
    path: AnyPath,
    masks: AnyPath | None = None,
    classes: Classes | None = None,
    void: int | Sequence[int] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: NameRule | None = None,
) -> Dataset:
    """The images under a folder, each with the mask of the same name: an image whose pixels are the numbers of classes.

    Masks lie in folders called so (images/ and masks/, train/ and train_masks/, labels, annotations), or under `masks`. Folders
    named train, valid (val, validation) and test divide the data; otherwise `valid` and `test` are shares to draw. Images without a
    mask are left out and counted in the notes.

    Args:
        classes: the names of the classes with the numbers 0, 1, 2, ...; names by number; or a text file with a name in each line.
            Without, a file codes.txt or classes.txt in the folder tells, else the numbers in the masks are the names.
        void: numbers of pixels of which nobody knows what they show; 255 is one unless it is named.
        group_by: as for `image_folder`.

    Raises:
        DataError: no such folder, or no image in it that has a mask.
        BadSetting: a share outside its range, or classes that cannot be.
    """
    check_shares(valid, test)
    root, beside = absolute(path), None if masks is None else absolute(masks)
    for folder in (root, *([] if beside is None else [beside])):
        if not folder.is_dir():
            raise not_there(folder) if not folder.exists() else DataError(f"{quoted(str(folder))} is a file, not a folder.")
    pairs, notes = _paired(root, beside)
    files = [(identifier, source) for identifier, source, _, _ in pairs]
    groups = by_rule(group_by, "group_by", files) if group_by is not None else [None] * len(pairs)
    records = [
        Record(identifier, source, mask, group, part)
        for (identifier, source, mask, part), group in zip(pairs, groups, strict=True)
    ]
    legend, told = _legend(root, [mask for _, _, mask, _ in pairs], classes, void)
    asked = [void] if isinstance(void, int) else None if void is None else list(void)
    place = {"path": str(root), "masks": None if beside is None else str(beside)}
    origin = describe_call(
        "mask_folder", valid, test, seed, **place, classes=_as_json(classes), void=asked, group_by=describe(group_by)
    )
    every = [*notes, *told, *group_notes(records, group_by)]
    return assemble(root.name, records, str(root), every, origin, modality="scene", viewer=show_masks, legend=legend)


def are_masks(images: Sequence[tuple[str, str]]) -> bool:
    """Whether most of the images of a folder, which are (id, path), come with a mask in a folder called so."""
    found, masks = _keys(images)
    return bool(masks) and len(found.keys() & masks.keys()) >= 0.9 * max(1, len(found))


# ------------------------------------------------------------------------------------------------------------------- pairs


def _paired(root: Path, beside: Path | None) -> tuple[list[tuple[str, str, MaskFile, Part | None]], list[str]]:
    """(id, path, mask, part) of each image that has a mask, and sentences on what was left out."""
    found = scan(str(root))
    if beside is None:
        images, masks = _keys(found.images)
    else:
        inside = f"{beside.relative_to(root).as_posix()}/" if beside.is_relative_to(root) and beside != root else None
        images = {_key(each[0]): each for each in found.images if inside is None or not each[0].startswith(inside)}
        masks = {_key(each[0]): each for each in scan(str(beside)).images}
        if not images.keys() & masks.keys():  # images/train/x.jpg beside masks/x.png: the names alone tell
            images, masks = ({key[-1:]: each for key, each in side.items()} for side in (images, masks))
    both = [key for key in images if key in masks]
    if not both:
        raise _no_pairs(root, images, masks)
    pairs: list[tuple[str, str, MaskFile, Part | None]] = []
    for key in sorted(both, key=lambda each: images[each][0]):
        (identifier, source), (name, file) = images[key], masks[key]
        pairs.append((identifier, source, MaskFile(name, file, source), _part(identifier)))
    divided = {part for _, _, _, part in pairs}
    if None in divided or len(divided) < 2:
        pairs = [(identifier, source, mask, None) for identifier, source, mask, _ in pairs]
    notes = []
    for without, what in (
        (images.keys() - masks.keys(), "image without a mask"),
        (masks.keys() - images.keys(), "mask without an image"),
    ):
        if without:
            first = quoted(min((images if "image w" in what else masks)[key][0] for key in without))
            notes.append(f"Left out {counted(len(without), what, what.replace(' with', 's with', 1))} (first: {first}).")
    return pairs, notes


def _keys(files: Sequence[tuple[str, str]]) -> tuple[dict[Key, tuple[str, str]], dict[Key, tuple[str, str]]]:
    """The images and the masks among files, each by what its name and folders have in common with its partner's."""
    images: dict[Key, tuple[str, str]] = {}
    masks: dict[Key, tuple[str, str]] = {}
    for identifier, source in files:
        is_mask = any(MASKS.search(folder) for folder in PurePosixPath(identifier).parts[:-1])
        (masks if is_mask else images)[_key(identifier)] = (identifier, source)
    return images, masks


def _key(identifier: str) -> Key:
    """The folders without what tells images from masks, and the name without its ending."""
    path = PurePosixPath(identifier)
    folders = (IMAGES.sub("", MASKS.sub("", folder)).rstrip("_- ") for folder in path.parts[:-1])
    return (*(folder for folder in folders if folder), ENDINGS.sub("", path.stem))


def _part(identifier: str) -> Part | None:
    return next((part for folder in PurePosixPath(identifier).parts[:-1] if (part := part_of(folder))), None)


def _no_pairs(root: Path, images: Mapping[Key, tuple[str, str]], masks: Mapping[Key, tuple[str, str]]) -> DataError:
    some = ", ".join(quoted(name) for name, _ in [*images.values()][:2]) or "none"
    marks = ", ".join(quoted(name) for name, _ in [*masks.values()][:2]) or "none"
    return DataError(
        f"no image in {quoted(fspath(root))} has a mask of the same name (images: {some}; masks: {marks}). Put images into images/ and "
        "masks into masks/, a.jpg beside a.png, or say where the masks are: masks=FOLDER (--masks FOLDER)."
    )


# ------------------------------------------------------------------------------------------------------------------ legend


def _legend(
    root: Path, masks: Sequence[MaskFile], classes: Classes | None, void: int | Sequence[int] | None
) -> tuple[dict[int, str | None], list[str]]:
    """The name of each number, None for those that nobody knows, and sentences on where they come from."""
    named, notes = _named(root, classes)
    if not named:
        named, notes = _from_masks(masks)
    nobody = {number for number, name in named.items() if name.casefold() in NOBODY_KNOWS}
    nobody |= {void} if isinstance(void, int) else set(void or ())
    wrong = [number for number in (*named, *nobody) if not 0 <= number <= WHITE]
    if wrong:
        raise BadSetting(f"numbers in masks go from 0 to 255, got {wrong[0]}.")
    legend: dict[int, str | None] = {number: name for number, name in named.items() if number not in nobody}
    return legend | dict.fromkeys(sorted(nobody)), notes


def _named(root: Path, classes: Classes | None) -> tuple[dict[int, str], list[str]]:
    if isinstance(classes, Mapping):
        return {int(number): str(name) for number, name in classes.items()}, []
    if classes is not None and not isinstance(classes, str | Path):
        return {number: str(name) for number, name in enumerate(classes)}, []  # pyright: ignore[reportArgumentType]
    if classes is not None:
        file = absolute(classes)
        if not file.is_file():
            raise BadSetting(
                f"classes={str(classes)!r} is no file. Give a text file with a name in each line, or a list of names."
            )
        return _lines(file), []
    file = next((root / name for name in NAMED if (root / name).is_file()), None)
    return ({}, []) if file is None else (_lines(file), [f"The names of the classes are those of {quoted(file.name)}."])


def _lines(file: Path) -> dict[int, str]:
    """A name for each line from 0, or for the number that the line begins with."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(\d+)[\s,:;]+(.+)", line) for line in lines]
    if lines and all(numbered):
        return {int(found.group(1)): found.group(2) for found in numbered if found}
    return dict(enumerate(lines))


def _from_masks(masks: Sequence[MaskFile]) -> tuple[dict[int, str], list[str]]:
    """The numbers in some masks, as the names of classes."""
    found: dict[int, int] = defaultdict(int)
    for mask in masks[:: max(1, len(masks) // LOOKED_AT)]:
        try:
            for number in np.unique(_masks.read(mask.path, mask)).tolist():
                found[number] += 1
        except DataError:
            continue
    if set(found) == {0, WHITE}:
        return {0: "background", WHITE: "foreground"}, ["The masks are black and white: white is taken for the class foreground."]
    numbers = sorted(number for number in found if number != WHITE)
    if len(numbers) > WHITE or (numbers and numbers[-1] > WHITE):
        raise DataError(f"the masks hold {len(numbers)} different numbers up to {numbers[-1]}: these are no numbers of classes.")
    shown = ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")
    return {number: str(number) for number in numbers}, [
        f"The classes are called by their numbers in the masks: {shown}. To name them: classes=[...] (--classes sky,road,...)."
    ]


def _as_json(classes: Classes | None) -> list[str] | dict[str, str] | str | None:
    if classes is None or isinstance(classes, str | Path):
        return None if classes is None else str(absolute(classes))
    if isinstance(classes, Mapping):
        return {str(number): str(name) for number, name in classes.items()}
    return [str(name) for name in classes]  # pyright: ignore[reportGeneralTypeIssues]
