"""What inspections read is gathered: the examples of a run, what the model says and sees of them as it was and as it is."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from headstart import model as models
from headstart.backbones._taught import Taught, taught
from headstart.backbones._wrapped import Wrapped
from headstart.core import Event, Outputs, Progress
from headstart.data import split
from headstart.data._steps import exhausted
from headstart.data.batches import Examples, stored
from headstart.errors import BadSetting, HeadstartError, StoreError
from headstart.inspections._shown import Shown
from headstart.inspections._survey import survey, weights_moved
from headstart.inspections._trace import Look, NotKept, Trace
from headstart.learner.believing import through_head
from headstart.learner.onward import start_of
from headstart.learner.session import Session
from headstart.model import Model
from headstart.places import evenly
from headstart.store import checkpoints
from headstart.train import summary
from headstart.train.begin import Begun, engine_features, torch_features
from headstart.train.features import Features
from headstart.train.judged import Judged
from headstart.train.state import TrainState

MOST = 4000
"""Examples that are looked at: all for validation, and training ones evenly over their order, half as many at least."""
FOLDS = 5
AT_ONCE = 64


@dataclass(frozen=True)
class Examined:
    """The examples that are looked at, by their place: all for validation, and as many training ones as there is room for."""

    begun: Begun
    examples: Examples
    valid: Bool[np.ndarray, " examples"]

    @classmethod
    def of(cls, begun: Begun) -> "Examined":
        """Those of a run."""
        valid, train = begun.state.parts["valid"], begun.state.parts["train"]
        some = train.at(evenly(len(train), max(MOST - len(valid), MOST // 2)))
        together = Examples(
            train.store,
            np.concatenate([valid.indices, some.indices]),
            torch.cat([valid.targets, some.targets]),
            (*valid.ids, *some.ids),
        )
        return cls(begun, together, np.arange(len(together)) < len(valid))

    @cached_property
    def pictured(self) -> bool:
        """Whether they are pictures."""
        return bool(self.examples.store.pictures(self.examples.indices[:1].tolist()))

    @cached_property
    def copies(self) -> Int[np.ndarray, " examples"]:
        """A number for each group of those that show the same."""
        groups = self.begun.audit.groups()
        return np.unique([groups.get(name, name) for name in self.examples.ids], return_inverse=True)[1]

    def folds(self) -> Int[np.ndarray, " examples"]:
        """The fold of each, as heads are solved without them."""
        begun = self.begun
        named = split.folds(begun.dataset, self.examples.ids, begun.audit.groups(), begun.state.task, FOLDS)
        return np.array([named[name] for name in self.examples.ids])

    @cached_property
    def classes(self) -> Int[np.ndarray, " examples"] | None:
        """The number of the class of each, None where there are no classes."""
        groups = self.begun.state.task.groups(self.examples.targets)
        return None if groups is None else np.asarray(groups)

    def pictures(self, places: Sequence[int]) -> UInt8[np.ndarray, "batch size size 3"]:
        """As the model sees them, in pixels."""
        return self.examples.store.stored(self.examples.indices[list(places)].tolist())

    def inputs(self, places: Sequence[int]) -> Tensor:
        """As the model's input."""
        return self.examples.store.modality.to_input(torch.from_numpy(self.pictures(places))).to(self.begun.state.device)

    def says(self, pixels: UInt8[np.ndarray, "batch size size 3"]) -> Float[np.ndarray, "batch outputs"]:
        """What the model says of such pictures."""
        model, modality = self.begun.state.model, self.examples.store.modality
        pieces = (torch.from_numpy(pixels[first : first + AT_ONCE]) for first in range(0, len(pixels), AT_ONCE))
        return np.concatenate([torch.as_tensor(model.outputs(modality.to_input(piece)).mean).numpy() for piece in pieces])

    def files(self) -> dict[str, Float[np.ndarray, " examples"]]:
        """What is known of the file of each, in words that stand in a sentence."""
        reports = {report.id: report for report in self.begun.audit.files}
        sources = {record.id: record.source for record in self.begun.dataset.records}
        width, height, size = (np.full(len(self.examples), np.nan) for _ in range(3))
        for place, name in enumerate(self.examples.ids):
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

    def surveyed(self, backbone: Wrapped, head: nn.Module | None, words: str) -> Generator[Event, None, Look]:
        """What every layer gives for each, by one pass of torch."""
        modality = self.examples.store.modality
        batches = (modality.to_input(torch.as_tensor(batch)) for batch in stored(self.examples))
        for step in survey(backbone, batches, head):
            if isinstance(step, Look):
                return step
            yield Progress(words, step, len(self.examples))
        raise AssertionError("a survey ends with what it saw")

    def glanced_at(self, backbone: Wrapped, head: nn.Module | None) -> Generator[Event, None, Look]:
        """The features alone, from the cache or by the fastest engine."""
        state = self.begun.state
        model = Model(backbone, state.model.head, state.model.head_kind)
        found: Features | None = yield from engine_features(self.begun.store, model, state.device)
        found = found or (yield from torch_features(self.begun.store, model, state.device))
        rows = found.rows[self.examples.indices]
        return Look(rows, (), None if head is None else through_head(model, rows)[1].numpy())

    def looked_at(self, backbone: Wrapped, head: nn.Module | None, needs: set[str], words: str) -> Generator[Event, None, Look]:
        """As closely as these needs ask for."""
        if self.pictured and self.classes is not None and "layers" in needs:
            return (yield from self.surveyed(backbone, head, words))
        return (yield from self.glanced_at(backbone, head))


def traced(session: Session, show: Callable[[Event], None], needs: set[str]) -> Trace:
    """All that these needs ask for, of the examples of the run."""
    seen = Examined.of(session.ready())
    state, shown, classes = seen.begun.state, seen.pictured, seen.classes
    after = exhausted(seen.looked_at(state.model.backbone, state.model.head, needs, "looking at the examples"), show)
    before, moved, not_kept, absent = None, None, None, _reasons(seen)
    if shown and not after.layers:
        absent["layers"] = "this backbone gives no maps of an image from any of its layers."
    if "before" in needs:
        try:
            old = _as_it_was(session).to(state.device)
            moved = weights_moved(old, state.model.backbone)
            looked = seen.looked_at(old, None, needs, "looking at them as before training")
            before = exhausted(looked, show) if any(moved.values()) else after
            not_kept = _not_kept(session, seen, old, show) if "not_kept" in needs and before is after and after.layers else None
        except HeadstartError as error:
            absent["before"] = f"the model as it was before training is not at hand: {error}"
    by_row = _by_row(state)
    if by_row is None:
        absent["by_row"] = (
            "what the rows of this run said of each validation example was not kept. Training further keeps it: headstart more RUN --epochs 3."
        )
    return Trace(
        task=state.task,
        ids=seen.examples.ids,
        valid=seen.valid,
        targets=seen.examples.targets,
        after=after,
        before=before,
        not_kept=not_kept,
        classes=classes,
        folds=seen.folds() if "folds" in needs and classes is not None else None,
        copies=seen.copies,
        audit=seen.begun.audit.json() if "audit" in needs else None,
        weights=moved,
        pictures=seen.pictures if shown else None,
        inputs=seen.inputs if shown else None,
        believed=_believed(session, after.features[seen.valid]) if "believed" in needs and classes is not None else None,
        says=seen.says if shown and classes is not None else None,
        files=seen.files() if shown and "says" in needs else None,
        model=state.model,
        taught=_taught(session),
        stages=summary.of(state.model, session.settings, session.frozen),
        rows=session.history,
        by_row=by_row,
        kept=state.kept()["epoch"],
        finished=session.run is None or session.run.plan().finished,
        trained=tuple(sorted(set(state.parts["train"].ids) - set(seen.examples.ids))),
        absent=absent,
    )


def outside(session: Session, name: str, example: Any) -> Shown:
    """A picture that is none of the run's, prepared as `predict` prepares it."""
    one = session.modality.stacked([example])
    x = session.modality.to_input(torch.as_tensor(one)).to(session.device)
    return Shown(name, np.asarray(one)[0], x, session.model, session.answering())


def _believed(session: Session, rows: Float[np.ndarray, "validation features"]) -> Outputs | None:
    """What the model with its posterior says of examples with these features; None without a posterior."""
    fitted = session.fitted
    return None if fitted is None else fitted.posterior.outputs(*through_head(session.model, rows))


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
    found = models.build_backbone(source, settings.pretrained, settings.size, settings.seed, session.data, settings.features)
    shapes, own = ({name: tensor.shape for name, tensor in body.state_dict().items()} for body in (found, model.backbone))
    if shapes != own:
        raise BadSetting("its layers are others than those of today.")
    return found.eval()


def _taught(session: Session) -> Taught | None:
    """What the body was published to tell, where training started from there."""
    started_elsewhere = session.run is not None and session.run.plan().data.get("from") is not None
    published = session.settings.pretrained and session.module is None and not started_elsewhere
    return taught(session.model.backbone) if published else None


def _not_kept(session: Session, seen: Examined, old: Wrapped, show: Callable[[Event], None]) -> NotKept | None:
    """What the body gives that was trained and not kept, where its weights are at hand."""
    found = _trained_weights(session, seen)
    if found is None:
        return None
    weights, words = found
    model = deepcopy(session.model)
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError:  # a trunk of adapters, which stand beside the weights that they change
        return None
    body = model.backbone.eval()
    moved = weights_moved(old, body)
    look = exhausted(seen.surveyed(body, None, "looking at them as trained and not kept"), show)
    return NotKept(look, moved, words) if any(moved.values()) else None


def _trained_weights(session: Session, seen: Examined) -> tuple[Mapping[str, Tensor], str] | None:
    """Those of the last row, which this process may still have, or else of the last steps at the full rate, which the run keeps."""
    state, last = seen.begun.state, session.history[-1]["epoch"]
    if last == 0 or state.kept()["epoch"] != 0:
        return None
    if last in state.weights:
        return state.weights[last], f"after epoch {last}"
    try:
        kept = None if session.run is None else checkpoints.load(session.run.stable)
    except StoreError:
        return None
    return None if kept is None else (kept.model, f"before the last steps to epoch {last}, where the learning rate began to fall")


def _by_row(state: TrainState) -> tuple[Judged, ...] | None:
    """What each row said, where that of the first, the kept and the last is known."""
    known = {each.epoch: each for each in state.judged if len(each.losses) == len(state.parts["valid"])}
    wanted = {state.rows[0]["epoch"], state.kept()["epoch"], state.rows[-1]["epoch"]}
    return tuple(known[row["epoch"]] for row in state.rows if row["epoch"] in known) if wanted <= set(known) else None


def _reasons(seen: Examined) -> dict[str, str]:
    """Why a product is missing, whatever the data."""
    found = {"classes": f"this asks for one class for each example, and the task is {seen.begun.state.task.name}."}
    found["answers"] = "this model says something of every place by itself."
    found["believed"] = "this model has no posterior (posterior=none), so it does not tell how sure it is."
    if not seen.pictured:
        found |= dict.fromkeys(("pictures", "layers", "says"), f"{seen.examples.store.modality.words.items} are no pictures.")
    return found
