"""The random draw of a split: whole units, stratified, every stratum that must be trained in train."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headstart.core import Dataset, Part, Record
from headstart.data._groups import Union
from headstart.errors import DataError
from headstart.modalities._scan import counted, quoted
from headstart.seeds import derive

Placed = list[tuple[list[Record], Part]]
DRAWN: tuple[Part, ...] = ("valid", "test")


def units_of(records: Sequence[Record], tied: Mapping[str, str]) -> list[list[Record]]:
    """The records in lists that must stay together: connected by a shared group or a shared key of `tied`."""
    union = Union()
    for record in records:
        for kind, key in (("group", record.group), ("tied", tied.get(record.id))):
            if key is not None:
                union.join((f"{kind} {key}", f"record {record.id}"))
    units: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        units[union.root(f"record {record.id}")].append(record)
    return list(units.values())


@dataclass
class Draw:
    """One stratified draw of whole units."""

    pool: Sequence[Record]
    units: Sequence[list[Record]]
    shares: Mapping[Part, float]
    seed: int
    strata: Mapping[str, str]
    must_train: bool
    """Whether each stratum must be in train."""
    judged: bool = False
    """Whether images that are not drawn validate already."""
    taken: dict[Part, Counter[str]] = field(default_factory=dict)

    def run(self, dataset: Dataset) -> dict[str, Part]:
        """The part of every record of the pool."""
        sizes = count_of(self.pool, self.strata)
        targets = _targets(sizes, self.shares, int(self.must_train))
        self.taken = {part: Counter() for part in targets}
        ordered = sorted(self.units, key=lambda unit: derive(self.seed, "split", min(record.id for record in unit)))
        # Large units first (in coarse steps, so that the seed still decides), single images last: they fill what is missing.
        bundles = sorted((unit for unit in ordered if len(unit) > 1), key=lambda unit: -len(unit).bit_length())
        placed: Placed = [(unit, self._place(self._best(unit, targets), unit)) for unit in bundles]
        for unit in ordered:
            if len(unit) == 1:
                label = self.strata[unit[0].id]
                open_parts: list[Part] = [part for part in self.shares if self.taken[part][label] < targets[part][label]]
                placed.append((unit, self._place(open_parts[0] if open_parts else "train", unit)))
        if self.must_train:
            self._every_class_trains(placed)
        self._something_validates(placed, dataset)
        return {record.id: part for unit, part in placed for record in unit}

    def _place(self, part: Part, unit: list[Record]) -> Part:
        self.taken[part].update(count_of(unit, self.strata))
        return part

    def _best(self, unit: list[Record], targets: Mapping[Part, Mapping[str, int]]) -> Part:
        """The part whose squared distance from its target, relative to that target, grows least."""

        def growth(part: Part) -> float:
            taken, target = self.taken[part], targets[part]
            return sum(
                n * (n + 2 * (taken[label] - target[label])) / max(target[label], 0.5)
                for label, n in count_of(unit, self.strata).items()
            )

        return min(("train", *self.shares), key=growth)

    def _every_class_trains(self, placed: Placed) -> None:
        for label in sorted(count_of(self.pool, self.strata)):
            if not self.taken["train"][label]:
                holders = [index for index, (unit, _) in enumerate(placed) if label in count_of(unit, self.strata)]
                self._move(placed, min(holders, key=lambda index: len(placed[index][0])), "train")

    def _something_validates(self, placed: Placed, dataset: Dataset) -> None:
        if self.judged or "valid" not in self.shares or self.taken["valid"].total():
            return
        for index in sorted(range(len(placed)), key=lambda index: len(placed[index][0])):
            unit, part = placed[index]
            left = self.taken["train"].total() > len(unit)
            if self.must_train:
                left = all(self.taken["train"][label] > n for label, n in count_of(unit, self.strata).items())
            if part == "test" or left:
                self._move(placed, index, "valid")
                return
        raise cannot_divide(dataset, count_of(self.pool, self.strata), len(self.units), self.must_train)

    def _move(self, placed: Placed, index: int, part: Part) -> None:
        unit, before = placed[index]
        self.taken[before] -= count_of(unit, self.strata)
        placed[index] = (unit, self._place(part, unit))


def count_of(records: Iterable[Record], strata: Mapping[str, str]) -> Counter[str]:
    """How many of these records there are of each stratum."""
    return Counter(strata[record.id] for record in records)


def _targets(sizes: Mapping[str, int], shares: Mapping[Part, float], least: int) -> dict[Part, dict[str, int]]:
    """How many of each stratum each part should get: rounded so that the parts' totals are right and train has `least` of each."""
    left = dict(sizes)
    targets: dict[Part, dict[str, int]] = {}
    for part, share in shares.items():
        exact = {label: share * size for label, size in sizes.items()}
        targets[part] = {label: min(int(number), left[label] - least) for label, number in exact.items()}
        missing = max(1, round(sum(exact.values()))) - sum(targets[part].values())
        by_remainder = sorted(exact, key=lambda label: (int(exact[label]) - exact[label], -sizes[label], label))
        for label in by_remainder:
            if missing > 0 and targets[part][label] < left[label] - least:
                targets[part][label] += 1
                missing -= 1
        for label, number in targets[part].items():
            left[label] -= number
    targets["train"] = left
    return targets


def cannot_divide(dataset: Dataset, counts: Counter[str], n_units: int, of_classes: bool) -> DataError:
    """The lesson where too little is there to train on one part and validate on another."""
    item = dataset.item
    if of_classes and max(counts.values()) == 1:
        cause = f"each of the {len(counts)} classes has one {item} only"
        advice = f"Bring at least two {item}s of a class (better: dozens of each)"
        if len(counts) > 20:
            advice += ". If labels are free text or measurements, they are no classes: choose another label column"
    else:
        cause = f"its {counted(counts.total(), item)} form {counted(n_units, 'group')} of related {item}s or duplicates"
        advice = f"Bring {item}s of more groups, or a coarser division into groups, or give the division yourself"
    trained = ", and every class must be trained" if of_classes else ""
    return DataError(f"{quoted(dataset.name)} cannot be divided into training and validation: {cause}{trained}. {advice}.")
