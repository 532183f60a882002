"""A finished model is inspected: one pass of the model as it was and one as it is, and every question that these can answer."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from headstart import model as models
from headstart import plugins
from headstart.backbones._wrapped import Wrapped
from headstart.core import Event, Finding, Progress
from headstart.data import split
from headstart.data._steps import exhausted
from headstart.data.batches import Examples, stored
from headstart.engine import device as engine
from headstart.errors import BadSetting, HeadstartError
from headstart.inspections._survey import survey, weights_moved
from headstart.inspections._trace import Look, Trace, missing
from headstart.learner import crossed
from headstart.learner.believing import through_head
from headstart.learner.onward import start_of
from headstart.learner.session import Session
from headstart.model import Model
from headstart.places import evenly
from headstart.report.page import Report
from headstart.train.begin import Begun, engine_features, torch_features
from headstart.train.features import Features
from headstart.train.observers.rows import measured, metric_names
from headstart.train.state import TrainState

ORDER = ("duplicates", "labels", "shortcuts", "confusion", "losses", "drift", "evidence")
"""On the page; others come after these, by their names."""
MOST = 4000
"""Examples that are looked at: all for validation, and training ones evenly over their order."""
FOLDS = 5
AT_ONCE = 64


def inspected(session: Session, show: Callable[[Event], None], names: Sequence[str]) -> Report:
    """The report of these inspections, or of all; in the run folder too, where there is one.

    Raises:
        UnknownName: for an inspection that there is not, with the nearest.
        BadSetting: before the first training.
        DataError: where the data is not at hand.
    """
    asked = {name: plugins.find("inspections", name) for name in names or ordered(plugins.names("inspections"))}
    if not session.history:
        raise BadSetting(
            "there is nothing to inspect before the first training: fine_tune(0) solves the head, fine_tune(3) trains all."
        )
    with engine.tuned_run(session.device):
        needs = {need for module in asked.values() for need in module.NEEDS}
        trace = traced(session, show, needs)
        findings = []
        for number, (name, module) in enumerate(asked.items()):
            show(Progress(f"inspecting: {name}", number, len(asked)))
            findings.append(answered(name, module, trace))
        show(Progress("inspecting", len(asked), len(asked)))
    report = Report(f"What {session.data.name} taught this model", _facts(session, trace), tuple(findings))
    if session.run is None:
        return report
    report.keep(session.run.path)
    return replace(report, folder=session.run.path)


def ordered(names: Sequence[str]) -> list[str]:
    """As they stand on the page."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def answered(name: str, module: Any, trace: Trace) -> Finding:
    """What an inspection finds in the trace, or why it cannot be made."""
    why = trace.lacks(module.NEEDS)
    return module.inspect(trace) if why is None else missing(name, module.QUESTION, why)


def traced(session: Session, show: Callable[[Event], None], needs: set[str]) -> Trace:
    """All that these needs ask for, of the examples of the run."""
    begun = session.ready()
    state = begun.state
    examples, valid = _looked_at(state)
    store, modality = examples.store, examples.store.modality
    pictured = bool(store.pictures(examples.indices[:1].tolist()))

    def inputs(places: Sequence[int]) -> Tensor:
        return modality.to_input(torch.from_numpy(store.stored(examples.indices[list(places)].tolist()))).to(state.device)

    def looked(backbone: Wrapped, head: nn.Module | None, words: str) -> Look:
        if pictured and "layers" in needs:
            batches = (modality.to_input(torch.as_tensor(batch)) for batch in stored(examples))
            return _told(survey(backbone, batches, head), show, words, len(examples))
        model = Model(backbone, state.model.head, state.model.head_kind)
        found = exhausted(_features(begun, model), show)
        rows = found.rows[examples.indices]
        return Look(rows, (), None if head is None else through_head(model, rows)[1].numpy())

    def says(pixels: UInt8[np.ndarray, "batch size size 3"]) -> Float[np.ndarray, "batch outputs"]:
        pieces = (torch.from_numpy(pixels[first : first + AT_ONCE]) for first in range(0, len(pixels), AT_ONCE))
        return np.concatenate([state.model.outputs(modality.to_input(piece)).mean.numpy() for piece in pieces])

    absent = {}
    after = looked(state.model.backbone, state.model.head, "looking at the examples")
    groups = state.task.groups(examples.targets)
    before, moved = None, None
    if needs & {"before", "crossed"}:
        try:
            old = _as_it_was(session).to(state.device)
            moved = weights_moved(old, state.model.backbone)
            before = looked(old, None, "looking at them as before training") if any(moved.values()) else after
        except HeadstartError as error:
            absent["before"] = absent["crossed"] = f"the model as it was before training is not at hand: {error}"
    known = None
    if before is not None and "crossed" in needs:
        known = _crossed(begun, examples, before, absent)
    absent |= _reasons(state, pictured)
    return Trace(
        state.task,
        examples.ids,
        valid,
        examples.targets,
        after,
        before,
        None if groups is None else np.asarray(groups),
        known,
        begun.audit.json(),
        moved,
        (lambda places: store.stored(examples.indices[list(places)].tolist())) if pictured else None,
        inputs if pictured else None,
        says if pictured and groups is not None else None,
        _files(begun, examples) if pictured else None,
        state.model,
        session.history,
        state.kept()["epoch"],
        absent,
    )


def _features(begun: Begun, model: Model) -> Generator[Event, None, Features]:
    """Of all examples, from the cache or by the fastest engine."""
    device = begun.state.device
    found = yield from engine_features(begun.store, model, device)
    return found or (yield from torch_features(begun.store, model, device))


def _files(begun: Begun, examples: Examples) -> dict[str, Float[np.ndarray, " examples"]]:
    """What is known of the file of each example, in words that stand in a sentence."""
    reports = {report.id: report for report in begun.audit.files}
    sources = {record.id: record.source for record in begun.dataset.records}
    width, height, size = (np.full(len(examples), np.nan) for _ in range(3))
    for place, name in enumerate(examples.ids):
        width[place], height[place] = reports[name].width, reports[name].height
        source = sources[name]
        with suppress(OSError):
            size[place] = Path(source).stat().st_size if isinstance(source, str) else np.nan
    pixels = np.maximum(width * height, 1)
    return {
        "the size of the picture": pixels,
        "the shape of the picture": width / np.maximum(height, 1),
        "how many bytes its file has for a pixel": size / pixels,
    }


def _looked_at(state: TrainState) -> tuple[Examples, np.ndarray]:
    """The validation examples and as many training ones as there is room for, and which are of the first."""
    valid, train = state.parts["valid"], state.parts["train"]
    some = train.at(evenly(len(train), max(MOST - len(valid), 0)))
    together = Examples(
        train.store,
        np.concatenate([valid.indices, some.indices]),
        torch.cat([valid.targets, some.targets]),
        (*valid.ids, *some.ids),
    )
    return together, np.arange(len(together)) < len(valid)


def _told(steps: Iterator[int | Look], show: Callable[[Event], None], words: str, count: int) -> Look:
    for step in steps:
        if isinstance(step, Look):
            return step
        show(Progress(words, step, count))
    raise AssertionError("a survey ends with what it saw")


def _as_it_was(session: Session) -> Wrapped:
    """The body before it was trained: as published, or as the model had it that the run started from.

    Raises:
        HeadstartError: where it is not at hand.
    """
    settings, model = session.settings, session.model
    origin = None if session.run is None else session.run.plan().data.get("from")
    if origin is not None:
        return start_of(origin).model.backbone.eval()
    source = settings.backbone if session.module is None else session.module
    found = models.build_backbone(source, settings.pretrained, settings.size, settings.seed, session.data)
    names = [name for name, _ in found.whole.stages()]
    if names != [name for name, _ in model.backbone.whole.stages()]:
        raise BadSetting("its layers are others than those of today.")
    return found.eval()


def _crossed(begun: Begun, examples: Examples, before: Look, absent: dict[str, str]) -> np.ndarray | None:
    """What heads on the features of before say of each example that have not seen its label."""
    state = begun.state
    if state.model.head.final is None or state.model.head.final is not state.model.head.solvable:
        absent["crossed"] = "this head cannot be solved without some of the examples."
        return None
    named = split.folds(begun.dataset, examples.ids, begun.audit.groups(), state.task, FOLDS)
    dealt = np.array([named[name] for name in examples.ids])
    return crossed.outputs(state, before.features, examples.targets, dealt).numpy()


def _reasons(state: TrainState, pictured: bool) -> dict[str, str]:
    """Why a product is missing, whatever the data."""
    items = state.parts["train"].store.modality.words.items
    found = {"classes": f"this asks for one class for each example, and the task is {state.task.name}."}
    if not pictured:
        found |= dict.fromkeys(("pictures", "layers", "says"), f"{items} are no pictures.")
    return found


def _facts(session: Session, trace: Trace) -> dict[str, str]:
    """What the model is, for the head of the page."""
    row = next(row for row in trace.rows if row["epoch"] == trace.kept)
    figures = ", ".join(f"{name} {measured(row, name)}" for name in metric_names(row))
    stage = "the head alone learned" if trace.kept == 0 else f"epoch {trace.kept} of {trace.rows[-1]['epoch']} is kept"
    return {
        "Learned": trace.task.words.learned,
        "Body": f"{session.model.backbone.spec.name}, weights from {session.model.backbone.spec.source}",
        "Training": stage,
        "On the validation part": figures,
        "Looked at": f"{int(trace.valid.sum()):,} validation and {int((~trace.valid).sum()):,} training examples",
    }
