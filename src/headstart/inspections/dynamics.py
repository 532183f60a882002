"""What each row of the table put right and put wrong, by what it said of each validation example, and how far each stage moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from headstart.core import Bars, Finding, Row, Strip, Tone
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import Measured, average, proportion
from headstart.train.judged import Judged

QUESTION = "What did it learn, and what did it unlearn?"
NEEDS = ("by_row",)
SHOWN = 12
CHANCE = 0.01
"""A class lost where more of it was put wrong than put right, and chance does that less often than so (all classes together)."""
STEPS = 6
"""Parts of a bar that many rows are joined to."""
BEYOND = 2.0
"""Standard errors by which the last row's losses must be above the kept one's."""


def inspect(trace: Trace) -> Finding:
    """What training did to the answers since the first row; classes that lost by it beyond chance; rows that learned by heart."""
    assert trace.by_row is not None, "NEEDS says so"
    course = Course(trace, trace.by_row)
    lost = course.lost()
    return Finding(
        "dynamics",
        QUESTION,
        _headline(course, lost),
        "look" if lost else "good",
        course.numbers(),
        course.items(),
        course.strips(),
        caveats=(
            f"Where the best row is kept, these {len(course.first.losses):,} examples chose it, and its gain leans to the good side.",
        )
        if course.compared
        else (),
        advice=f"Look at the examples of {_listed([name for name, _, _ in lost])} that were put wrong: more of their kind, or labels that are "
        "right, teach it best; balance=weights gives a rare class more weight."
        if lost
        else "",
        bars=_bars(course),
    )


@dataclass(frozen=True)
class Course:
    """The rows of one training, judged by the same examples."""

    trace: Trace
    rows: Sequence[Judged]

    @property
    def first(self) -> Judged:
        """The first row."""
        return self.rows[0]

    @cached_property
    def now(self) -> Judged:
        """The row that is kept; where that is the first, the last."""
        kept = next(each for each in self.rows if each.epoch == self.trace.kept)
        return self.rows[-1] if kept is self.first else kept

    @property
    def compared(self) -> bool:
        """Whether there are two rows."""
        return self.now is not self.first

    @cached_property
    def classes(self) -> Int[np.ndarray, " valid"] | None:
        """The class of each example, None where there are no classes."""
        return None if self.trace.classes is None else self.trace.classes[self.trace.judged()]

    def good(self, row: Judged) -> Bool[np.ndarray, " valid"]:
        """Whether it is right about each; without classes, whether its loss is not above the first row's."""
        return row.losses <= self.first.losses if row.answers is None else row.answers == self.classes

    @cached_property
    def right(self) -> Bool[np.ndarray, " valid"]:
        """Whether the first row is right; without classes all are its own measure."""
        return self.good(self.first)

    @cached_property
    def better(self) -> Bool[np.ndarray, " valid"]:
        """What training put right; without classes what fits better than before."""
        return (self.now.losses < self.first.losses) if self.classes is None else (~self.right & self.good(self.now))

    @cached_property
    def worse(self) -> Bool[np.ndarray, " valid"]:
        """What training put wrong; without classes what fits worse than before."""
        return self.right & ~self.good(self.now)

    @cached_property
    def never(self) -> Bool[np.ndarray, " valid"]:
        """What no row was right about."""
        if self.classes is None:
            return np.zeros(len(self.right), bool)
        return ~np.any([self.good(row) for row in self.rows], axis=0)

    def lost(self) -> list[tuple[str, int, int]]:
        """Of each class of which more was put wrong than put right, beyond chance, its name and both counts (sign test, one-sided)."""
        if self.classes is None or not self.compared or self.now.epoch != self.trace.kept:
            return []
        from scipy import stats

        found = []
        for number, name in enumerate(self.trace.names):
            own = self.classes == number
            wrong, right = int((self.worse & own).sum()), int((self.better & own).sum())
            if wrong > right and stats.binom.sf(wrong - 1, wrong + right, 0.5) < CHANCE / len(self.trace.names):
                found.append((name, wrong, right))
        return sorted(found, key=lambda each: each[2] - each[1])

    def by_heart(self) -> tuple[float, float] | None:
        """Loss on the validation part of the last row and of the kept one, where the former is higher beyond chance."""
        last, kept = self.rows[-1], next(each for each in self.rows if each.epoch == self.trace.kept)
        rise = last.losses - kept.losses
        if last is kept or len(rise) < 2 or not rise.mean() > BEYOND * rise.std(ddof=1) / len(rise) ** 0.5:
            return None
        return float(last.losses.mean()), float(kept.losses.mean())

    def numbers(self) -> dict[str, Measured]:
        """Both rows by the same examples, and what lies between."""
        count, found = len(self.right), dict[str, Measured]()
        if self.classes is not None:
            found[f"right, {_row(self.first)}"] = proportion(int(self.right.sum()), count)
        if not self.compared:
            return found
        if self.classes is not None:
            found[f"right, {_row(self.now)}"] = proportion(int(self.good(self.now).sum()), count)
        better, worse = ("put right", "put wrong") if self.classes is not None else ("fits better", "fits worse")
        return found | {
            better: proportion(int(self.better.sum()), count),
            worse: proportion(int(self.worse.sum()), count),
            "loss, first row less this one": average(self.first.losses - self.now.losses),
        }

    def chosen(self, which: Bool[np.ndarray, " valid"], score: Float[np.ndarray, " valid"]) -> list[int]:
        """The first of these by their score, the highest first."""
        own = np.flatnonzero(which)
        return own[np.argsort(-score[own], kind="stable")][:SHOWN].tolist()

    def groups(self) -> list[tuple[str, list[int]]]:
        """The examples that are shown, in groups by what training did to them."""
        if not self.compared:
            return []
        change = self.now.losses - self.first.losses
        if self.classes is None:
            return [
                ("Fits worse than before training", self.chosen(self.worse, change)),
                ("Fits better than before training", self.chosen(self.better, -change)),
            ]
        return [
            (f"Put wrong: right in {_row(self.first)}, wrong in {_row(self.now)}", self.chosen(self.worse, change)),
            (f"Put right: wrong in {_row(self.first)}, right in {_row(self.now)}", self.chosen(self.better, -change)),
            ("Right in no row: hard, or labelled wrong", self.chosen(self.never, self.now.losses)),
        ]

    def strips(self) -> list[Strip]:
        """The groups as pictures."""
        judged = self.trace.judged()
        return [
            strip
            for title, own in self.groups()
            for strip in self.trace.strip(title, judged[own].tolist(), [self._caption(place) for place in own])
        ]

    def items(self) -> list[Row]:
        """The groups as rows of a table."""
        judged = self.trace.judged()
        return [
            {
                "id": self.trace.ids[judged[place]],
                "what": title.split(":")[0].lower(),
                **self._said(place),
                f"loss, {_row(self.first)}": float(self.first.losses[place]),
                f"loss, {_row(self.now)}": float(self.now.losses[place]),
            }
            for title, own in self.groups()
            for place in own
        ]

    def _said(self, place: int) -> dict[str, str]:
        """The label, and what each of both rows says."""
        if self.classes is None:
            return {}
        names = self.trace.names
        said = {_row(row): names[row.answers[place]] for row in (self.first, self.now) if row.answers is not None}
        return {"labelled": names[self.classes[place]], **said}

    def _caption(self, place: int) -> str:
        if self.classes is None:
            return f"loss {self.first.losses[place]:.3g}, then {self.now.losses[place]:.3g}"
        labelled, first, now = self._said(place).values()
        return f"labelled {labelled}: {first}, then {now}" if first != now else f"labelled {labelled}: {now} throughout"


def _bars(course: Course) -> list[Bars]:
    """What each row is right about, and how far each stage moved."""
    moves = _moves(course.rows)
    return [*([_answers(course)] if course.compared else []), *([] if moves is None else [moves])]


def _answers(course: Course) -> Bars:
    """The validation examples of each row by whether it and the first are right."""
    title, first = f"Validation examples by row, against {_row(course.first)}", course.first
    if course.classes is None:
        counts = [(_row(row), int((row.losses < first.losses).sum())) for row in course.rows[1:]]
        lines = [(name, [better, len(first.losses) - better]) for name, better in counts]
        return Bars(title, (("fits better", "new"), ("fits no better", "quiet")), lines)
    parts: Sequence[tuple[str, Tone]] = (
        ("right as before", "good"),
        ("put right", "new"),
        ("wrong as before", "quiet"),
        ("put wrong", "bad"),
    )
    right = course.right
    found = [(_row(row), course.good(row)) for row in course.rows]
    each = [(name, (right & good, ~right & good, ~right & ~good, right & ~good)) for name, good in found]
    return Bars(title, parts, [(name, [int(one.sum()) for one in some]) for name, some in each])


def _moves(rows: Sequence[Judged]) -> Bars | None:
    """How far each stage of the body moved in each row, of many rows in some together; None where none has moved."""
    known = [(row.epoch, {stage: by for stage, by in row.moved.items() if stage != "head"}) for row in rows if row.moved]
    if not any(by for _, moved in known for by in moved.values()):  # a head that is solved again jumps by any length
        return None
    steps = [[known[number] for number in block] for block in np.array_split(np.arange(len(known)), min(STEPS, len(known)))]
    parts: list[tuple[str, Tone]] = [
        (f"row {step[0][0]}" if len(step) == 1 else f"row {step[0][0]} to {step[-1][0]}", "step") for step in steps
    ]
    lines = [
        (stage or "(the network itself)", [sum(moved.get(stage, 0.0) for _, moved in step) for step in steps])
        for stage in known[0][1]
    ]
    return Bars("How far the weights of each stage moved from row to row, as a share of their length", parts, lines)


def _row(row: Judged) -> str:
    return f"row {row.epoch}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")


def _headline(course: Course, lost: Sequence[tuple[str, int, int]]) -> str:
    count, first, now = len(course.right), _row(course.first), _row(course.now)
    if not course.compared:
        told = (
            f" It is right about {int(course.right.sum()):,} of {count:,} validation examples."
            if course.classes is not None
            else ""
        )
        return f"There is a single row, the {'head alone' if course.first.epoch == 0 else 'first'}, and nothing to compare it with.{told}"
    kept = "" if course.now.epoch == course.trace.kept else f", which is not kept ({first} is)"
    if course.classes is None:
        words = f"From {first} to {now}{kept}, the loss fell for {int(course.better.sum()):,} of {count:,} validation examples."
    else:
        words = (
            f"From {first} to {now}{kept}, {int(course.better.sum()):,} of {count:,} validation examples were put right and "
            f"{int(course.worse.sum()):,} put wrong; {int(course.never.sum()):,} were right in no row."
        )
    if lost:
        name, wrong, right = lost[0]
        words += f" {name} lost by it: {wrong:,} put wrong, {right:,} put right."
    if heart := course.by_heart():
        last, kept_loss = heart
        words += (
            f" After row {course.trace.kept} it learned by heart: the validation loss rose from {kept_loss:.3f} to {last:.3f}, "
            "beyond chance."
        )
    return words


def plant(seed: int) -> Plant:
    """Training puts a fifth of one class of three wrong; in the clean twin it puts a few examples of every class right."""
    truth = np.arange(300) % 3
    every = np.ones(300, bool)
    good = logits(truth, 3, seed, margin=6.0)
    wrong = np.flatnonzero(truth == 1)[::5]
    bad = _other(good, truth, wrong, seed)
    poor = _other(good, truth, np.arange(0, 300, 20), seed)

    def judged(epoch: int, said: Float[np.ndarray, "examples classes"]) -> Judged:
        shifted = said - said.max(1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(300), truth]
        return Judged(epoch, losses, said.argmax(1), {"1": 0.1 * epoch, "head": 0.2} if epoch else None)

    def rows(before: np.ndarray, after: np.ndarray) -> list[Judged]:
        return [judged(0, before), judged(1, after)]

    names = {f"{place}.jpg" for place in wrong[:SHOWN]}
    return Plant(
        trace(bad, truth, every, by_row=rows(good, bad), kept=1),
        trace(good, truth, every, by_row=rows(poor, good), kept=1),
        lambda found: (
            "class 1 lost" in found.headline
            and len(names & {item["id"] for item in found.items if item["what"] == "put wrong"}) >= SHOWN // 2
        ),
    )


def _other(
    said: Float[np.ndarray, "examples classes"], truth: Int[np.ndarray, " examples"], places: Int[np.ndarray, " some"], seed: int
) -> Float[np.ndarray, "examples classes"]:
    """The same, but sure of the next class at these places."""
    found = said.copy()
    found[places] = logits((truth[places] + 1) % 3, 3, seed + 1, margin=6.0)
    return found
