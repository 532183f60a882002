"""What is wrong with a data set: broken files, copies, contradicting labels, leaks, small classes; in JSON and in sentences."""

from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal, Protocol, runtime_checkable

from headstart.core import Dataset, Label, MaskFile, Progress
from headstart.data._fingerprint import Pictures
from headstart.data._groups import Ids, Union, same_content, same_picture
from headstart.data._steps import exhausted
from headstart.errors import DataError
from headstart.modalities._scan import counted
from headstart.modalities.image import shown

SMALL_CLASS = 5
UNBALANCED = 5
"""Told when the largest class has this many times the images of the smallest."""
SHOWN = 3

_REASONS = {
    "missing": "missing",
    "permission": "not allowed to be read",
    "empty": "empty",
    "not_an_image": "no image",
    "truncated": "damaged or cut short",
    "bomb": "too large to open",
    "heic": "HEIC (convert them to JPEG)",
    "raw": "camera raw (export them as JPEG)",
    "unsupported": "of an unsupported kind",
    "mask": "with a mask that does not fit",
    "not_finite": "with infinite numbers or none at all",
}
_NOTES = {
    "exif_rotated": "turned upright as their EXIF data says",
    "wrong_extension": "named as another format than they are",
    "transparency": "transparent, shown on white",
    "16_bit": "16-bit grey, scaled to 8 bits",
    "float": "of real numbers, scaled to 8 bits",
    "cmyk": "CMYK, converted to RGB",
    "animated": "animated, first frame used",
    "other_mode": "of another colour space, converted to RGB",
    "cut": "longer than the model reads, cut",
    "missing_numbers": "with missing numbers, for which the mean stands",
}


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one pass over a file found."""

    id: str
    status: Literal["ok", "quarantined"]
    reason: str = ""
    message: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    notes: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in all files together. Groups are tuples of ids in the order of the data set.

    `exact` groups are byte for byte the same; `conflicts` those of them with different labels. `near` groups show the same
    picture (re-encoded, scaled, recoloured, mirrored, slightly cut, or taken in a burst), closer than `near_distance`, exact
    copies among them included. `leaks` are groups of either kind that lie in more than one given part.
    """

    files: tuple[FileReport, ...]
    labels: Mapping[str, Label | None]
    exact: tuple[Ids, ...]
    conflicts: tuple[Ids, ...]
    near: tuple[Ids, ...]
    leaks: tuple[Ids, ...]
    near_distance: float
    classes: Mapping[str, int]
    """Usable images per class, also classes without any."""
    divided: bool = False
    """Whether the data came with parts."""
    item: str = "image"
    """What one example is called."""

    @property
    def quarantine(self) -> tuple[FileReport, ...]:
        """The files that cannot be used, with reason and message."""
        return tuple(file for file in self.files if file.status == "quarantined")

    @property
    def small_classes(self) -> dict[str, int]:
        """Classes with fewer than five usable images."""
        return {name: count for name, count in self.classes.items() if count < SMALL_CLASS}

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each of the smallest that has any."""
        counts = [count for count in self.classes.values() if count]
        return max(counts) / min(counts) if counts else 1.0

    def usable(self) -> frozenset[str]:
        """The ids of the files that can be used."""
        return frozenset(file.id for file in self.files if file.status == "ok")

    def groups(self) -> dict[str, str]:
        """For each id that has copies, a key that it shares with them: what a random split must not separate."""
        union = Union()
        for group in (*self.exact, *self.near):
            union.join(group)
        return {name: union.root(name) for group in (*self.exact, *self.near) for name in group}

    def json(self) -> dict[str, Any]:
        """What `audit.json` holds."""
        usable = [file for file in self.files if file.status == "ok"]
        remarks: dict[str, list[str]] = defaultdict(list)
        for file in usable:
            for note in file.notes:
                remarks[note].append(file.id)
        return {
            "files": len(self.files),
            "usable": len(usable),
            "quarantine": [{"id": file.id, "reason": file.reason, "message": file.message} for file in self.quarantine],
            "exact_duplicates": [list(group) for group in self.exact],
            "conflicting_labels": [{name: self.labels.get(name) for name in group} for group in self.conflicts],
            "near_duplicates": [list(group) for group in self.near],
            "near_distance": self.near_distance,
            "leaks": [list(group) for group in self.leaks],
            "classes": dict(self.classes),
            "small_classes": self.small_classes,
            "imbalance": round(self.imbalance, 3),
            "width": _spread([file.width for file in usable]),
            "height": _spread([file.height for file in usable]),
            "formats": dict(Counter(file.format for file in usable).most_common()),
            "modes": dict(Counter(file.mode for file in usable).most_common()),
            "remarks": dict(remarks),
        }

    def summary(self) -> list[str]:
        """Short sentences for people, the gravest first; none when nothing is worth a word."""
        return [*left_out(self.files, " in audit.json"), *_copied(self), *_unequal(self), *_remarked(self)]


@runtime_checkable
class Counts(Protocol):
    """What is asked of a task here."""

    def counts(self, raw: Sequence[Any]) -> Mapping[str, int]: ...


def with_faults(reports: Sequence[FileReport], faults: Mapping[int, str]) -> list[FileReport]:
    """What was found in each file, and what is wrong with its label, by its place, where that had to be read too."""
    return [
        replace(report, status="quarantined", reason="mask", message=faults[place])
        if place in faults and report.status == "ok"
        else report
        for place, report in enumerate(reports)
    ]


def audit(dataset: Dataset, reports: Sequence[FileReport], pictures: Pictures, task: Counts) -> Audit:
    """What is wrong with a data set, from what was found in each of its files and a small grey picture of each."""
    return exhausted(auditing(dataset, reports, pictures, task))


def auditing(
    dataset: Dataset, reports: Sequence[FileReport], pictures: Pictures | None, task: Counts
) -> Generator[Progress, None, Audit]:
    """Returns the `audit`; tells how far it is where that takes long. The task tells which classes there are.

    Without `pictures` no look-alikes are looked for.
    """
    # masks of equal images differ by their names alone
    labels = {record.id: None if isinstance(record.target, MaskFile) else record.target for record in dataset.records}
    usable = [report for report in reports if report.status == "ok"]
    exact = same_content({report.id: report.digest for report in usable})
    names = [report.id if report.status == "ok" else None for report in reports]
    near, distance = (), 0.0
    if pictures is not None:
        near, distance = yield from same_picture(names, pictures, exact)
    parts = {record.id: record.part for record in dataset.records if record.part}
    counts = task.counts([label for report in usable if (label := labels[report.id]) is not None])
    classes = task.counts([label for label in labels.values() if label is not None])
    covered = {name for group in near for name in group}
    every = (*near, *(group for group in exact if group[0] not in covered))
    return Audit(
        files=tuple(reports),
        labels=labels,
        exact=exact,
        conflicts=tuple(group for group in exact if len({labels[name] for name in group} - {None}) > 1),
        near=near,
        leaks=tuple(group for group in every if len({parts[name] for name in group if name in parts}) > 1),
        near_distance=distance,
        classes={name: counts.get(name, 0) for name in classes},
        divided=bool(parts),
        item=dataset.item,
    )


def require_usable(dataset: Dataset, found: Audit) -> None:
    """Nothing, when at least one image can be used.

    Raises:
        DataError: a lesson, with the reasons and the first message.
    """
    if not found.files:
        raise DataError(
            f"{shown(dataset.name)} holds no image. Give a folder with one folder of images for each class, or a .csv table."
        )
    if not found.usable():
        files = f"none of the {len(found.files):,} files" if len(found.files) > 1 else "the only file"
        first = found.quarantine[0].message
        raise DataError(f"{files} of {shown(dataset.name)} can be used: {reasons(found.quarantine)}. The first: {first}")


# ---------------------------------------------------------------------------------------------------------------- in words


def left_out(files: Sequence[FileReport], where: str = "") -> list[str]:
    """Two lines on the files that cannot be used: how many and why, then the first few by name. None where all can."""
    bad = [file for file in files if file.status == "quarantined"]
    if not bad:
        return []
    more = f" ({len(bad) - SHOWN:,} more{where})" if len(bad) > SHOWN else ""
    left = "is left out" if len(bad) == 1 else "are left out"
    return [
        f"{len(bad):,} of {counted(len(files), 'file')} cannot be used and {left}: {reasons(bad)}.",
        f"Left out: {' · '.join(file.message for file in bad[:SHOWN])}{more}",
    ]


def reasons(bad: Sequence[FileReport]) -> str:
    """How many there are of each reason."""
    return ", ".join(f"{n:,} {_REASONS.get(reason, reason)}" for reason, n in Counter(file.reason for file in bad).most_common())


def _copied(found: Audit) -> list[str]:
    lines = []
    if found.exact:
        n = counted(
            sum(len(group) - 1 for group in found.exact), f"{found.item} is an exact copy", f"{found.item}s are exact copies"
        )
        lines.append(f"{n} of another: {_named(found.exact, found)}.")
    if found.conflicts:
        n = counted(len(found.conflicts), "group of exact copies carries", "groups of exact copies carry")
        lines.append(f"{n} different labels, of which at most one is right: {_named(found.conflicts, found)}.")
    if found.near:
        n, images = counted(len(found.near), "group"), counted(sum(map(len, found.near)), "image")
        kept = "" if found.divided else " A random split keeps each together."
        lines.append(f"{n} of near-duplicates ({images} that show nearly the same): {_named(found.near, found)}.{kept}")
    if found.leaks:
        n = counted(len(found.leaks), "group of copies lies", "groups of copies lie")
        better = "so results there look better than they are"
        lines.append(f"{n} in more than one of the given parts, {better}: {_named(found.leaks, found)}.")
    return lines


def _named(groups: Sequence[Ids], found: Audit) -> str:
    """The first group by name, with its labels where they differ."""
    group = groups[0][:SHOWN]
    differ = len({found.labels.get(name) for name in groups[0]}) > 1
    names = " = ".join(f"{shown(name)} ({found.labels.get(name)})" if differ else shown(name) for name in group)
    return names + (", and so on" if len(groups) > 1 or len(groups[0]) > SHOWN else "")


def _unequal(found: Audit) -> list[str]:
    lines = []
    if small := found.small_classes:
        some = ", ".join(f"{shown(name)} ({count})" for name, count in list(small.items())[:8]) + (
            ", ..." if len(small) > 8 else ""
        )
        n = counted(len(small), "class has", "classes have")
        lines.append(f"{n} fewer than {SMALL_CLASS} usable {found.item}s, too few to learn from: {some}.")
    if found.imbalance >= UNBALANCED:
        ordered = sorted((count, name) for name, count in found.classes.items() if count)
        (least, rare), (most, common) = ordered[0], ordered[-1]
        counts = f"{shown(common)} has {most:,} {found.item}s, {shown(rare)} {least:,}"
        lines.append(f"The classes are unequal: {counts}. Look at more than the error rate.")
    return lines


def _remarked(found: Audit) -> list[str]:
    tally = Counter(note for file in found.files if file.status == "ok" for note in file.notes)
    said = [f"{tally[note]:,} {words}" for note, words in _NOTES.items() if tally[note]]
    return [f"Files that are used, but odd: {'; '.join(said)}."] if said else []


def _spread(values: Sequence[int]) -> dict[str, int | float]:
    return {"min": min(values), "median": median(values), "max": max(values)} if values else {}
