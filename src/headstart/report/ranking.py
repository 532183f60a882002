"""Backbones in the order of what their features promise, as a table for people, with what should be known of that order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.core import Row
from headstart.metrics import Measured
from headstart.metrics.measured import Z


@dataclass(frozen=True)
class Candidate:
    """A backbone with what its features promise; `error` says why there is nothing to say of it."""

    backbone: str
    size: int | None
    width: int = 0
    """Features of each example."""
    parameters: int = 0
    licence: str = ""
    left_out: float | None = None
    """Mean loss of each example by a head that has not seen it, in nats; None where a head sees no example as a whole."""
    evidence: float | None = None
    """Of the head on these features, in nats for each example; larger is better."""
    figures: dict[str, Measured] | None = None
    """The metrics of the task on examples left out."""
    seconds: float = 0.0
    error: str | None = None
    losses: Float[np.ndarray, " examples"] | None = None
    """Of each example left out."""
    features: str = "last"
    """As in `Settings`."""

    @property
    def name(self) -> str:
        """Backbone, size and features, where the last two are named."""
        sized = self.backbone if self.size is None else f"{self.backbone} at {self.size}"
        return sized if self.features == "last" else f"{sized}, all layers"

    def row(self) -> Row:
        """The machine-readable contract of `choose --json`."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("figures", "losses")}
        return plain | {name: one.json() for name, one in (self.figures or {}).items()}

    @property
    def order(self) -> tuple[float, float]:
        """The better the smaller."""
        left, evidence = self.left_out, self.evidence
        return (float("inf") if left is None else left, float("inf") if evidence is None else -evidence)


@dataclass(frozen=True)
class Ranking:
    """Candidates, the best first, with what should be known of their order."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        """The first."""
        return self.candidates[0]

    def __repr__(self) -> str:
        figures = next((tuple(each.figures) for each in self.candidates if each.figures), ())
        heading = ("backbone", "loss left out", "evidence", *figures, "features", "million weights", "seconds")
        lines = [heading, *(_cells(each, figures) for each in self.candidates)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
        failed = [f"{each.name}: {each.error}" for each in self.candidates if each.error]
        return "\n".join([*table, *failed, *self.notes])


def ranked(candidates: Sequence[Candidate]) -> Ranking:
    """The candidates by the loss left out, or by the evidence where a head sees no example as a whole."""
    order = sorted(candidates, key=lambda each: each.order)
    return Ranking(tuple(order), tuple(_told([each for each in order if each.error is None])))


def _told(ranked: Sequence[Candidate]) -> list[str]:
    """What should be known of the order."""
    best, *others = ranked
    notes = []
    alike = [each.name for each in others if not _apart(best, each)]
    if alike:
        notes.append(
            f"Not told apart from {best.name} by these examples: {', '.join(alike)}. The smallest of them is the fastest."
        )
    by_evidence = max((best, *others), key=lambda each: -np.inf if each.evidence is None else each.evidence)
    if by_evidence.name != best.name and best.evidence is not None and by_evidence.evidence is not None:
        notes.append(
            f"The evidence prefers {by_evidence.name} ({by_evidence.evidence:.3f} nats for each example against {best.evidence:.3f}): the two "
            "figures disagree, so train both for a minute or two before you settle."
        )
    trained = [each.name for each in ranked if Path(each.backbone).expanduser().is_dir()]
    if trained:
        notes.append(
            f"{', '.join(trained)}: trained before. If that was on these images, they are known to it, and its figures are too good."
        )
    if len(others):
        notes.append(
            "What all layers can still learn is not in these figures: they are of the head alone, which is where fine-tuning starts."
        )
    return notes


def _apart(best: Candidate, other: Candidate) -> bool:
    """Whether the losses of the same examples differ by more than chance."""
    if best.losses is None or other.losses is None or len(best.losses) != len(other.losses):
        return True
    difference = other.losses - best.losses
    return float(difference.mean()) > Z * float(difference.std()) / len(difference) ** 0.5


def _cells(each: Candidate, figures: Sequence[str]) -> tuple[str, ...]:
    if each.error:
        return (each.name, *("-",) * (len(figures) + 4), f"{each.seconds:.0f}")
    told: list[Any] = [
        each.left_out,
        each.evidence,
        *((each.figures or {})[name].value if each.figures else None for name in figures),
    ]
    numbers = ["-" if value is None else f"{value:.4f}" for value in told]
    return (each.name, *numbers, f"{each.width:,}", f"{each.parameters / 1e6:.1f}", f"{each.seconds:.0f}")
