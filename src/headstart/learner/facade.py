"""Learner and load: each verb is a few lines over public functions."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart import model as models
from headstart.core import Dataset, Event, Geometry, Note, Observer, Row, Settings, Task
from headstart.data import fixes, pixels, sources
from headstart.data._paths import outside
from headstart.data._steps import exhausted
from headstart.engine import device as engine
from headstart.errors import BadSetting, DataError
from headstart.evaluate import views
from headstart.evaluate.predict import predict
from headstart.learner import onward
from headstart.learner.books import Books, first_plan, make_bundle, require_same
from headstart.learner.onward import Start, start_of
from headstart.learner.presses import counted
from headstart.learner.watching import Events, Watching
from headstart.metrics import Measured
from headstart.modalities import image
from headstart.report import rates, results, summary
from headstart.store import bundle as bundles
from headstart.store import checkpoints
from headstart.store.checkpoints import Checkpoint
from headstart.store.runs import Run
from headstart.tasks.single_label import SingleLabel
from headstart.train import budget, checkpoint, lr_find, pricing, recipes, solved, tracking
from headstart.train.begin import (
    Begun,
    begin,
    classes_in_words,
    engine_features,
    evaluated,
    sizes_in_words,
    torch_features,
)
from headstart.train.budget import Clock
from headstart.train.features import Features
from headstart.train.forecast import Forecast, lay_out
from headstart.train.observers import Together, choose
from headstart.train.observers.guarded import Guarded
from headstart.train.settings import Metric, changed, course_of, metric_names, unknown_verb

Recipe = Callable[[Clock], Events]


class Learner:
    """A model on its way from pretrained to fine-tuned, with the run folder that remembers everything.

    Args:
        data: a `Dataset`, or a path that `image_folder` or `image_csv` can open.
        settings: all settings at once; single ones can be given by name: `size=160, batch_size=16`.
        backbone: a name, a path, a finished run, or your own `nn.Module`.
        metrics: names, or functions of (probs [batch, classes], targets [batch]).
        labels: label files (path,label,action,part,reason) to apply to the data, one after another.
        from_run: a finished run or bundle whose weights, backbone and head, the training starts from, in a run of its own.
        run: the run folder; by default the first free `runs/<data>-<n>`.
        observer: who is told what happens; by default the table that suits the terminal or notebook.
        started: the `time.perf_counter()` that the first `minutes` count from; by default the call of the verb.

    Raises:
        UnknownName, BadSetting: at once, for a setting that does not exist or cannot be.
    """

    def __init__(
        self,
        data: Dataset | str | Path,
        settings: Settings | None = None,
        *,
        backbone: str | Path | nn.Module | None = None,
        metrics: Metric | Sequence[Metric] | None = None,
        labels: str | Path | Sequence[str | Path] = (),
        from_run: str | Path | Start | None = None,
        run: str | Path | None = None,
        observer: Observer | None = None,
        started: float | None = None,
        **changes: Any,
    ) -> None:
        settings = settings or Settings()
        if backbone is not None:
            changes["backbone"] = "module" if isinstance(backbone, nn.Module) else str(backbone)
        self._metrics, changes["metrics"] = metric_names(settings.metrics if metrics is None else metrics)
        self.settings = changed(settings, changes)
        self._module = backbone if isinstance(backbone, nn.Module) else None
        self.data = sources.open_path(data) if isinstance(data, str | Path) else data
        for file in [labels] if isinstance(labels, str | Path) else labels:
            self.data = fixes.apply_labels(self.data, file)
        self._start = start_of(from_run, self._module) if isinstance(from_run, str | Path) else from_run
        if self._start is not None:
            self.data, self.settings = onward.adopted(self.data, self.settings, self._start)
        self.stopped = False
        """Whether the last verb was ended early by Ctrl-C or a notebook's stop button."""
        self._task: Task = SingleLabel(self.data.classes)
        self._task.metrics(self._metrics)  # a typo in a metric's name is told now, not after the first epoch
        self._observer, self._folder, self._started = observer, run, started
        self._model: models.Model | None = None
        self._run: Run | None = None
        self._begun: Begun | None = None
        self._earlier: list[Row] = []
        self._before: dict[str, str] = {}
        self._changed_data = self._frozen = False

    # ------------------------------------------------------------------------------------------------------- training

    def fine_tune(
        self, epochs: int | None = None, *, minutes: float | None = None, restart: bool = False, **changes: Any
    ) -> "Learner":
        """This learner after transfer learning in two steps: the new head alone, then the whole model for `epochs` complete passes.

        Row 0 is the head alone; `fine_tune(0)` stops there. With `minutes` instead of epochs everything, from this call to the
        saved model, takes that long, and the learning rate reaches zero at its end. A second call goes on from where the
        first ended, in the same table; `restart=True` starts over from the pretrained weights in a new run. `changes` are
        settings, kept for later calls.
        """
        if restart:
            self._model, self._begun, self._run, self._start, self._earlier = None, None, None, None, []
        epochs, minutes = self._asked(epochs, minutes, changes, "fine_tune", least=0)
        return self._watched(lambda clock: self._two_steps(epochs, clock), minutes)

    def fit(self, epochs: int | None = None, *, minutes: float | None = None, **changes: Any) -> "Learner":
        """This learner after `epochs` complete passes, or `minutes`, training what is trainable from where it is."""
        epochs, minutes = self._asked(epochs, minutes, changes, "fit", least=1)
        return self._watched(lambda clock: self._one_step(epochs, clock), minutes)

    def more(
        self,
        epochs: int | None = None,
        *,
        minutes: float | None = None,
        data: Dataset | str | Path | None = None,
        changed_data: bool = False,
        **changes: Any,
    ) -> "Learner":
        """This learner after further epochs or minutes of what it did last; the table, its numbering and the schedule go on.

        Training goes on from where the learning rate began to fall, not from the finished model. `data` is where the images
        are now; with other images or new classes in it a run of its own starts from the weights of this one, and says what the
        model lost and gained.

        Raises:
            DataError: when the images changed since the run began; `changed_data=True` goes on with what there is.
        """
        if data is not None:
            self._turn_to(onward.opened(data, self._run))
        self._changed_data = changed_data
        verb = self.fit if self.settings.method == "fit" else self.fine_tune
        return verb(epochs, minutes=minutes, **changes)

    def resume(self, changed_data: bool = False) -> "Learner":
        """This learner after finishing what an interruption of its run left undone, with the weights it would have had.

        Raises:
            DataError: when the data is no longer what it was; `changed_data=True` goes on with what there is now.
        """
        plan = self.run.plan()
        if plan.finished:
            (self._observer or choose()).show(Note("There is nothing to resume: this run is finished. `more` trains it further."))
            return self
        found, troubles = checkpoints.newest(self.run.checkpoints)
        before = 0.0 if found is None else float(found.state["seconds"])
        minutes = self.settings.minutes if found is None else None
        if found is not None and self.settings.minutes is not None and found.state["phase"]["name"] == "head":
            minutes = self.settings.minutes - before / 60  # step 2 is still to come; none may be left, which it will say
        return self._watched(lambda clock: self._resumed(found, troubles, changed_data, clock), minutes, before)

    def plan(self, epochs: int | None = None, *, minutes: float | None = None) -> Forecast:
        """What so many epochs or minutes would be spent on, how far they would get and until when, without training.

        A few images and steps of a copy of the model are timed; nothing is written. After a training, of `more`.
        """
        settings = self.settings
        epochs, minutes = course_of(settings, epochs, minutes, "plan", least=1 if self.history else 0)
        settings = changed(settings, {"epochs": epochs, "minutes": minutes})
        already = 0.0 if self._started is None else time.perf_counter() - self._started
        with engine.tuned_run(self._device()):
            if self.history:
                start = pricing.of_state(self._ready().state)
            else:
                start = pricing.at_the_start(
                    self.data, self.geometry, self.model, self._task, settings, self._metrics, self._device()
                )
            first_stage = len(self.model.stages()) - 1 if self._frozen else 0
            prices, facts = pricing.prices(start, self.data.name, first_stage, already, minutes is not None)
        return lay_out(prices, facts, epochs, minutes, lambda seconds: budget.time_of_day(seconds - already))

    def freeze(self) -> "Learner":
        """This learner with only its head trainable, for the next `fit`."""
        self._frozen = True
        return self

    def unfreeze(self) -> "Learner":
        """This learner with every layer trainable, as it is when new."""
        self._frozen = False
        return self

    # ------------------------------------------------------------------------------------------------------- using it

    def predict(self, inputs: Any, tta: int = 1) -> Any:
        """The `Prediction` of one image (a path, an array [height, width, 3], a PIL image), or a list for a folder or several.

        With `tta` above 1 the model looks at so many views of each image (mirrored, moved) and its probabilities are averaged.
        """
        found = list(self.predictions(inputs, tta))
        single = not isinstance(inputs, list | tuple) and not (isinstance(inputs, str | Path) and Path(inputs).is_dir())
        return found[0] if single and len(found) == 1 else found

    def predictions(self, inputs: Any, tta: int = 1) -> Iterator[Any]:
        """One `Prediction` per image, streamed; an image that cannot be read has one that says why."""
        seen = views.of(self.model, self._task, self.geometry, self.settings.augment, tta)
        return predict(seen, self._task, inputs, seen.geometry, self.settings.batch_size)

    def evaluate(
        self, data: Dataset | str | Path | None = None, part: str = "valid", per_class: bool = False, tta: int = 1
    ) -> dict[str, Measured]:
        """Each metric with its 95 % interval, on all of `data`, or on a part ("valid", "test", "train") of this learner's own.

        `per_class` adds the figures of each class, such as `recall.cat`; `tta` is the number of views of each image.
        """
        with engine.tuned_run(self._device()):
            if data is not None:
                dataset = sources.open_path(data) if isinstance(data, str | Path) else data
                kind = (self.geometry, self._metrics, self._device(), self.settings)
                return evaluated(dataset, self.model, self._task, *kind, per_class, tta)
            state = self._ready().state
            if part not in state.parts or len(state.parts[part]) == 0:
                raise DataError(
                    f'{self.data.name} has no images in the part "{part}". A share for it is set where the data is made.'
                )
            return state.measured(part, per_class, tta)

    def show_results(self, count: int = 10, worst: bool = False) -> Any:
        """A picture of `count` validation images with label and prediction; `worst=True` takes those with the largest losses."""
        return results.picture(results.of_part(self._ready().state, "valid", count, worst))

    def summary(self) -> summary.Summary:
        """The stages of the model, their parameters, and the share of the learning rate that each would get."""
        return summary.of(self.model, self.settings, self._frozen)

    def lr_find(self) -> rates.LearningRates:
        """Losses of a copy of the model at growing learning rates, with a suggestion; `plot()` draws them. Nothing is changed."""
        with engine.tuned_run(self._device()):
            state = self._ready().state
            phase = replace(recipes.step_two(state, 1), first_stage=len(state.model.stages()) - 1 if self._frozen else 0)
            head = "from the random head" if not state.rows else f"from the weights of row {state.kept()['epoch']}"
            return rates.of(lr_find.ramp(state, phase), phase.lr, head)

    def save(self, folder: str | Path) -> Path:
        """The folder, now a bundle: weights, configuration, task and model card."""
        bundles.save(Path(folder), make_bundle(self._ready(), self.data, self.settings, Path(folder).name))
        return Path(folder)

    # ----------------------------------------------------------------------------------------------------- looking in

    @property
    def model(self) -> models.Model:
        """The model as it is now."""
        if self._model is None:
            settings = self.settings
            if self._start is not None:
                self._model = onward.model_of(self._start, self._task.outputs, settings)
                return self._model
            source = settings.backbone if self._module is None else self._module
            backbone = models.build_backbone(source, settings.pretrained, settings.size, settings.seed)
            self._model = models.build(backbone, self._task.outputs, settings.head_kind, settings.seed)
        return self._model

    @property
    def geometry(self) -> Geometry:
        """From decoded pixels to the model's input."""
        return image.geometry(self.model.backbone.spec, self.settings.size)

    @property
    def history(self) -> list[Row]:
        """The rows of the table so far."""
        return list(self._begun.state.rows if self._begun else self._earlier)

    def seconds_per_epoch(self) -> float:
        """About how long one epoch of all layers takes on this machine, timed on two steps of a copy of the model."""
        with engine.tuned_run(self._device()):
            state = self._ready().state
            return budget.epoch_seconds(state, recipes.base_phase(state, "all", 1))

    @property
    def kept(self) -> int:
        """The epoch whose weights this learner holds."""
        return self._ready().state.kept()["epoch"]

    @property
    def run(self) -> Run:
        """The run folder; the first training verb makes it."""
        if self._run is None:
            raise BadSetting("this learner has no run folder yet: fine_tune or fit makes it.")
        return self._run

    def __repr__(self) -> str:
        done = f"{len(self.history)} rows" if self.history else "not trained yet"
        return f"Learner({self.data.name}: {len(self.data.classes)} classes, backbone {self.settings.backbone}, {done})"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(unknown_verb(name))

    # ------------------------------------------------------------------------------------------------------ machinery

    def _asked(
        self, epochs: int | None, minutes: float | None, changes: dict[str, Any], verb: str, least: int
    ) -> tuple[int | None, float | None]:
        """What the user wants, epochs or minutes, which the settings then say too."""
        if self._run is not None and self._begun is None and not self._run.plan().finished:
            raise BadSetting(f"this run was interrupted; finish it first: headstart resume {self._run.path}, or learn.resume().")
        if "metrics" in changes:
            self._metrics, changes["metrics"] = metric_names(changes["metrics"])
        epochs, minutes = course_of(self.settings, epochs, minutes, verb, least)
        self.settings = changed(self.settings, {**changes, "epochs": epochs, "minutes": minutes, "method": verb})
        if self._begun is not None:
            self._begun.state.settings = self.settings
        return epochs, minutes

    def _device(self) -> torch.device:
        return engine.choose(self.settings.device)

    def _two_steps(self, epochs: int | None, clock: Clock) -> Events:
        solve = self.settings.head == "solve"
        if self._begun is None or not self._begun.state.rows:
            yield from self._begin_anew(solve and not self._earlier)
        begun = self._ready()
        if epochs != 0:
            recipes.require_pairs(begun.state)
        begun.state.first_stage = 0  # freezing was for the next fit
        if begun.state.rows:
            begun.state.know_first_losses()
            yield Note(f"Going on after {len(begun.state.rows)} rows; restart=True would start over.")
        elif solve and begun.features is not None:
            yield from solved.solve_head(begun.state, begun.features, self._again, clock, self._start is not None)
        else:
            yield from recipes.train_head(begun.state, clock)
        if epochs != 0 and not (begun.state.hurry or begun.state.hurried):
            yield from recipes.train_all(begun.state, epochs, clock)

    def _one_step(self, epochs: int | None, clock: Clock) -> Events:
        if self._begun is None or not self._begun.state.rows:
            yield from self._begin_anew(False)
        state = self._ready().state
        recipes.require_pairs(state)
        state.know_first_losses()
        state.first_stage = len(state.model.stages()) - 1 if self._frozen else 0
        yield from recipes.fit(state, epochs, clock)

    def _resumed(self, found: Checkpoint | None, troubles: Sequence[str], changed_data: bool, clock: Clock) -> Events:
        for sentence in troubles:
            yield Note(sentence)
        settings = self.settings
        if found is None:
            yield Note("The run was interrupted before its first checkpoint: it starts from the beginning.")
            self.run.write_rows([])
            self._earlier = []
            steps = self._one_step if settings.method == "fit" else self._two_steps
            yield from steps(settings.epochs, clock)
            return
        self._earlier = []
        self._changed_data = changed_data
        begun = yield from self._continued(False)
        where = str(self.run.checkpoints)
        checkpoint.take_up(begun.state, found, where)
        self.run.write_rows(begun.state.rows)
        self._begun = begun
        state = begun.state
        assert state.course is not None, "a checkpoint is one of a course"
        state.course.good = checkpoint.good_of(self.run.epoch, state.course.place)
        logged = checkpoint.logged_after(self.run.steps(), state.course.place.step)
        state.spent["a step"] = 0.0  # beware: the first steps of a process are slow, and would be taken for a busy machine
        yield Note(f"Resumed in epoch {state.course.place.epoch}, after {state.course.place.step} steps.")
        yield from recipes.go_on(state, clock, logged)
        if state.course.phase.name == "head" and settings.epochs != 0 and not (state.hurry or state.hurried):
            yield from recipes.train_all(state, settings.epochs, clock)

    def _begin_anew(self, with_features: bool) -> Iterator[Event]:
        """Reads and divides the data, where a look at it has not done so.

        Beware: the books must see an event before the first step, or it is no news to them.
        """
        begun = self._begun or (yield from self._continued(with_features))
        if with_features and begun.features is None:
            begun = replace(begun, features=(yield from engine_features(begun.store, begun.state.model, begun.state.device)))
        self._begun = begun
        yield Note(sizes_in_words(begun.split))
        if sentence := classes_in_words(begun.state):
            yield Note(sentence)

    def _turn_to(self, data: Dataset) -> None:
        """Makes `data` what the next training reads: in the same run where it is the same, else in a new one from its weights."""
        self._begun, self._earlier = None, self.history
        if not onward.is_other(data, self._run, self.data.classes):
            self.data = replace(data, classes=self.data.classes)
            return
        self._start = start_of(self.run.path, self._module, beside=True)
        self.data, self.settings = onward.adopted(data, self.settings, self._start)
        self._task = SingleLabel(self.data.classes)
        self._model, self._run, self._folder, self._earlier = None, None, None, []

    def _continued(self, with_features: bool) -> Generator[Event, None, Begun]:
        """The data read and divided; where a run goes on, it must be what the run began with."""
        begun = yield from self._beginning(with_features)
        try:
            if self._run is not None and onward.earlier_of(self._run) is not None:
                require_same(self._run, begun, self._changed_data)
        except DataError:
            begun.store.close()
            raise
        return begun

    def _beginning(self, with_features: bool) -> Generator[Event, None, Begun]:
        """Reads and divides the data; the run folder is there before that."""
        for sentence in self.data.notes:
            yield Note(sentence)
        onward.require_known(self.data, tuple(self._task.state()["classes"]), self._run)
        fresh = self._start if not self._earlier else None
        earlier = (None if self._run is None else onward.earlier_of(self._run)) or (fresh.earlier if fresh else None)
        wanted = with_features or (fresh is not None and fresh.classes != self.data.classes)
        device = self._device()
        store = pixels.start(self.data, self.geometry)
        try:
            model = self.model.to(device).to(memory_format=torch.channels_last)
            begun = yield from begin(self.data, store, model, self._task, self.settings, self._metrics, device, wanted, earlier)
            if fresh is not None:
                self._before = onward.taken_over(begun, fresh)
            for sentence in () if self._earlier else onward.told_fixes(begun, earlier):
                yield Note(sentence)
        except BaseException:
            store.close()
            raise
        begun.state.take_up(self._earlier)
        begun.state.seconds = sum_of_seconds(self._earlier)
        if self._run is not None and (stable := checkpoints.load(self._run.stable)) is not None:
            begun.state.trunk = checkpoint.to_snapshot(stable, str(self._run.stable))
            checkpoint.take_up_losses(begun.state, stable)
        return begun

    def _again(self) -> Generator[Event, None, Features]:
        begun = self._ready()
        return (yield from torch_features(begun.store, begun.state.model, begun.state.device))

    def _ready(self) -> Begun:
        """The data read and divided, without training."""
        if self._begun is None:
            self._begun = exhausted(self._beginning(False))
        return self._begun

    def _watched(self, recipe: Recipe, minutes: float | None = None, before: float | None = None) -> "Learner":
        """Runs a recipe, tells the observer, keeps the books; Ctrl-C once keeps what there is, twice quits.

        With `interrupt="anneal"` there is a press before those two that asks for an early end.
        """
        clock = Clock.start(sum_of_seconds(self.history) if before is None else before, minutes, self._already())
        created = self._run is None
        if self._run is None:
            chosen = self._folder or (self._start.folder() if self._start else None)
            folder = None if chosen is None else outside(self.data, chosen)
            plan = first_plan(self.data, self.settings, self._task, self._start.path if self._start else None)
            self._run = Run.create(plan, folder, self.data.name, place_of_runs(self.data))
        books = Books(self._run, self.data, self.settings)
        screen = choose() if self._observer is None else Guarded("The observer", self._observer, _to_stderr)
        trackers: Observer = Together()
        self.stopped = False
        if self._begun is not None:
            self._begun.state.hurry = self._begun.state.hurried = False
        gentle = int(self.settings.interrupt == "anneal")
        try:
            plan = first_plan(self.data, self.settings, self._task)
            trackers = tracking.started(self.settings.track, self._run.path, plan, lambda text: screen.show(Note(text)))
            observer = Together((screen, trackers))
            with self._run.claimed(), engine.tuned_run(self._device()), counted(gentle) as presses:
                watching = Watching(books, observer, clock, presses, lambda: self._begun, self._opened)
                try:
                    watching.through(recipe(clock))
                finally:
                    self.stopped = watching.stopped
        finally:
            if created and not self.history and not self._run.checkpoints.is_dir():
                self._run.discard()
                self._run = None
            trackers.close()
            if self._observer is None:
                screen.close()
        return self

    def _already(self) -> float:
        """Seconds since the time that `minutes` counts from, the first time this is asked; then none."""
        began, self._started = self._started, None
        return 0.0 if began is None else time.perf_counter() - began

    def _opened(self, _begun: Begun) -> None:
        """Notes what the model that came says of the images that will judge the new one."""
        if self._start is not None and not self.run.changes():
            onward.note_before(self.run, self._start, self._before)


def place_of_runs(data: Dataset) -> Path | None:
    """The folder around the data when one works inside it, which is never written to; else None: here."""
    root = Path(data.root).absolute() if data.root and data.origin.get("kind") == "image_folder" else None
    return None if root is None or root not in (Path.cwd(), *Path.cwd().parents) else root.parent


def sum_of_seconds(rows: Sequence[Row]) -> float:
    """Seconds of training behind these rows."""
    return float(rows[-1]["seconds"]) if rows else 0.0


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
