"""Kinds of examples on which the model fails: neighbourhoods of a class where it is wrong more often than elsewhere in the class.

Examples are near each other by the features of the body before it was trained, which know nothing of these errors; how much more often it is
wrong there is judged by a scan statistic (`_scan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from headstart.core import Finding, Row, Strip
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._scan import LARGEST, SMALLEST, Class, dealt
from headstart.inspections._trace import Look, Trace
from headstart.inspections.neighbours import nearest, unit
from headstart.metrics.measured import Measured, proportion, wilson
from headstart.seeds import numpy_generator

QUESTION = "Is there a kind of example on which it fails?"
NEEDS = ("classes", "before")
CHANCE = 0.01
"""That anything is found where errors lie by chance."""
FEWEST = 5
"""Errors below which none can lie together."""
FOUND, SHOWN = 4, 12


def inspect(trace: Trace) -> Finding:
    """The neighbourhoods that fail beyond chance, the clearest first; none overlaps a clearer one by half."""
    assert trace.classes is not None and trace.before is not None, "NEEDS says so"
    judged = trace.judged()
    wrong = trace.said[judged].argmax(1) != trace.classes[judged]
    found = scanned(trace, wrong) if wrong.sum() >= FEWEST else []
    return Finding(
        "slices",
        QUESTION,
        _headline(found, int(wrong.sum()), len(judged)),
        "look" if found else "good",
        {name: measured for one in found for name, measured in one.numbers().items()},
        [one.row() for one in found],
        [strip for one in found for strip in one.strips()],
        caveats=(
            "They were found by their errors, so their share of errors leans to the high side; that there is such a kind does not.",
        )
        if found
        else (),
        advice="Look what these have in common. More training examples of this kind help most; where their labels are wrong, correct them."
        if found
        else "",
    )


@dataclass(frozen=True)
class Slice:
    """A neighbourhood that fails."""

    trace: Trace
    own: Class
    centre: int
    """Its number among those of the class."""
    size: int
    wrong: Bool[np.ndarray, " own"]
    chance: float

    @property
    def members(self) -> Int[np.ndarray, " size"]:
        """Numbers among those of the class, the nearest to its centre first."""
        return self.own.order[self.centre, : self.size]

    @property
    def name(self) -> str:
        """Of its class."""
        return self.trace.names[self.own.number]

    @property
    def errors(self) -> int:
        """In it."""
        return int(self.wrong[self.members].sum())

    @property
    def elsewhere(self) -> tuple[int, int]:
        """Errors among the others of the class, and how many these are."""
        return int(self.wrong.sum()) - self.errors, len(self.wrong) - self.size

    @cached_property
    def trained(self) -> tuple[int, int]:
        """Training examples of the class that are as near to the centre as its members, and all of the class."""
        assert self.trace.before is not None and self.trace.classes is not None, "NEEDS says so"
        features = self.trace.before.features
        middle = features[self.own.places].mean(0)
        centre = unit(features[[self.own.places[self.centre]]] - middle)[0]
        train = np.flatnonzero(~self.trace.valid & (self.trace.classes == self.own.number))
        last = features[[self.own.places[self.members[-1]]]] - middle
        alike = unit(features[train] - middle) @ centre if len(train) else np.zeros(0)
        return int((alike >= (unit(last) @ centre)[0]).sum()), len(train)

    @property
    def rare(self) -> bool:
        """Whether it is rarer among training examples than among these, beyond chance."""
        near, count = self.trained
        return count > 0 and bool(wilson(near, count)[1] < self.size / len(self.wrong))

    def said(self) -> str:
        """What is said most often where it is wrong."""
        places = self.own.places[self.members[self.wrong[self.members]]]
        return self.trace.names[int(np.bincount(self.trace.said[places].argmax(1)).argmax())]

    def row(self) -> Row:
        """All of it."""
        errors, count = self.elsewhere
        return {
            "class": self.name,
            "like": self.trace.ids[self.own.places[self.centre]],
            "examples": self.size,
            "wrong": self.errors,
            "most often said": self.said(),
            "others of the class": count,
            "wrong among these": errors,
            "training examples like it": self.trained[0],
            "of": self.trained[1],
            "chance": self.chance,
            "members": ", ".join(self.trace.ids[place] for place in self.own.places[self.members]),
        }

    def numbers(self) -> dict[str, Measured]:
        """Shares of errors."""
        return {
            f"wrong, {self.name} like {self.trace.ids[self.own.places[self.centre]]}": proportion(self.errors, self.size),
            f"wrong, other {self.name}": proportion(*self.elsewhere),
        }

    def strips(self) -> tuple[Strip, ...]:
        """Its members, those that are wrong first."""
        members = self.members[np.argsort(~self.wrong[self.members], kind="stable")][:SHOWN]
        places = self.own.places[members]
        captions = [f"said {self.trace.names[number]}" for number in self.trace.said[places].argmax(1)]
        return self.trace.strip(f"{self.name} like these", places.tolist(), captions)


def scanned(trace: Trace, wrong: Bool[np.ndarray, " validation"]) -> list[Slice]:
    """The slices that fail beyond chance."""
    classes, judged = _classes(trace), trace.judged()
    errors = np.zeros(len(trace.ids), bool)
    errors[judged] = wrong
    each = [errors[own.places] for own in classes]
    highest = dealt(classes, each)
    candidates = [
        (-float(ratio), place, int(own.sizes[column]), centre)
        for place, (own, these) in enumerate(zip(classes, each, strict=True))
        for (centre, column), ratio in np.ndenumerate(own.ratios(these[None])[0])
    ]
    slices, taken = list[Slice](), [np.zeros(len(own.places), bool) for own in classes]
    for ratio, place, size, centre in sorted(candidates):
        chance = (1 + int((highest >= -ratio).sum())) / (len(highest) + 1)
        if chance > CHANCE or len(slices) == FOUND:
            break
        one = Slice(trace, classes[place], centre, size, each[place], chance)
        if taken[place][one.members].mean() < 0.5:
            taken[place][one.members] = True
            slices.append(one)
    return slices


def _classes(trace: Trace) -> list[Class]:
    """Those with room for a neighbourhood in their half."""
    assert trace.classes is not None and trace.before is not None, "NEEDS says so"
    judged, found = trace.judged(), []
    for number in range(len(trace.names)):
        own = judged[trace.classes[judged] == number]
        if len(own) >= 2 * SMALLEST:
            features = trace.before.features[own]
            found.append(Class(number, own, nearest(features, features, min(LARGEST, len(own) // 2))))
    return found


def _headline(found: Sequence[Slice], errors: int, count: int) -> str:
    if not found:
        few = "too few to lie together" if errors < FEWEST else "where chance might have put them"
        return f"No kind of example fails more often than others of its class: {errors:,} of {count:,} validation examples are wrong, {few}."
    one = found[0]
    wrong, others = one.elsewhere
    near, trained = one.trained
    rare = f" Among the training examples it is rare: {near:,} of {trained:,}." if one.rare else ""
    more = f" {len(found) - 1} more kind{'s' if len(found) > 2 else ''} below." if len(found) > 1 else ""
    return (
        f"A kind of {one.name} fails: of {one.size:,} that look alike {one.errors:,} are wrong (most often said: {one.said()}), "
        f"of the {others:,} others "
        f"{wrong:,}. By chance anything as clear comes up once in {1 / one.chance:,.0f} sets or less.{rare}{more}"
    )


def plant(seed: int) -> Plant:
    """A fifth of one class of three is of another kind, and two thirds of it are wrong; in the clean twin errors lie anywhere in the class."""
    draw = numpy_generator(seed, "plant", "slices")
    truth = np.arange(360) % 3
    features = draw.standard_normal((360, 12)).astype(np.float32) + 4 * np.eye(3, 12, dtype=np.float32)[truth]
    kind = np.flatnonzero(truth == 1)[::5]
    features[kind, 5] += 6
    wrong = kind[np.arange(len(kind)) % 3 > 0]
    anywhere = draw.choice(np.flatnonzero(truth == 1), len(wrong), replace=False)
    before = Look(features, (), None)
    every = np.ones(360, bool)

    def known(places: Int[np.ndarray, " wrong"]) -> Trace:
        said = logits(truth, 3, seed, margin=6.0)
        said[places] = logits((truth[places] + 1) % 3, 3, seed + 1, margin=6.0)
        return trace(said, truth, every, before=before)

    names = {f"{place}.jpg" for place in kind}

    def found(finding: Finding) -> bool:
        if not finding.items:
            return False
        members = finding.items[0]["members"].split(", ")
        return finding.items[0]["class"] == "class 1" and len(names & set(members)) >= 0.8 * len(members)

    return Plant(known(wrong), known(anywhere), found)
