"""Labels and groups: as clean text, and from file names by a regular expression, by a function, or guessed for a message."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

from headstart.errors import BadSetting, DataError, NoLabels
from headstart.modalities._scan import clean, counted, quoted

NameRule = str | Callable[[Path], Any]
"""A regular expression whose first group (or group named `label` / `group`) is the answer, or a function of the path.

A pattern with a "/" in it is searched in the path inside the data set, any other in the file name alone.
"""
Setting = Literal["label", "group_by"]


def tidy(label: Any) -> str | None:
    """A label as clean text, or None where there is none: "", NaN and None. Whole floats lose their ".0"."""
    if label is None or (isinstance(label, float) and label != label):
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return clean(normalize("NFC", str(label)).strip()) or None


def several(labels: Collection[Any]) -> tuple[str, ...]:
    """The tidied labels that one example has, those of a set in order; an empty text for each that is not known."""
    return tuple(tidy(one) or "" for one in (sorted(labels) if isinstance(labels, set | frozenset) else labels))


def by_rule(rule: NameRule, setting: Setting, files: Sequence[tuple[str, str]]) -> list[str | None]:
    """The label (or group) of each file, given as (id, path); None where the rule says nothing.

    Raises:
        BadSetting: the expression is wrong, or has no group.
        DataError: the function fails.
    """
    if not isinstance(rule, str):
        return [_call(rule, setting, identifier, source) for identifier, source in files]
    pattern = _compile(rule, setting)
    name = setting.removesuffix("_by")
    group: str | int = name if name in pattern.groupindex else 1
    whole = "/" in rule
    matches = [pattern.search(identifier if whole else identifier.rpartition("/")[2]) for identifier, _ in files]
    found = [tidy(match[group]) if match else None for match in matches]
    return _merge_spellings(found) if pattern.flags & re.IGNORECASE else found


def describe(rule: NameRule | None) -> str | dict[str, str] | None:
    """The rule as plain JSON: a function cannot be stored, so only its name is."""
    if rule is None or isinstance(rule, str):
        return rule
    return {"function": getattr(rule, "__qualname__", type(rule).__qualname__)}


def _compile(rule: str, setting: Setting) -> re.Pattern[str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise BadSetting(f"{setting}={rule!r} is not a regular expression: {error}.") from None
    if not pattern.groups:
        what = "label" if setting == "label" else "group"
        raise BadSetting(f"{setting}={rule!r} has no group. Put parentheses around what is the {what}, as in {_EXAMPLE!r}.")
    return pattern


_EXAMPLE = r"^(.+)_\d+"


def _call(rule: Callable[[Path], Any], setting: Setting, identifier: str, source: str) -> str | None:
    try:
        return tidy(rule(Path(source)))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        message = (
            f"the function given as {setting} failed on {quoted(identifier)} ({problem}). Return None for files to leave out."
        )
        raise DataError(message) from error


def _merge_spellings(labels: list[str | None]) -> list[str | None]:
    """With `(?i)` "Cat" and "cat" are one class, spelled as most files do."""
    spellings = Counter(label for label in labels if label is not None)
    chosen: dict[str, str] = {}
    for label, _ in sorted(spellings.items(), key=lambda item: (-item[1], item[0])):
        chosen.setdefault(label.casefold(), label)
    return [None if label is None else chosen[label.casefold()] for label in labels]


# ------------------------------------------------------------------------------------------------------------ guessing


@dataclass(frozen=True, slots=True)
class Guess:
    """A pattern that would divide the files sensibly, with the classes it would give, the largest first."""

    pattern: str
    classes: tuple[str, ...]


_PATTERNS = (
    r"^(.+)_\d+\.",  # yorkshire_terrier_12.jpg
    r"^(.+)\.\d+\.",  # cat.0.jpg
    r"^(\D+)\d+\.",  # cat12.jpg
    r"^(.+?)[ _.\-]*\(?\d+\)?\.\w+$",  # cat (3).jpg
    r"^\d+[ _.\-]+(.+?)\.\w+$",  # 0001_cat.jpg
    r"^([^_]+)_",  # cat_a8f3.jpg
    r"^([^\-]+)-",  # cat-a8f3.jpg
    r"_([^_]+)\.\w+$",  # scan_17b_cat.jpg
    r"-([^\-]+)\.\w+$",  # scan-17b-cat.jpg
)
_CAMERAS = frozenset(
    {"img", "dsc", "dscn", "dscf", "pxl", "image", "photo", "picture", "pic", "screenshot", "frame", "scan", "whatsapp"}
)


def guess_pattern(ids: Iterable[str]) -> Guess | None:
    """The first usual naming scheme that gives every file a class, several files to most classes, and at least two classes."""
    names = [identifier.rpartition("/")[2] for identifier in ids]
    names = names[:: max(1, len(names) // 2000)]
    for pattern in _PATTERNS:
        found = [re.search(pattern, name) for name in names]
        classes = Counter(match[1] for match in found if match)
        matched = sum(classes.values())
        if matched < 0.95 * len(names) or not 2 <= len(classes) <= matched / 2:
            continue
        words = {label.casefold().rstrip("0123456789 _-.") for label in classes}
        if words <= _CAMERAS or not any(any(map(str.isalpha, word)) for word in words):
            continue
        return Guess(pattern, tuple(label for label, _ in classes.most_common()))
    return None


def from_names_advice(ids: Sequence[str]) -> str:
    """How labels could be read from these file names: with a guessed pattern if there is one."""
    guess = guess_pattern(ids)
    if guess is None:
        ask = "give a regular expression whose group is the class, if file names tell it"
        return f"{ask}: label=r'{_EXAMPLE}' (--label on the command line)"
    some = ", ".join(quoted(label) for label in guess.classes[:4]) + (", ..." if len(guess.classes) > 4 else "")
    gives = f"{counted(len(guess.classes), 'class', 'classes')}: {some}"
    return f"the file names seem to tell the class: label=r'{guess.pattern}' (--label on the command line) would give {gives}"


def no_labels(folder: str, ids: Sequence[str], tables: Sequence[str] = ()) -> NoLabels:
    """The error for images that lie in no class folder: the three ways to say what they show, with a guess at the second."""
    table = f"{folder}/{min(tables)}" if tables else "labels.csv"
    there = " (it lies there already)" if tables else ""
    return NoLabels(
        f"{quoted(folder)} holds {counted(len(ids), 'image')} (first: {quoted(ids[0])}) but no class folders, so nothing says "
        "what they show. "
        f"There are three ways to say it. 1. One folder for each class: {folder}/cat/1.jpg, {folder}/dog/2.jpg. "
        f"2. By file name: {from_names_advice(ids)}; in Python label may also be a function, as "
        'label=lambda path: "cat" if path.name[0].isupper() else "dog". '
        f"3. A table with the columns image,label: give {clean(table)}{there} in place of the folder."
    )
