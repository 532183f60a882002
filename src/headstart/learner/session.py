"""What a learner works with: data, settings, model and run folder, and the images once they have been read."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart import model as models
from headstart.core import Dataset, Event, Modality, Note, Row, Settings, Task
from headstart.data import stores
from headstart.data._assemble import plain_of
from headstart.data._steps import exhausted
from headstart.engine import device as engine
from headstart.errors import BadSetting, DataError
from headstart.learner import onward, too_late
from headstart.learner.books import recall, require_same
from headstart.learner.fitted import Fitted
from headstart.learner.onward import Start, start_of
from headstart.store import checkpoints
from headstart.store.checkpoints import Checkpoint
from headstart.store.runs import Run
from headstart.train import checkpoint, seeing
from headstart.train.begin import Begun, begin, classes_in_words, engine_features, sizes_in_words
from headstart.train.budget import Clock
from headstart.train.settings import changed, course_of, metric_names
from headstart.train.state import kept_of


@dataclass
class Session:
    """The state of a learner between its verbs."""

    data: Dataset
    settings: Settings
    task: Task
    metrics: Sequence[Any]
    module: nn.Module | None = None
    """The backbone, where it is the user's own."""
    start: Start | None = None
    """The finished training that this one starts from."""
    folder: str | Path | None = None
    """Where the run folder shall be, if the user has said so."""
    started: float | None = None
    """When the clock of the first verb began, where that was before its call."""
    run: Run | None = None
    begun: Begun | None = None
    """The images, read and divided, with all that training changes."""
    answers: Task | None = None
    """The task with what it chose for the kept row, where that comes from disk."""
    fitted: Fitted | None = None
    """The posterior of the model as it is kept."""
    earlier: list[Row] = field(default_factory=list)
    """The rows of the run before this process."""
    changed_data: bool = False
    frozen: bool = False
    left_open: bool = False
    """Whether it was left to the training what the head sees, before that was decided."""
    stopped: bool = False
    """Whether the last verb was ended early by the user."""
    _model: models.Model | None = None
    _before: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ what it works with

    @property
    def model(self) -> models.Model:
        """The model as it is now; made when it is first asked for."""
        if self._model is None:
            settings = self.settings
            if self.start is not None:
                self._model = onward.model_of(self.start, self.task.outputs, settings, self.data)
                return self._model
            source = settings.backbone if self.module is None else self.module
            widest = seeing.widest(settings)
            backbone = models.build_backbone(source, settings.pretrained, settings.size, settings.seed, self.data, widest)
            backbone = seeing.held(backbone, settings, len(self.data.records))
            self._model = models.build(backbone, self.task.outputs, settings.head_kind or self.task.head, settings.seed)
        return self._model

    @property
    def modality(self) -> Modality:
        """From examples to the model's input."""
        return self.model.backbone.takes(self.settings.size)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return engine.choose(self.settings.device)

    @property
    def history(self) -> list[Row]:
        """The rows of the table so far."""
        return list(self.begun.state.rows if self.begun else self.earlier)

    @property
    def first_stage(self) -> int:
        """The first stage that learns in `fit`."""
        return len(self.model.stages()) - 1 if self.frozen else 0

    def answering(self) -> Task:
        """The task as it answers questions of the user."""
        if self.begun is not None and self.begun.state.rows:
            return self.begun.state.answers()
        return self.answers or self.task

    def folder_of_run(self) -> Run:
        """The run folder.

        Raises:
            BadSetting: before the first training.
        """
        if self.run is None:
            raise BadSetting("this learner has no run folder yet: fine_tune or fit makes it.")
        return self.run

    def clock(self, minutes: float | None) -> Clock:
        """The clock of a verb that begins now and may take so long."""
        return Clock.start(sum_of_seconds(self.history), minutes, self._already())

    def clock_again(self, found: Checkpoint | None) -> Clock:
        """The clock of a verb that was interrupted when `found` was made; a phase by the clock knows its own seconds."""
        done = 0.0 if found is None else float(found.state["seconds"])
        if found is None or found.state["phase"]["name"] == "head":  # step 2 is still to come, in what is left of the minutes
            return Clock.start(0.0, self.settings.minutes, done + self._already())
        return Clock.start(done)

    def _already(self) -> float:
        """Seconds since the time that `minutes` counts from, the first time this is asked; then none."""
        began, self.started = self.started, None
        return 0.0 if began is None else time.perf_counter() - began

    # -------------------------------------------------------------------------------------------------- what changes it

    def asked(
        self, epochs: int | None, minutes: float | None, changes: dict[str, Any], verb: str, least: int
    ) -> tuple[int | None, float | None]:
        """What the user wants, epochs or minutes, which the settings then say too."""
        if self.run is not None and self.begun is None and not self.run.plan().finished:
            raise BadSetting(f"this run was interrupted; finish it first: headstart resume {self.run.path}, or learn.resume().")
        metrics = self.metrics
        if "metrics" in changes:
            metrics, changes["metrics"] = metric_names(changes["metrics"])
            self.task.metrics(metrics)
        epochs, minutes = course_of(self.settings, epochs, minutes, verb, least)
        before = replace(self.settings, features="auto") if self.left_open and not self.history else self.settings
        settings = changed(before, {**changes, "epochs": epochs, "minutes": minutes, "method": verb})
        if self.history and seeing.is_open(settings):  # decided long ago
            settings = replace(settings, features=self.settings.features)
        too_late.require_same_task(self.task.name, settings)
        self.task.accept(settings)
        too_late.require_same_loss(self.task, settings)
        plain_of(self.data).accept(settings)
        self._accept(settings)
        self.settings, self.metrics = settings, metrics
        self.left_open = self.left_open and changes.get("features", "auto") == "auto"
        if self.begun is not None:
            self.begun.state.settings, self.begun.state.metrics = settings, metrics
        return epochs, minutes

    def _accept(self, settings: Settings) -> None:
        """Another model takes the place of one that was only looked at.

        Raises:
            BadSetting: when the settings come too late for what was trained.
        """
        if rows := self.history:
            weights = {kept_of(rows, self.settings)["epoch"]} if self.begun is None else self.begun.state.weights
            too_late.require_same_model(self.settings, settings)
            too_late.require_same_kept(self.settings, settings, rows, weights)
        elif self.start is not None:
            too_late.require_same_model(self.settings, settings)
        elif too_late.other_model(self.settings, settings) or (seeing.is_open(settings) and settings.head != self.settings.head):
            self._model, self.begun, self.fitted = None, None, None

    def take_up(
        self,
        run: Run | None,
        frozen: bool,
        answers: Task,
        model: models.Model,
        rows: Sequence[Row],
        fitted: Fitted | None = None,
    ) -> None:
        """Goes on from what was saved."""
        self.run, self.frozen, self.answers, self._model, self.earlier = run, frozen, answers, model, list(rows)
        self.fitted = fitted

    def forget(self) -> None:
        """As it was before the first verb, the settings excepted, with the pretrained weights."""
        self.run, self.folder, self.begun, self.start, self._model, self.earlier = None, None, None, None, None, []
        self.answers, self.fitted = None, None
        if self.left_open:
            self.settings = replace(self.settings, features="auto")

    def decided(self) -> None:
        """Takes up what the training decided of what the settings left open, however it ended."""
        if self.begun is None or self.settings.features == self.begun.state.settings.features:
            return
        self.left_open, self.settings = True, self.begun.state.settings
        features, width = self.begun.features, self.begun.state.model.backbone.spec.width
        if features is not None and features.rows.shape[1] > width:
            self.begun = replace(self.begun, features=features.first(width))

    def turn_to(self, data: Dataset) -> None:
        """Makes `data` what the next training reads: in the same run where it is the same, else in a new one from its weights."""
        self.begun, self.earlier = None, self.history
        if not onward.is_other(data, self.run, self.task):
            self.data = data
            return
        self.start = start_of(self.folder_of_run().path, self.module, beside=True)
        self.data, self.settings, self.task = onward.adopted(data, self.settings, self.start)
        self._model, self.run, self.folder, self.answers, self.fitted, self.earlier = None, None, None, None, None, []
        self.left_open = False

    # -------------------------------------------------------------------------------------------------- reading the data

    def ready(self) -> Begun:
        """The data read and divided, without training."""
        if self.begun is None:
            self.begun = exhausted(self._beginning(False))
        return self.begun

    def begin_anew(self, with_features: bool) -> Iterator[Event]:
        """Reads and divides the data, where a look at it has not done so.

        Beware: the books must see an event before the first step, or it is no news to them.
        """
        if self.begun is None:
            begun = yield from self.continued(with_features)
        else:
            begun = self.begun
            if with_features and begun.features is None:
                found = yield from engine_features(begun.store, begun.state.model, begun.state.device)
                begun = replace(begun, features=found)
        self.begun = begun
        yield Note(sizes_in_words(begun.split, begun.store.modality.words.items))
        if sentence := classes_in_words(begun.state):
            yield Note(sentence)

    def continued(self, with_features: bool) -> Generator[Event, None, Begun]:
        """The data read and divided; where a run goes on, it must be what the run began with."""
        begun = yield from self._beginning(with_features)
        try:
            if self.run is not None and onward.earlier_of(self.run) is not None:
                require_same(self.run, begun, self.changed_data)
        except DataError:
            begun.store.close()
            raise
        return begun

    def opened(self, _begun: Begun) -> None:
        """Notes what the model that came says of the images that will judge the new one."""
        if self.start is not None and self.run is not None and not self.run.changes():
            onward.note_before(self.run, self.start, self._before)

    def _beginning(self, with_features: bool) -> Generator[Event, None, Begun]:
        """Reads and divides the data; the run folder is there before that."""
        for sentence in self.data.notes:
            yield Note(sentence)
        onward.require_known(self.data, self.task, self.run)
        self.model.backbone.require(self.data)
        fresh = self.start if not self.earlier else None
        earlier = (None if self.run is None else onward.earlier_of(self.run)) or (fresh.earlier if fresh else None)
        wanted = with_features or (fresh is not None and fresh.task.outputs != self.task.outputs)
        device = self.device
        store = stores.start(self.data, self.modality)
        try:
            model = self.model.to(device).to(memory_format=torch.channels_last)
            begun = yield from begin(self.data, store, model, self.task, self.settings, self.metrics, device, wanted, earlier)
            if fresh is not None:
                self._before = onward.taken_over(begun, fresh)
            for sentence in () if self.earlier else onward.told_fixes(begun, earlier):
                yield Note(sentence)
        except BaseException:
            store.close()
            raise
        begun.state.take_up(self.earlier)
        if self.run is not None:
            recall(self.run, begun.state)
        if self.earlier and self.answers is not None:
            begun.state.answering[begun.state.kept()["epoch"]] = self.answers
        begun.state.seconds = sum_of_seconds(self.earlier)
        if self.run is not None and (stable := checkpoints.load(self.run.stable)) is not None:
            begun.state.trunk = checkpoint.to_snapshot(stable, str(self.run.stable))
        return begun


def untrained(what: str) -> str:
    """That there is something not yet, and what to do: `what` says of what there is nothing."""
    return f"{what} before the first training: fine_tune(0) solves the head, fine_tune(3) trains all."


def sum_of_seconds(rows: Sequence[Row]) -> float:
    """Seconds of training behind these rows."""
    return float(rows[-1]["seconds"]) if rows else 0.0
