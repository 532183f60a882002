"""Which images and masks belong together, by their names and folders."""

import re
from collections import defaultdict
from collections.abc import Sequence
from os import fspath
from pathlib import Path, PurePosixPath

from headstart.core import MaskFile, Part
from headstart.data._layout import part_of
from headstart.errors import DataError
from headstart.modalities._scan import Scan, counted, quoted, scan

MASKS = re.compile(r"(segmentationclass|masks?|(?<![a-z])labels?|annot(ation)?s?|segmentations?|ground_?truth)$", re.IGNORECASE)
"""How folders of masks are called, or end: masks, train_masks, trainannot, labels."""
IMAGES = re.compile(r"(jpegimages|images?|imgs?|photos?)$", re.IGNORECASE)
ENDINGS = re.compile(r"[_-](mask|label|seg|gt|p|l)$", re.IGNORECASE)
"""What the name of a mask has behind that of its image."""
Key = tuple[str, ...]
File = tuple[str, str]
"""(id, path)"""
Pair = tuple[str, str, MaskFile, Part | None]
"""(id, path, mask, part) of an image."""


def paired(found: Scan, beside: Path | None) -> tuple[list[Pair], list[str]]:
    """(id, path, mask, part) of each image that has a mask, and sentences on what was left out."""
    root = Path(found.root)
    if beside is None:
        images, masks = told_apart(found.images)
    else:
        inside = f"{beside.relative_to(root).as_posix()}/" if beside.is_relative_to(root) and beside != root else None
        images = [each for each in found.images if inside is None or not each[0].startswith(inside)]
        masks = scan(str(beside)).images
    both, left_images, left_masks, alike = matched(images, masks)
    if not both and beside is not None:  # images/train/x.jpg beside masks/x.png: the names alone tell
        both, left_images, left_masks, alike = matched(images, masks, names_alone=True)
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


def matched(
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


def told_apart(files: Sequence[File]) -> tuple[list[File], list[File]]:
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
