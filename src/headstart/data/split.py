"""Which records train, which choose and which judge: a pure function of the records, what is tied together, and the seed."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

from headstart.core import Dataset, Part, Record, Split
from headstart.data._draw import DRAWN, Draw, cannot_divide, count_of, units_of
from headstart.data.labels import from_names_advice
from headstart.errors import BadSetting, DataError
from headstart.modalities._scan import counted, quoted
from headstart.seeds import derive

_STRICTEST: tuple[Part, ...] = ("test", "valid", "train")


@runtime_checkable
class Divides(Protocol):
    """What is asked of a task here."""

    @property
    def divides(self) -> bool: ...

    def strata(self, raw: Sequence[Any]) -> list[str]: ...


def check_shares(valid: float, test: float) -> None:
    """Raises `BadSetting` unless `valid` is in (0, 1), `test` in [0, 1) and something is left to train on."""
    for name, share, good in (("valid", valid, 0 < valid < 1), ("test", test, 0 <= test < 1)):
        if not good:
            low = "above 0" if name == "valid" else "at least 0"
            hint = f" Did you mean {name}={share / 100:g}?" if 1 < share < 100 else ""
            raise BadSetting(f"{name} must be {low} and below 1 (a share of the images; 0.2 is a fifth), got {share}.{hint}")
    if valid + test >= 1:
        raise BadSetting(f"valid={valid} and test={test} leave nothing to train on. Their sum must be below 1.")


def make_split(dataset: Dataset, usable: Collection[str], tied: Mapping[str, str], task: Divides) -> Split:
    """The parts of a data set: as given where it came divided, else random, stratified as the task says, with every class in train.

    Records of one `group`, and records with the same key in `tied` (duplicates), are never separated by a random split. Each
    image's place in the draw hangs on the seed and its id alone, so a few more images move only a few others. Images that
    `dataset.placed` names are where it says, and what is tied to them goes along; the shares are of the others.

    Args:
        usable: ids that may be used; the audit's quarantine is not among them.
        tied: for ids that have duplicates, a key that they share.
        task: whose strata keep their shares in every part, and must all be trained where they are what it tells apart.

    Raises:
        DataError: too few images or classes, or classes to be judged that cannot be learned.
    """
    check_shares(dataset.valid, dataset.test)
    wanted = usable if isinstance(usable, set | frozenset | dict) else set(usable)
    labelled = [record for record in dataset.records if record.target is not None]
    strata = dict(zip((record.id for record in labelled), task.strata([record.target for record in labelled]), strict=True))
    records = [record for record in labelled if record.id in wanted]
    settled = _settled(dataset.placed, records, tied)
    parts: dict[str, Part] = {record.id: settled.get(record.id) or record.part or "train" for record in records}
    given: set[Part] = {record.part for record in records if record.part}
    given |= {record.part for record in labelled if record.part in DRAWN}
    shares = {"valid": dataset.valid, "test": dataset.test}
    draw: dict[Part, float] = {part: shares[part] for part in DRAWN if part not in given and shares[part] > 0}
    pool = [record for record in records if parts[record.id] == "train"]

    _check_enough(dataset, labelled, records, pool, task.divides)
    if task.divides:
        _check_classes(dataset, labelled, records, pool, strata)
    if "valid" in given and not any(part == "valid" for part in parts.values()):
        raise DataError(
            f"none of the images given for validation in {quoted(dataset.name)} can be read. Mend or remove that part."
        )
    free = [record for record in pool if record.id not in settled]
    units = units_of(free, tied)
    if draw and free:
        parts |= Draw(free, units, draw, dataset.seed, strata, task.divides, "valid" in settled.values()).run(dataset)
    elif "valid" in draw and "valid" not in parts.values():
        raise cannot_divide(dataset, count_of(pool, strata), len(units_of(pool, tied)), task.divides)
    return Split(
        train=tuple(record.id for record in records if parts[record.id] == "train"),
        valid=tuple(record.id for record in records if parts[record.id] == "valid"),
        test=tuple(record.id for record in records if parts[record.id] == "test"),
        seed=dataset.seed,
        rule=_rule(records, parts, given, draw, units, dataset.seed, settled, strata, task.divides, dataset.item),
    )


def folds(dataset: Dataset, ids: Sequence[str], tied: Mapping[str, str], task: Divides, count: int) -> dict[str, int]:
    """The fold of each of these records, in [0, count): each stratum evenly over them, and what `make_split` keeps together in one."""
    wanted = set(ids)
    records = [record for record in dataset.records if record.id in wanted]
    strata = dict(zip((record.id for record in records), task.strata([record.target for record in records]), strict=True))

    def place(unit: Sequence[Record]) -> tuple[str, int]:
        first = min(record.id for record in unit)
        return strata[first], derive(dataset.seed, "folds", first)

    units = sorted(units_of(records, tied), key=place)
    return {record.id: number % count for number, unit in enumerate(units) for record in unit}


def _settled(placed: Mapping[str, Part], records: Sequence[Record], tied: Mapping[str, str]) -> dict[str, Part]:
    """The part of every record that is placed or tied to one that is: what judges stays apart from what trains."""
    if not placed:
        return {}
    found: dict[str, Part] = {}
    for unit in units_of(records, tied):
        there: list[Part] = [placed[record.id] for record in unit if record.id in placed]
        if there:
            part = min(there, key=_STRICTEST.index)
            for record in unit:
                found[record.id] = part
    return {**found, **{name: placed[name] for name in found if name in placed}}


# ------------------------------------------------------------------------------------------------------- words for people


def _check_enough(
    dataset: Dataset, labelled: Sequence[Record], records: Sequence[Record], pool: Sequence[Record], of_classes: bool
) -> None:
    """Raises the lesson for data that cannot train anything, the simplest trouble first."""
    name, item = quoted(dataset.name), dataset.item
    if not records:
        if labelled:
            raise DataError(
                f"none of the {counted(len(labelled), item)} in {name} can be read. The audit says why, file by file."
            )
        raise DataError(
            f"{name} has no labelled {item}. Give each {item} a class folder, a pattern for its file name, or a row in a table."
        )
    if len(records) == 1:
        unread = f" that can be read (of {len(labelled)})" if len(labelled) > 1 else ""
        least = f"at least two {item}s of each of two classes" if of_classes else f"at least two {item}s, better hundreds"
        raise DataError(f"{name} has one {item}{unread}: nothing can be learned from it. Bring {least}.")
    if not pool:
        raise DataError(f"{name} has no {item} to train on: all are in valid or test. Add a part named train.")


def _check_classes(
    dataset: Dataset,
    labelled: Sequence[Record],
    records: Sequence[Record],
    pool: Sequence[Record],
    strata: Mapping[str, str],
) -> None:
    """Raises the lesson for classes that cannot be learned."""
    item = dataset.item
    part_of = {**{record.id: record.part for record in labelled}, **dataset.placed}
    readable = {strata[record.id] for record in pool}
    there = count_of((record for record in labelled if part_of[record.id] in (None, "train")), strata)
    lost = sorted(label for label in there if label not in readable)
    if lost:
        what = f"class {quoted(lost[0])} has" if len(lost) == 1 else f"{len(lost)} classes (first: {quoted(lost[0])}) have"
        count = f"{counted(there[lost[0]], item)} of {quoted(lost[0])}"
        raise DataError(f"{what} no training {item} that can be read ({count} cannot). Mend these files or take the class out.")
    absent: dict[str, Part | None] = {
        strata[record.id]: part_of[record.id] or "valid" for record in reversed(records) if strata[record.id] not in readable
    }
    if absent:
        raise _never_trained(dataset, count_of(records, strata), absent, sorted(readable))
    if len(readable) == 1:
        raise _one_class(dataset, labelled, str(next(iter(readable))))


def _never_trained(
    dataset: Dataset, sizes: Mapping[str, int], absent: Mapping[str, Part | None], known: Sequence[str]
) -> DataError:
    name, item = quoted(dataset.name), dataset.item
    labels = sorted(absent)
    first = labels[0]
    part = absent[first]
    close = get_close_matches(first, known, n=1, cutoff=0.6) or [label for label in known if label.casefold() == first.casefold()]
    hint = f" Did you mean {quoted(close[0])}?" if close else ""
    some = ", ".join(quoted(label) for label in labels[:5]) + (", ..." if len(labels) > 5 else "")
    number = sizes[first]
    return DataError(
        f"{counted(len(labels), 'class', 'classes')} of {name} cannot be learned, for train has no {item} of it: {some}. "
        f"({quoted(first)} has {counted(number, item)} in {part}; train has {counted(len(known), 'class', 'classes')}.){hint} "
        f"Move some of these {item}s to train, take the class out, or give no division at all: then one is drawn."
    )


def _one_class(dataset: Dataset, labelled: Sequence[Record], label: str) -> DataError:
    name, item = quoted(dataset.name), dataset.item
    advice = from_names_advice([record.id for record in labelled])
    return DataError(
        f"{name} has only one class ({quoted(label)}, {counted(len(labelled), item)}): a classifier needs two or more to tell "
        f"apart. Add {item}s of another class. If {quoted(label)} is no class, {advice}."
    )


def _rule(
    records: Sequence[Record],
    parts: Mapping[str, Part],
    given: Collection[Part],
    draw: Mapping[Part, float],
    units: Sequence[Sequence[Record]],
    seed: int,
    settled: Mapping[str, Part],
    strata: Mapping[str, str],
    classes: bool,
    item: str,
) -> str:
    """How the split came about, in words. `classes` tells whether the strata are classes, which must be judged too."""
    words = [f"{counted(len(settled), item)} placed beforehand"] if settled else []
    if given:
        words.append("given: " + ", ".join(part for part in ("train", *DRAWN) if part in given))
    if draw:
        drawn = " and ".join(f"{share:.0%} {part}" for part, share in draw.items())
        source = "the others" if settled else "train" if given else "all"
        stratified = f", stratified by {'class' if classes else 'label'}" if len(set(strata.values())) > 1 else ""
        words.append(f"{drawn} drawn at random from {source}{stratified}, seed {seed}")
        kept = [unit for unit in units if len(unit) > 1]
        if kept:
            n_images = sum(map(len, kept))
            words.append(f"{counted(len(kept), 'group')} of duplicates or related {item}s ({n_images:,} {item}s) kept together")
    sides: dict[str, set[Part]] = defaultdict(set)
    for record in records:
        if record.group is not None:
            sides[record.group].add(parts[record.id])
    torn = sorted(group for group, where in sides.items() if len(where) > 1)
    if torn:
        words.append(
            f"BEWARE: the given parts separate {counted(len(torn), 'group')} (first: {quoted(torn[0])}), so the score flatters"
        )
    named = {record.id: strata[record.id] for record in records if record.id in strata} if classes else {}
    unseen = sorted(set(named.values()) - {name for id, name in named.items() if parts[id] == "valid"})
    if unseen:
        words.append(f"without a validation {item}: {', '.join(map(quoted, unseen[:5]))}{', ...' if len(unseen) > 5 else ''}")
    return "; ".join(words)
