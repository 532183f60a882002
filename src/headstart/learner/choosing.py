"""Backbones ranked before any of them is trained: by what a head solved on their features would say of images that it has not seen.

For each, one pass over the images, a head solved on all labelled ones, and two figures that need no validation part: the evidence (the
probability of the labels, weights integrated out; MacKay 1992) and approximate leave-one-out (`posteriors/_left_out.py`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from headstart.backbones import choices
from headstart.core import Dataset, Event, Note, Observer, Outputs, Row, Settings
from headstart.data import sources
from headstart.data._steps import exhausted
from headstart.engine import device as engine
from headstart.errors import BadSetting, HeadstartError
from headstart.learner import believing, verbs
from headstart.learner.facade import Learner
from headstart.metrics import Measured
from headstart.posteriors._left_out import left_out
from headstart.posteriors._problem import Problem
from headstart.train.begin import Begun
from headstart.train.solved import solver_of

BEYOND_CHANCE = 1.96
"""Standard errors of a difference beyond which two backbones are told apart."""


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

    @property
    def name(self) -> str:
        """Backbone and size."""
        return self.backbone if self.size is None else f"{self.backbone} at {self.size}"

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


def choose(
    data: Dataset | str | Path,
    backbones: Sequence[str] = (),
    sizes: Sequence[int] = (),
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> Ranking:
    """Backbones ranked for these labelled examples, the best first; nothing is trained but heads, and no run is made.

    Args:
        backbones: names as `Learner` takes them; those that are installed with headstart if none is named.
        sizes: of the images, each with each backbone; the backbone's own if none is given.

    Raises:
        BadSetting: where nothing is to be chosen between, or none can be looked at.
    """
    settings = settings or Settings()
    if isinstance(backbones, str) or not all(isinstance(name, str) for name in backbones):
        raise BadSetting(f'backbones must be names in a list, as in ["small", "medium"], got {backbones!r}.')
    if isinstance(sizes, int):
        raise BadSetting(f"sizes must be in a list, as in [160, 224], got {sizes!r}.")
    dataset = sources.open_path(data) if isinstance(data, str | Path) else data
    names = tuple(backbones) or installed(dataset.modality)
    asked = list(
        dict.fromkeys(replace(settings, backbone=name, size=size) for name in names for size in sizes or (settings.size,))
    )
    found, show = list[Candidate](), verbs.screen_of(observer).show
    for each in asked:
        learner = Learner(dataset, each, observer=observer)
        show(Note(f"{len(found) + 1} of {len(asked)}: {Candidate(each.backbone, each.size).name}"))
        found.append(_looked_at(learner, each.backbone, each.size, show, first=not found))
        dataset = replace(learner.data, notes=())
    ranked = tuple(sorted(found, key=lambda each: each.order))
    if all(each.error for each in ranked):
        raise BadSetting(f"none of the {len(ranked)} could be looked at. {ranked[0].name}: {ranked[0].error}")
    return Ranking(ranked, tuple(_told(ranked)))


def installed(modality: str = "image") -> tuple[str, ...]:
    """The backbones whose weights are installed: headstart's own, and those of its extra `backbones` where that is there; for what is no
    image, the one there is."""
    if modality in choices.ONLY:
        return (choices.ONLY[modality],)
    from headstart.backbones.bundled import weights_file

    return tuple(name for name in choices.BUNDLED if weights_file(name) is not None)


def _looked_at(learner: Learner, name: str, size: int | None, show: Callable[[Event], None], first: bool) -> Candidate:
    started = time.perf_counter()
    try:
        with engine.tuned_run(learner._session.device):
            begun = exhausted(learner._session._beginning(True), show if first else None)
            try:
                found = _judged(begun, Candidate(name, size))
            finally:
                begun.store.close()
    except (HeadstartError, MemoryError, *believing.UNSOLVABLE) as error:
        return Candidate(name, size, seconds=time.perf_counter() - started, error=" ".join(str(error).split()))
    spec = learner.model.backbone.spec
    seconds = time.perf_counter() - started
    return replace(found, width=spec.width, parameters=spec.parameters, licence=spec.licence, seconds=seconds)


def _judged(begun: Begun, candidate: Candidate) -> Candidate:
    """With the figures of a head solved on all examples that are not for the last test."""
    state, features = begun.state, begun.features
    if features is None or state.model.head.solvable is None:
        return replace(candidate, error="its features cannot be held in memory, so no head is solved on them.")
    parts = [state.parts[name] for name in ("train", "valid") if len(state.parts[name])]
    order = np.argsort([name for part in parts for name in part.ids], kind="stable")
    rows = np.concatenate([features.rows[part.indices] for part in parts])[order]
    targets = torch.cat([torch.as_tensor(part.targets) for part in parts])[torch.from_numpy(order)]
    given, known = state.model.head.as_rows(rows, targets.numpy())
    solved = solver_of(state)(given, known)
    candidate = replace(candidate, evidence=float(solved.log_evidence) / len(rows))
    if state.model.head.final is None:
        return candidate
    given = torch.from_numpy(np.ascontiguousarray(rows))
    said = torch.from_numpy(rows @ solved.weight.T.astype(rows.dtype) + solved.bias.astype(rows.dtype))
    learned = believing.Labelled(given, said, targets)
    outputs = left_out(Problem(state.task, learned, learned.some(0), solved.precision, len(rows)))
    losses = state.task.loss(outputs, targets).double().numpy()
    figures = {name: metric(Outputs(outputs), targets) for name, metric in state.task.metrics(state.metrics).items()}
    return replace(candidate, left_out=float(losses.mean()), losses=losses, figures=figures)


def _told(ranked: Sequence[Candidate]) -> list[str]:
    """What should be known of the order."""
    best, *others = [each for each in ranked if each.error is None]
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
    return float(difference.mean()) > BEYOND_CHANCE * float(difference.std()) / len(difference) ** 0.5


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
