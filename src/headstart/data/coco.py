"""Images with several labels from a COCO-style JSON file: the categories of an image's annotations are its labels."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import Any

from headstart.core import Dataset, Record
from headstart.data._assemble import assemble, describe_call
from headstart.data._columns import Losses
from headstart.data._finder import Finder, identifier_of
from headstart.data._paths import AnyPath, absolute, not_there
from headstart.data.split import check_shares
from headstart.errors import BadTable
from headstart.modalities._scan import counted, quoted


def coco_json(
    path: AnyPath, folder: AnyPath | None = None, valid: float = 0.2, test: float = 0.0, seed: int = 0, group_by: None = None
) -> Dataset:
    """The images of a COCO-style file (images, annotations, categories), each with the names of the categories found in it.

    An image without annotations has none of the labels. Boxes, masks and crowds are not looked at. Images whose file is not
    there are left out and counted in the notes.

    Args:
        folder: where the file names start; the folder of the JSON file when None, or a folder inside it.

    Raises:
        BadTable: no such file, no JSON, or not in the form of COCO.
    """
    check_shares(valid, test)
    file = absolute(path)
    if not file.is_file():
        raise not_there(path)
    base = absolute(folder) if folder is not None else file.parent
    if not base.is_dir():
        raise not_there(base)
    images, annotations, names = _parts(file)
    found, losses = _labels(images, annotations, names)
    finder, records, missing = Finder(str(base)), [], []
    for entry in images:
        source = finder.find(str(entry.get("file_name") or ""))
        if source is None:
            missing.append(str(entry.get("file_name")))
            continue
        labels = found.get(entry.get("id"), set())
        records.append(Record(identifier_of(source, str(base)), source, None if labels is None else tuple(sorted(labels))))
    notes = [*finder.notes(), *(note.replace("row", "annotation").replace("line", "number") for note in losses.sentences())]
    if missing:
        notes.append(f"Left out {counted(len(missing), 'image')} whose file does not exist (first: {quoted(missing[0])}).")
    if not records:
        raise BadTable(
            f"none of the {counted(len(images), 'image')} that {quoted(file.name)} names is in {quoted(str(base))} "
            f"(the first: {quoted(missing[0] if missing else '')}). If they lie elsewhere, give folder=..."
        )
    bare = sum(record.target == () for record in records)
    if bare:
        notes.append(f"{counted(bare, 'image has', 'images have')} no annotation: none of the labels holds there.")
    if unknown := sum(record.target is None for record in records):
        notes.append(f"Left out {counted(unknown, 'image')} of which no annotation has a category with a name.")
    place = {"path": str(file), "folder": None if folder is None else str(base)}
    return assemble(file.stem, _unique(records), str(base), notes, describe_call("coco_json", valid, test, seed, **place))


def _labels(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], names: Mapping[Any, str]
) -> tuple[dict[Any, set[str] | None], Losses]:
    """The labels of each image by its number, None where all that is said of it is nameless; and what was left out."""
    found: dict[Any, set[str]] = defaultdict(set)
    nameless, losses, known = set(), Losses(), {entry.get("id") for entry in images}
    for place, annotation in enumerate(annotations):
        image, category = annotation.get("image_id"), names.get(annotation.get("category_id"))
        if image not in known:
            losses.add("of images that the file does not name", place, str(image))
        elif category is None:
            losses.add("of categories that the file does not name", place, str(annotation.get("category_id")))
            nameless.add(image)
        else:
            found[image].add(category)
    return found | dict.fromkeys(nameless - set(found)), losses


def _unique(records: Sequence[Record]) -> list[Record]:
    """Each file once, with the labels of all its entries."""
    by: dict[str, Record] = {}
    for record in records:
        known = by.get(record.id)
        told = [each.target for each in (record, known) if each is not None and each.target is not None]
        by[record.id] = Record(record.id, record.source, tuple(sorted(set().union(*told))) if told else None)
    return list(by.values())


def _parts(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[Any, str]]:
    """The images, the annotations, and the names of the categories by their number."""
    try:
        told = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadTable(f"{quoted(fspath(file.name))} cannot be read as JSON: {error}.") from None
    wanted = ("images", "annotations", "categories")
    if not isinstance(told, dict) or not all(_is_table(told.get(key)) for key in wanted):
        has = ", ".join(map(quoted, list(told)[:8])) if isinstance(told, dict) else f"a {type(told).__name__}"
        raise BadTable(
            f'{quoted(file.name)} is not in the form of COCO: it needs the lists "images", "annotations" and "categories", and has {has}.'
        )
    names = {each.get("id"): str(each["name"]) for each in told["categories"] if each.get("name")}
    if not names:
        raise BadTable(
            f'{quoted(file.name)} has no category with a name: there would be nothing to learn. "categories" names them.'
        )
    return told["images"], told["annotations"], names


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)
