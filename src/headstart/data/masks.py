"""Images with masks: for each image another one beside it, whose pixels are the numbers of classes."""

from collections.abc import Sequence
from pathlib import Path

from headstart.core import Dataset, Record
from headstart.data._assemble import assemble, describe_call, group_notes
from headstart.data._legend import Classes, as_json, legend_of
from headstart.data._mask_pairs import matched, paired, told_apart
from headstart.data._paths import AnyPath, absolute, not_there
from headstart.data.labels import NameRule, by_rule, describe
from headstart.data.sheet import show_masks
from headstart.data.split import check_shares
from headstart.errors import DataError
from headstart.modalities._scan import Scan, quoted, scan

MOSTLY = 0.9
"""Of the images of a folder that have a mask, for it to be taken for one of images with masks."""


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
    return of_folder(scan(str(root)), beside, classes, void, valid, test, seed, group_by)


def of_folder(
    found: Scan,
    beside: Path | None,
    classes: Classes | None,
    void: int | Sequence[int] | None,
    valid: float,
    test: float,
    seed: int,
    group_by: NameRule | None,
) -> Dataset:
    """What `mask_folder` gives for a folder that was listed already."""
    root = Path(found.root)
    pairs, notes = paired(found, beside)
    files = [(identifier, source) for identifier, source, _, _ in pairs]
    groups = by_rule(group_by, "group_by", files) if group_by is not None else [None] * len(pairs)
    records = [
        Record(identifier, source, mask, group, part)
        for (identifier, source, mask, part), group in zip(pairs, groups, strict=True)
    ]
    legend, told = legend_of(root, [mask for _, _, mask, _ in pairs], classes, void)
    asked = [void] if isinstance(void, int) else None if void is None else list(void)
    place = {"path": str(root), "masks": None if beside is None else str(beside)}
    origin = describe_call(
        "mask_folder", valid, test, seed, **place, classes=as_json(classes), void=asked, group_by=describe(group_by)
    )
    every = [*notes, *told, *group_notes(records, group_by)]
    return assemble(root.name, records, str(root), every, origin, modality="scene", viewer=show_masks, legend=legend)


def are_masks(images: Sequence[tuple[str, str]]) -> bool:
    """Whether most of the images of a folder, which are (id, path), come with a mask in a folder called so."""
    found, masks = told_apart(images)
    return bool(masks) and len(matched(found, masks)[0]) >= MOSTLY * max(1, len(found))
