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
MOSTLY = 0.9
"""Of the images of a folder that have a mask, for it to be taken for one of images with masks."""
Key = tuple[str, ...]
File = tuple[str, str]
Pair = tuple[str, str, MaskFile, Part | None]


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
    found, masks = _told_apart(images)
    return bool(masks) and len(_matched(found, masks)[0]) >= MOSTLY * max(1, len(found))


# ------------------------------------------------------------------------------------------------------------------- pairs


def _paired(root: Path, beside: Path | None) -> tuple[list[Pair], list[str]]:
    """(id, path, mask, part) of each image that has a mask, and sentences on what was left out."""
    found = scan(str(root))
    if beside is None:
        images, masks = _told_apart(found.images)
    else:
        inside = f"{beside.relative_to(root).as_posix()}/" if beside.is_relative_to(root) and beside != root else None
        images = [each for each in found.images if inside is None or not each[0].startswith(inside)]
        masks = scan(str(beside)).images
    both, left_images, left_masks, alike = _matched(images, masks)
    if not both and beside is not None:  # images/train/x.jpg beside masks/x.png: the names alone tell
        both, left_images, left_masks, alike = _matched(images, masks, names_alone=True)
    if not both:
        raise _no_pairs(root, images, masks)
    pairs: list[Pair] = [
        (identifier, source, MaskFile(name, file, source), _part(identifier))
        for (identifier, source), (name, file) in sorted(both, key=lambda pair: pair[0][0])
    ]
    pairs, notes = _divided(pairs)
    notes += alike
    if left_images:
        notes.append(f"Left out {counted(len(left_images), 'image')} without a mask (first: {quoted(min(left_images)[0])}).")
    if left_masks:
        notes.append(f"Left out {counted(len(left_masks), 'mask')} without an image (first: {quoted(min(left_masks)[0])}).")
    return pairs, notes


def _matched(
    images: Sequence[File], masks: Sequence[File], names_alone: bool = False
) -> tuple[list[tuple[File, File]], list[File], list[File], list[str]]:
    """Images with their masks, images and masks without a partner, and a sentence on those that share a name.

    A mask may have something behind the name of its image (a_mask.png for a.jpg), where no image has that name as it is.
    """
    of_images, of_masks = (_by_key(files, names_alone) for files in (images, masks))
    for key in [key for key in of_masks if key not in of_images]:
        plain = (*key[:-1], ENDINGS.sub("", key[-1]))
        if plain != key and plain in of_images:
            of_masks.setdefault(plain, []).extend(of_masks.pop(key))
    shared = [key for key in of_images if key in of_masks]
    unclear = [key for key in shared if len(of_images[key]) > 1 or len(of_masks[key]) > 1]
    clear = [key for key in shared if key not in set(unclear)]
    told = []
    if unclear:
        first = [name for name, _ in (*of_images[unclear[0]], *of_masks[unclear[0]])]
        told = [
            f"Left out {counted(len(unclear), 'name')} of several images or masks, of which nobody can tell which belong together "
            f"(first: {', '.join(map(quoted, first[:4]))})."
        ]
    lone_images = [file for key, files in of_images.items() if key not in of_masks for file in files]
    lone_masks = [file for key, files in of_masks.items() if key not in of_images for file in files]
    return [(of_images[key][0], of_masks[key][0]) for key in clear], lone_images, lone_masks, told


def _by_key(files: Sequence[File], names_alone: bool) -> dict[Key, list[File]]:
    found: dict[Key, list[File]] = defaultdict(list)
    for file in files:
        key = _key(file[0])
        found[key[-1:] if names_alone else key].append(file)
    return dict(found)


def _told_apart(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """The images and the masks among files: a mask lies in a folder called so."""
    masks = [any(MASKS.search(folder) for folder in PurePosixPath(identifier).parts[:-1]) for identifier, _ in files]
    images = [file for file, is_mask in zip(files, masks, strict=True) if not is_mask]
    return images, [file for file, is_mask in zip(files, masks, strict=True) if is_mask]


def _divided(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """The pairs with their parts where the folders divide them (train and another one), those in none left out; else without parts."""
    parts = {part for *_, part in pairs}
    if "train" not in parts or len(parts - {None}) < 2:
        return [(*pair[:3], None) for pair in pairs], []
    outside = [pair[0] for pair in pairs if pair[3] is None]
    told = (
        f"Left out {counted(len(outside), 'image')} in none of the folders train, valid, test (first: {quoted(outside[0])})."
        if outside
        else ""
    )
    return [pair for pair in pairs if pair[3] is not None], [told] if told else []


def _key(identifier: str) -> Key:
    """The folders without what tells images from masks, and the name without its ending."""
    path = PurePosixPath(identifier)
    folders = (IMAGES.sub("", MASKS.sub("", folder)).rstrip("_- ") for folder in path.parts[:-1])
    return (*(folder for folder in folders if folder), path.stem)


def _part(identifier: str) -> Part | None:
    return next((part for folder in PurePosixPath(identifier).parts[:-1] if (part := part_of(folder))), None)


def _no_pairs(root: Path, images: Sequence[File], masks: Sequence[File]) -> DataError:
    some = ", ".join(quoted(name) for name, _ in images[:2]) or "none"
    marks = ", ".join(quoted(name) for name, _ in masks[:2]) or "none"
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
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{quoted(str(file))} cannot be read as UTF-8 text ({error}). Save it as UTF-8.") from None
    numbered = [re.fullmatch(r"(\d+)[\s,:;]+(.+)", line) for line in lines if line]
    if numbered and all(numbered):
        return {int(found.group(1)): found.group(2) for found in numbered if found}
    return {number: line for number, line in enumerate(lines) if line}


def _from_masks(masks: Sequence[MaskFile]) -> tuple[dict[int, str], list[str]]:
    """The numbers in some masks, as the names of classes."""
    found: set[int] = set()
    faults: list[DataError] = []
    for mask in masks[:: max(1, len(masks) // LOOKED_AT)]:
        try:
            found |= set(np.unique(_masks.read(mask.path, mask)).tolist())
        except DataError as error:
            faults.append(error)
    if not found - {WHITE}:
        raise faults[0] if faults else DataError("the masks hold nothing but 255, which stands for what nobody knows.")
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
