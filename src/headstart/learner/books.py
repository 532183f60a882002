"""What a run writes down, and when: the split and audit when training begins, a row when it is done, the bundle when a row is kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from headstart.backbones.choices import next_size
from headstart.core import Changed, Cooling, Dataset, Event, Note, Plan, Row, RowDone, Settings, StepDone
from headstart.data.earlier import PARTS, from_json, noted
from headstart.errors import DataError, StoreError
from headstart.learner import believing, crossed
from headstart.learner.fitted import Fitted
from headstart.model import Model, bundle_config, bundle_tensors
from headstart.report import curve
from headstart.report.card import CardFacts, card
from headstart.store import bundle as bundles
from headstart.store import checkpoints
from headstart.store.runs import Run, versions
from headstart.train import checkpoint, judged
from headstart.train.average import holding
from headstart.train.begin import Begun
from headstart.train.course import Course, Snapshot
from headstart.train.observers.rows import number, row_in_words
from headstart.train.state import TrainState


def first_plan(dataset: Dataset, settings: Settings, task: Any, start: Path | str | None = None, frozen: bool = False) -> Plan:
    """What is known before anything heavy is imported or read; `start` is the run or bundle that the training starts from."""
    data = {"name": dataset.name, "origin": dict(dataset.origin)} | ({} if start is None else {"from": str(start)})
    return Plan(data=data, task=task.state(), settings=settings, frozen=frozen)


@dataclass
class Books:
    """Keeps the run folder up to date with a training."""

    run: Run
    dataset: Dataset
    frozen: bool = False
    """Whether `fit` trains the head alone."""
    fitted: Fitted | None = None
    """The posterior of the row that is kept, once there is one."""
    _seen: str = ""
    """What the head sees, as the plan on disk says."""
    _noted: Course | None = None
    _good: Snapshot | None = None
    _saved: float = field(default_factory=time.perf_counter)
    _troubled: bool = False

    def began(self, begun: Begun) -> None:
        """Split, audit, and the plan with what was decided, where they are not there yet."""
        self._noted, self._seen = begun.state.course, self.run.plan().settings.features
        if (self.run.path / "split.json").is_file():
            return
        self._write_plan(begun)
        note_images(self.run, begun)
        self.run.write_split(begun.split)  # beware: last, as a run that has it is taken to have the others

    def happened(self, begun: Begun, event: Event, seconds: float) -> Sequence[str]:
        """What the event says goes to disk; `seconds` of training lie behind it. Returns what went wrong without stopping it."""
        state = begun.state
        if state.settings.features != self._seen:
            self._write_plan(begun)  # beware: before there is a row or a checkpoint of the model that was decided on
        match event:
            case RowDone(row):
                return [*self._row_done(begun, row), *self._checkpoint(begun, seconds)]
            case Cooling():
                return self._stable(begun)
            case Changed():
                return self._changed(begun, seconds)
            case StepDone() if state.course is not None:
                return self._step_done(begun, state.course, event, seconds)
            case _:
                return ()

    def stopped(self, begun: Begun, seconds: float) -> None:
        """A checkpoint to resume a training that the user has stopped."""
        self._checkpoint(begun, seconds)

    def settle(self, begun: Begun, stopped: bool, left: Callable[[], float]) -> Iterator[Event]:
        """The posterior of the row that is kept; after a stop only one for which nothing is missing."""
        missing = self.fitted is None or self.fitted.epoch != begun.state.kept()["epoch"]
        if stopped:
            self.fitted = believing.at_hand(begun, begun.state.settings) if missing else self.fitted
        elif missing or crossed.has_time(begun.state, left):
            self.fitted = yield from believing.of_kept(begun, begun.state.settings, left)
        if self.fitted is not None:
            yield Note(f"How sure answers are: {self.fitted.words}.{self.fitted.limits}")

    def finished(self, begun: Begun, stopped: bool) -> list[str]:
        """The curve, the plan with every phase, the card with the whole table; returns the closing lines."""
        self._save(begun)
        if len(begun.state.rows) > 1:
            curve.save(begun.state.rows, self.run.path / "curve.svg", self.dataset.name)
        self._write_plan(begun, finished=not stopped)
        if not stopped:
            checkpoints.remove(self.run.epoch)
            checkpoints.discard(self.run.checkpoints)
            self.run.forget_steps()
        return closing_lines(begun, self.run, stopped)

    def _row_done(self, begun: Begun, row: Row) -> Sequence[str]:
        self.run.append_row(row)
        line = begun.state.judged[-1].line(begun.state.parts["valid"].ids)
        troubles = self._tried(partial(self.run.append_judged, line))
        if begun.state.kept() is row:
            started = time.perf_counter()
            # beware: where weights are averaged, the model goes on with others than the row has
            with holding(begun.state.model, begun.state.weights[row["epoch"]]):
                self.fitted = believing.at_hand(begun, begun.state.settings)
                self._save(begun)
            begun.state.spent["saving"] = time.perf_counter() - started
        return troubles

    def _save(self, begun: Begun) -> None:
        bundles.save(self.run.bundle, make_bundle(begun, self.dataset, self.run.path.name, self.fitted))

    def _step_done(self, begun: Begun, course: Course, event: StepDone, seconds: float) -> Sequence[str]:
        """A checkpoint when the phase is new or the last one is old; the log of a phase by the clock."""
        fresh, troubles = course is not self._noted, ()
        if fresh:
            self._noted = course
            self.run.forget_steps()
            if begun.state.trunk is None:
                checkpoints.remove(self.run.stable)  # of an earlier phase, which this one does not prolong
        if course.phase.seconds is not None:
            place = course.place
            entry = (event.step, event.progress, place.seconds, place.rowless, place.threads)
            troubles = self._tried(partial(self.run.log_step, entry))
        if fresh or time.perf_counter() - self._saved >= begun.state.settings.checkpoint_seconds:
            troubles = [*troubles, *self._checkpoint(begun, seconds)]
        if fresh:
            self._write_plan(begun)  # from now on the run is not finished, and there is a checkpoint to resume
        return troubles

    def _stable(self, begun: Begun) -> Sequence[str]:
        trunk = begun.state.trunk
        if trunk is None:
            checkpoints.remove(self.run.stable)
            return ()
        return self._tried(partial(checkpoints.save, self.run.stable, checkpoint.of_trunk(begun.state)))

    def _changed(self, begun: Begun, seconds: float) -> Sequence[str]:
        """The phase as it now is, everywhere; what was logged of steps by the clock is past."""
        state = begun.state
        own = state.trunk is None or state.trunk.phase in state.phases
        troubles = [*(self._stable(begun) if own else ()), *self._checkpoint(begun, seconds)]
        self.run.forget_steps()
        self._write_plan(begun)
        return troubles

    def _checkpoint(self, begun: Begun, seconds: float) -> Sequence[str]:
        course = begun.state.course
        if course is None:
            return ()
        good, troubles = course.good, []
        # beware: before the checkpoint that may need it; after the last batch of an epoch it is no longer needed
        if good is not None and good is not self._good and 0 < course.place.batch < begun.state.steps_per_epoch(course.phase):
            troubles += self._tried(partial(checkpoints.save, self.run.epoch, checkpoint.of_snapshot(good)))
            self._good = good
        made = checkpoint.of_state(begun.state, seconds)
        troubles += self._tried(partial(checkpoints.append, self.run.checkpoints, made))
        self._saved = time.perf_counter()
        return troubles

    def _tried(self, save: Callable[[], None]) -> Sequence[str]:
        """Saves what only `resume`, `more` and `inspect` need: where that fails, the training is worth more than the copy."""
        try:
            save()
        except StoreError as error:
            first, self._troubled = not self._troubled, True
            words = "Something to go on from could not be saved, so an interrupted training could not be resumed"
            return (f"{words}: {error}",) if first else ()
        return ()

    def _write_plan(self, begun: Begun, finished: bool = False) -> None:
        engine = {} if begun.features is None else {"frozen": begun.features.engine, "agreement": begun.features.agreement}
        state = begun.state
        plan = first_plan(self.dataset, state.settings, state.task, self.run.plan().data.get("from"), self.frozen)
        engine |= {"device": str(state.device), "threads": torch.get_num_threads(), "pixels": begun.store.key}
        known = {"modality": begun.store.modality.state(), "phases": tuple(state.phases), "engine": engine, "finished": finished}
        self.run.write_plan(replace(plan, **known))
        self._seen = state.settings.features


def recall(run: Run, state: TrainState) -> None:
    """Gives the state what the run has of what its rows said of each validation example."""
    state.judged = judged.of_lines(run.judged(), state.parts["valid"].ids, state.rows)


def note_images(run: Run, begun: Begun) -> None:
    """Keeps what was found in the files, with the content and the label of each, by which they are known again."""
    images = {name: list(known) for name, known in noted(begun.split, begun.audit).images.items()}
    run.write_audit({**begun.audit.json(), "images": images})


def make_bundle(begun: Begun, dataset: Dataset, name: str, fitted: Fitted | None = None) -> bundles.Bundle:
    """The model as it is now with everything that predict and timm need, its posterior, and its card."""
    state, modality = begun.state, begun.store.modality
    config = bundle_config(state.model, state.task.names, modality)
    text = card(
        CardFacts(
            name=name,
            data=dataset.name,
            words=state.task.words,
            names=state.task.names,
            images={part: len(getattr(begun.split, part)) for part in PARTS},
            counts=_counts(begun, dataset),
            backbone=state.model.backbone.spec,
            inputs=modality.words,
            settings=state.settings,
            rows=state.rows,
            kept=state.kept()["epoch"],
            defaults=state.defaults,
            split_rule=begun.split.rule,
            quarantined=len(begun.audit.quarantine),
            base_model=base_model(state.model),
            timm_loads=config["architecture"] is not None,
            versions=versions(),
        )
    )
    config["headstart"] |= {"rows": state.rows, "settings": asdict(state.settings), "seconds": state.seconds}
    files, posterior = state.model.backbone.files(), None if fitted is None else fitted.stored(state.model)
    return bundles.Bundle(bundle_tensors(state.model), config, state.answers().state(), text, files, posterior)


def base_model(model: Model) -> str | None:
    """The name of the pretrained weights on the Hub, None for weights of one's own."""
    spec = model.backbone.spec
    return f"timm/{spec.name}" if model.backbone.architecture and spec.source != "random" else None


def _counts(begun: Begun, dataset: Dataset) -> dict[str, dict[str, int]]:
    targets = {record.id: record.target for record in dataset.records}
    split = begun.split
    return {
        part: begun.state.task.counts([targets[name] for name in ids])
        for part, ids in (("train", split.train), ("valid", split.valid), ("test", split.test))
    }


def closing_lines(begun: Begun, run: Run, stopped: bool = False) -> list[str]:
    """Four lines: what is kept, where it is, how to predict with it, how to go on."""
    kept, folder = begun.state.kept(), _shown(run.path)
    plainly = why_the_first(begun.state) if kept is begun.state.rows[0] and len(begun.state.rows) > 1 else ""
    bigger = next_size(begun.state.settings.backbone, begun.dataset.modality)
    size = f"    A larger backbone:  --backbone {bigger.name}" if bigger else ""
    go_on = f"Finish it:  headstart resume {folder}" if stopped else f"Train more:  headstart more {folder} --epochs 3"
    return [
        f"Kept: {row_in_words(kept)}.{plainly}",
        f"The model is in {_shown(run.bundle)}",
        f"Predict:  headstart predict {folder} {begun.store.modality.words.item.upper()}...    Look into it:  headstart inspect {folder}",
        f"{go_on}    Judge it:  headstart evaluate {folder}{size}",
    ]


def why_the_first(state: TrainState) -> str:
    """Why the first row is kept although there are others."""
    lowest, named = state.lowest(), "Row 0, the head alone," if state.rows[0]["epoch"] == 0 else "The first row"
    if lowest is state.rows[0]:
        return f" {named} was the best: training all layers did not improve on it."
    return (
        f" {named} is kept: the valid_loss of row {lowest['epoch']} ({number(lowest['valid_loss'])}) is lower by no more than chance, with "
        f"{len(state.parts['valid']):,} validation {state.parts['valid'].store.modality.words.items}. To keep the last row: --keep last."
    )


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    try:
        text = str(path.relative_to(Path.cwd()))
    except ValueError:
        text = str(path)
    return f'"{text}"' if " " in text else text


def require_same(run: Run, begun: Begun, changed_data: bool) -> None:
    """Raises `DataError` when the images that train and choose are no longer those the run began with, and says which."""
    was, now = from_json(run.split(), run.audit().get("images", {})), noted(begun.split, begun.audit)
    changes = was.changes(now)
    rewritten = not was.images and run.plan().engine.get("pixels") != begun.store.key
    if not rewritten and not any(changes.values()):
        return
    told = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in changes.items()
        if names
    ]
    if changed_data:
        run.write_split(begun.split)
        note_images(run, begun)
        return
    raise DataError(
        f"the images changed since the run began: {'; '.join(told) or 'files were written again or lie elsewhere'}. With other images the "
        "training cannot end as it would have, and rows do not compare. To go on with what is there now: --changed-data "
        "(changed_data=True); or `headstart more RUN --data PATH`, which makes a run of its own."
    )
