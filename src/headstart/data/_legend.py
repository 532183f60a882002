"""What the numbers in masks mean: named by the user, by a file beside the images, or by the masks themselves."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headstart.core import MaskFile
from headstart.data._paths import AnyPath, absolute
from headstart.errors import BadSetting, DataError
from headstart.modalities import _masks
from headstart.modalities._scan import quoted

Classes = Sequence[str] | Mapping[int, str] | AnyPath
NAMED = ("codes.txt", "classes.txt", "label_names.txt")
"""Files beside the images that name the classes, one in each line."""
NOBODY_KNOWS = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled", "unknown"})
LOOKED_AT = 64
"""Masks that are opened to find the numbers in them, where nobody names the classes."""
WHITE = 255


def legend_of(
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


def as_json(classes: Classes | None) -> list[str] | dict[str, str] | str | None:
    if classes is None or isinstance(classes, str | Path):
        return None if classes is None else str(absolute(classes))
    if isinstance(classes, Mapping):
        return {str(number): str(name) for number, name in classes.items()}
    return [str(name) for name in classes]  # pyright: ignore[reportGeneralTypeIssues]
