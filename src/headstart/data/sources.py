"""Data sets from folders, tables and arrays, and from the description of one that was opened before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import fspath
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headstart.core import Dataset, Record
from headstart.data import coco, fixes, huggingface, masks, rows
from headstart.data._assemble import assemble, describe_call, group_notes
from headstart.data._layout import Layout, read_layout
from headstart.data._paths import AnyPath, absolute, moved, not_there
from headstart.data.labels import NameRule, by_rule, describe, guess_pattern, no_labels
from headstart.data.split import check_shares
from headstart.data.table import read_table
from headstart.errors import BadSetting, DataError, unknown_name
from headstart.modalities._scan import IMAGE_SUFFIXES, TABLE_SUFFIXES, Scan, counted, quoted, scan

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})

# ----------------------------------------------------------------------------------------------------------------- folders


def image_folder(
    path: AnyPath,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    label: NameRule | None = None,
    group_by: NameRule | None = None,
) -> Dataset:
    """The images under a folder, with their classes from folder names or, by `label`, from file names.

    Folders named train, valid (val, validation) and test divide the data; otherwise `valid` and `test` are shares to draw.
    Nothing is opened or decoded here, and the folder is never written to.

    Args:
        label: a regular expression whose first group (or group named `label`) is the class, searched in the file name, or in
            the path inside the folder if it contains a "/"; or a function of the file's Path (None: leave the file out).
        group_by: the same (named group: `group`) for images that must stay on one side of the split: a patient, a burst.

    Raises:
        DataError: no such folder, or no image in it.
        NoLabels: images, but nothing that tells their classes.
        BadSetting: a share outside its range, or a wrong regular expression.
    """
    check_shares(valid, test)
    return _of_folder(path, _scan_folder(path), valid, test, seed, label, group_by)


def _of_folder(
    path: AnyPath, found: Scan, valid: float, test: float, seed: int, label: NameRule | None, group_by: NameRule | None
) -> Dataset:
    """What `image_folder` gives for a folder that was listed already."""
    layout = read_layout(found.images)
    classes, notes = _classes_and_notes(layout, label, found, fspath(path).rstrip("/\\") or ".")
    groups = by_rule(group_by, "group_by", layout.images) if group_by is not None else [None] * len(classes)
    found_rows = zip(layout.images, classes, groups, layout.parts, strict=True)
    records = [Record(*image, target, group, part) for image, target, group, part in found_rows if target is not None]
    origin = describe_call("image_folder", valid, test, seed, path=found.root, label=describe(label), group_by=describe(group_by))
    notes += [*group_notes(records, group_by), *found.notes()]
    return assemble(Path(found.root).name, records, found.root, notes, origin)


def _classes_and_notes(layout: Layout, label: NameRule | None, found: Scan, folder: str) -> tuple[list[str | None], list[str]]:
    """The class of each image, by its folder or by the rule, and what the user should know of how they were found."""
    ids = [identifier for identifier, _ in layout.images]
    if label is None:
        classes, notes, trouble = layout.classes, [*layout.notes, *layout.class_notes], "beside the class folders"
        if classes.count(None) > len(classes) / 2 and len(set(classes) - {None}) < 2:
            raise no_labels(folder, ids, found.tables)
    else:
        classes, notes = by_rule(label, "label", layout.images), list(layout.notes)
        trouble = "to which the rule for labels gives none"
        if not any(classes):
            raise _nothing_matched(label, ids)
    lost = [identifier for identifier, target in zip(ids, classes, strict=True) if target is None]
    if lost:
        notes.append(f"Left out {counted(len(lost), 'image')} {trouble} (first: {quoted(lost[0])}).")
    return classes, notes


def _scan_folder(path: AnyPath) -> Scan:
    """The images below a folder, at least one."""
    root = absolute(path)
    name = quoted(fspath(path))
    if not root.is_dir():
        if not root.exists():
            raise not_there(path)
        hint = " Use image_csv for a table." if root.suffix.lower() in TABLE_SUFFIXES else ""
        raise DataError(f"{name} is a file, not a folder of images.{hint}")
    try:
        found = scan(str(root))
    except OSError as error:
        raise DataError(f"the folder {name} cannot be read: {error.strerror or error}. Check its permissions.") from None
    if not found.images:
        what = "holds no files" if not found.others else "holds no images"
        advice = "Give a folder that holds images."
        if any(ending in _ARCHIVES for ending in found.others):
            advice = "Unpack the archive in it first."
        raise DataError(f"the folder {name} {what}. {' '.join([*found.notes(), advice])}")
    return found


def _nothing_matched(label: NameRule, ids: Sequence[str]) -> DataError:
    rule = "the function given as label" if not isinstance(label, str) else f"label={label!r}"
    guess = guess_pattern(ids)
    hint = f" label=r'{guess.pattern}' would give {', '.join(map(quoted, guess.classes[:4]))}." if guess else ""
    some = ", ".join(map(quoted, ids[:3]))
    return DataError(f"{rule} gives no label to any of {counted(len(ids), 'image')} (the first are {some}).{hint}")


# ------------------------------------------------------------------------------------------------------------------ tables


def image_csv(
    path: AnyPath,
    folder: AnyPath | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: NameRule | None = None,
) -> Dataset:
    """The images named in a CSV or TSV file with their labels; columns are recognised by their usual names or contents.

    A column is_valid (true, false) or part (train, valid, test) divides the data; a column group keeps images together. Rows
    without a file or label are left out and counted in the notes.

    Args:
        folder: where relative paths start; the folder of the table when None.
        label_column: one, or several for examples with several labels (1 or 0 in each) or numbers.
        group_by: the name of a column, or a rule for the path as in `image_folder`.

    Raises:
        BadTable: no such table, or no row of it can be used.
        UnknownName: a column that does not exist, with the nearest names.
    """
    check_shares(valid, test)
    table = absolute(path)
    if table.is_dir():
        raise DataError(f"{quoted(fspath(path))} is a folder, not a table. Use image_folder.")
    if not table.is_file():
        raise not_there(path)
    base = None if folder is None else absolute(folder)
    if base is not None and not base.is_dir():
        raise not_there(base)
    records, labels, notes = read_table(table, base, image_column, label_column, group_by)
    asked = label_column if label_column is None or isinstance(label_column, str) else list(label_column)
    columns = {"image_column": image_column, "label_column": asked, "group_by": describe(group_by)}
    place = {"path": str(table), "folder": None if base is None else str(base)}
    origin = describe_call("image_csv", valid, test, seed, **place, **columns)
    return assemble(
        table.stem, records, str(base or table.parent), [*notes, *group_notes(records, group_by)], origin, columns=labels
    )


# --------------------------------------------------------------------------------------------------------- whatever it is


def open_path(
    path: AnyPath,
    folder: AnyPath | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    label: NameRule | None = None,
    group_by: NameRule | None = None,
    text_column: str | None = None,
    mask_folder: AnyPath | None = None,
    classes: masks.Classes | None = None,
    void: Sequence[int] | None = None,
) -> Dataset:
    """The data set at a path: `image_folder` for a folder, `mask_folder` where its images have masks; a table or .json by what it holds.

    A .csv or .tsv is read by `image_csv`, `text_csv` or `array_csv`, a .json by `coco_json`. A table holds texts where one of its columns
    is called so (text, sentence), numbers where no column names files and all that could be read of it besides the label are numbers.
    """
    root, name = absolute(path), quoted(fspath(path))
    if root.is_dir():
        columns = (("image_column", image_column), ("label_column", label_column), ("text_column", text_column))
        for setting, value in (("folder", folder), *columns):
            if value is not None:
                raise BadSetting(f"{setting}={value!r} is for tables, but {name} is a folder.")
        if mask_folder is not None or classes is not None or void is not None:
            return masks.mask_folder(path, mask_folder, classes, void, valid, test, seed, group_by)
        check_shares(valid, test)
        found = _scan_folder(path)
        if label is None and masks.are_masks(found.images):
            return masks.of_folder(found, None, None, None, valid, test, seed, group_by)
        return _of_folder(path, found, valid, test, seed, label, group_by)
    if not root.exists():
        raise not_there(path)
    suffix = root.suffix.lower()
    if suffix in _ARCHIVES:
        raise DataError(f"{name} is an archive. Unpack it and give the folder.")
    if suffix in IMAGE_SUFFIXES:
        raise DataError(f"{name} is a single image. Give a folder with one folder of images for each class, or a .csv table.")
    if suffix == ".json":
        return coco.coco_json(path, folder, valid, test, seed)
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{name} is neither a folder nor a .csv or .tsv table. Save a table of another kind as CSV (UTF-8).")
    if label is not None:
        raise BadSetting(
            f"label reads classes from file names, but {name} is a table: its label column tells them (label_column=...)."
        )
    kind = "image" if folder is not None else rows.kind_of(root, image_column, text_column, label_column)
    if kind == "image":
        return image_csv(path, folder, image_column, label_column, valid, test, seed, group_by)
    if group_by is not None and not isinstance(group_by, str):
        raise BadSetting(f"group_by names a column of {name}: its rows have no path that a function could read.")
    if kind == "text":
        return rows.text_csv(path, text_column, label_column, valid, test, seed, group_by)
    return rows.array_csv(path, label_column, None, valid, test, seed, group_by)


def open_as(path: AnyPath, reading: Mapping[str, Any]) -> Dataset:
    """`open_path` with what is known of the reading by the names that an origin has for it."""
    return open_path(path, **{"mask_folder" if name == "masks" else name: value for name, value in reading.items()})


def takes(origin: Mapping[str, Any], reading: Mapping[str, Any]) -> bool:
    """Whether data of that origin is read with settings of these names."""
    kind = str(origin.get("kind"))
    return kind in KINDS and KINDS[kind][1] >= set(reading)


def from_origin(
    origin: Mapping[str, Any],
    path: AnyPath | None = None,
    folder: AnyPath | None = None,
    label: Callable[[Path], Any] | None = None,
    group_by: Callable[[Path], Any] | None = None,
    masks: AnyPath | None = None,
) -> Dataset:
    """The data set that `Dataset.origin` describes, opened again from the files as they are now.

    Args:
        path: where the folder or table is now, if it has moved.
        folder: where the images of a table are now, if they have moved.
        masks: where the masks are now, if they have moved.
        label: the function it was made with (a run keeps only its name).
        group_by: the same.

    Raises:
        DataError: it came from arrays, or is no longer there.
        BadSetting: it was made with a function that is not given here.
    """
    settings = dict(origin)
    kind, applied = settings.pop("kind", None), settings.pop("fixes", ())
    if kind == "from_arrays":
        raise DataError(
            "this data set was made from arrays in memory, which are not kept. Make it again with from_arrays and pass it."
        )
    common = {"path", "valid", "test", "seed", "group_by"}
    if kind not in KINDS:
        raise unknown_name("kind of data", str(kind), KINDS)
    open_again, own = KINDS[kind]
    for key in settings:
        if key not in common | own:
            raise unknown_name("setting of a data set", key, common | own)
    if path is None and "path" not in settings:
        raise DataError(f"what is known of this data set ({kind}) records no path. Give path=...")
    rules = {"group_by": group_by, "label": label} if "label" in own else {"group_by": group_by}
    settings |= {setting: _rule(setting, settings.get(setting), function) for setting, function in rules.items()}
    places = (("path", path), ("folder", folder), ("masks", masks))
    given = {setting: place for setting, place in places if place is not None}
    dataset = _opened_elsewhere(open_again, settings, given)
    for fixed in applied:
        dataset = fixes.apply_again(dataset, fixed)
    return dataset


def _opened_elsewhere(open_again: Callable[..., Dataset], settings: Mapping[str, Any], given: Mapping[str, AnyPath]) -> Dataset:
    """The data with the places that are given now. Masks, and the images of a table, lie to it as before, or beside it.

    Only where a table finds no image so are they where they were: names may agree, and those are the images of another table.
    """
    apart = [setting for setting in ("masks", "folder") if settings.get(setting) and "path" in given and setting not in given]
    places = {setting: moved(settings[setting], settings["path"], given["path"]) for setting in apart}
    try:
        found = open_again(**{**settings, **places, **given})
    except DataError:
        if places.get("folder", "") is not None:
            raise
        return open_again(**{**settings, **given})
    told = tuple(f"The {setting} of these images: {place}." for setting, place in places.items() if setting == "masks" and place)
    return replace(found, notes=(*found.notes, *told))


def _rule(setting: str, stored: Any, function: Callable[[Path], Any] | None) -> Any:
    if isinstance(stored, Mapping) and function is None:
        name = quoted(str(stored.get("function", "")))
        raise BadSetting(
            f"this data set was made with {setting}=(a function, {name}), which cannot be stored. Pass {setting}=... again."
        )
    return function or stored


KINDS: Mapping[str, tuple[Callable[..., Dataset], frozenset[str]]] = MappingProxyType(
    {
        "image_folder": (image_folder, frozenset({"label"})),
        "image_csv": (image_csv, frozenset({"folder", "image_column", "label_column"})),
        "text_csv": (rows.text_csv, frozenset({"text_column", "label_column"})),
        "array_csv": (rows.array_csv, frozenset({"label_column", "input_columns"})),
        "mask_folder": (masks.mask_folder, frozenset({"masks", "classes", "void"})),
        "coco_json": (coco.coco_json, frozenset({"folder"})),
        "from_huggingface": (huggingface.opened_again, frozenset({"example_column", "label_column", "name"})),
    }
)
"""What opens data of each kind again, and its own settings besides those that all have."""
