"""The learner: each verb is a few lines over its session and public functions."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from headstart import model as models
from headstart.core import Dataset, Modality, Note, Observer, Row, Settings, Task
from headstart.data import fixes, sources
from headstart.data._assemble import plain_of
from headstart.engine import device as engine
from headstart.errors import BadSetting
from headstart.learner import answering, believing, inspecting, onward, suggesting, verbs
from headstart.learner.answering import Answering
from headstart.learner.books import make_bundle
from headstart.learner.onward import Start, start_of
from headstart.learner.reading import carried, opened
from headstart.learner.session import Session, untrained
from headstart.metrics import Measured
from headstart.report import rates, results
from headstart.report.page import Report
from headstart.store import bundle as bundles
from headstart.store import checkpoints
from headstart.store.runs import Run
from headstart.tasks import _choice as tasks
from headstart.train import budget, lr_find, phases, pricing, summary
from headstart.train.budget import Clock
from headstart.train.forecast import Forecast, lay_out
from headstart.train.settings import Metric, changed, course_of, metric_names, unknown_verb


class Learner:
    """A model on its way from pretrained to fine-tuned, with the run folder that remembers everything.

    Args:
        data: a `Dataset`, or a path that `image_folder` or `image_csv` can open.
        settings: all settings at once; single ones can be given by name: `size=160, batch_size=16`.
        backbone: a name, a path, a finished run, or your own `nn.Module`.
        task: what the labels are for: "single_label", "multi_label", "regression", "segmentation"; by default the labels tell.
        metrics: names, or functions of what the task says (probs [batch, classes], for classes) and targets [batch].
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
        task: str | Task | None = None,
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
        if isinstance(task, str):
            changes["task"] = task
        settings = changed(settings, changes)
        module = backbone if isinstance(backbone, nn.Module) else None
        dataset = sources.open_path(data) if isinstance(data, str | Path) else data
        if isinstance(from_run, str | Path):
            dataset = carried(dataset, from_run)
        for file in [labels] if isinstance(labels, str | Path) else labels:
            dataset = fixes.apply_labels(dataset, file)
        start = start_of(from_run, module) if isinstance(from_run, str | Path) else from_run
        if start is not None:
            dataset, settings, learned = onward.adopted(dataset, settings, start)
        else:
            learned, reason = tasks.choose(dataset, settings.task) if isinstance(task, str | None) else (task, None)
            dataset = dataset if reason is None else replace(dataset, notes=(*dataset.notes, reason))
            dataset = tasks.met(dataset, learned)
        asked = metrics if metrics is not None else settings.metrics if settings.metrics is not None else learned.default_metrics
        measured, names = metric_names(asked)
        learned.metrics(measured)  # a typo in a metric's name is told now, not after the first epoch
        settings = changed(settings, {"metrics": names})
        learned.accept(settings)
        believing.require_known(settings)
        plain_of(dataset).accept(settings)
        self._session = Session(dataset, settings, learned.under(settings.loss), measured, module, start, run, started)
        self._observer = observer

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
            self._session.forget()
        epochs, minutes = self._session.asked(epochs, minutes, changes, "fine_tune", least=0)
        return self._watched(lambda clock: verbs.two_steps(self._session, epochs, clock), self._session.clock(minutes))

    def fit(self, epochs: int | None = None, *, minutes: float | None = None, **changes: Any) -> "Learner":
        """This learner after `epochs` complete passes, or `minutes`, training what is trainable from where it is."""
        epochs, minutes = self._session.asked(epochs, minutes, changes, "fit", least=1)
        return self._watched(lambda clock: verbs.one_step(self._session, epochs, clock), self._session.clock(minutes))

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
            self._session.turn_to(opened(data, self._session.run))
        self._session.changed_data = changed_data
        verb = self.fit if self.settings.method == "fit" else self.fine_tune
        return verb(epochs, minutes=minutes, **changes)

    def resume(self, changed_data: bool = False) -> "Learner":
        """This learner after finishing what an interruption of its run left undone, with the weights it would have had.

        Raises:
            DataError: when the data is no longer what it was; `changed_data=True` goes on with what there is now.
        """
        plan = self.run.plan()
        if plan.finished:
            verbs.screen_of(self._observer).show(
                Note("There is nothing to resume: this run is finished. `more` trains it further.")
            )
            return self
        found, troubles = checkpoints.newest(self.run.checkpoints)
        self._session.changed_data = changed_data
        session = self._session
        return self._watched(lambda clock: verbs.resumed(session, found, troubles, clock), session.clock_again(found))

    def plan(self, epochs: int | None = None, *, minutes: float | None = None) -> Forecast:
        """What so many epochs or minutes would be spent on, how far they would get and until when, without training.

        A few images and steps of a copy of the model are timed; nothing is written. After a training, of `more`.
        """
        session = self._session
        epochs, minutes = course_of(session.settings, epochs, minutes, "plan", least=1 if session.history else 0)
        settings = changed(session.settings, {"epochs": epochs, "minutes": minutes})
        already = 0.0 if session.started is None else time.perf_counter() - session.started
        with engine.tuned_run(session.device):
            if session.history:
                start = pricing.of_state(session.ready().state)
            else:
                kind = (session.task, settings, session.metrics, session.device)
                start = pricing.at_the_start(session.data, session.modality, session.model, *kind)
            prices, facts = pricing.prices(start, session.data.name, session.first_stage, already, minutes is not None)
        return lay_out(prices, facts, epochs, minutes, lambda seconds: budget.time_of_day(seconds - already))

    def freeze(self) -> "Learner":
        """This learner with only its head trainable, for the next `fit`."""
        self._session.frozen = True
        return self

    def unfreeze(self) -> "Learner":
        """This learner with every layer trainable, as it is when new."""
        self._session.frozen = False
        return self

    # ------------------------------------------------------------------------------------------------------- using it

    def predict(self, inputs: Any, tta: int = 1, posterior: str | None = None) -> Any:
        """The `Prediction` of one example, or a list for several: images (paths, folders, arrays, PIL images), texts, rows of numbers.

        With `tta` above 1 the model looks at so many views of each image (mirrored, moved) and its probabilities are averaged.
        `posterior` names another than that of the run; "none" gives point estimates.
        """
        return self._asked(posterior).predict(inputs, tta)

    def predictions(self, inputs: Any, tta: int = 1, posterior: str | None = None) -> Iterator[Any]:
        """One `Prediction` per image, streamed; an image that cannot be read has one that says why."""
        return self._asked(posterior).predictions(inputs, tta)

    def evaluate(
        self,
        data: Dataset | str | Path | None = None,
        part: str = "valid",
        per_class: bool = False,
        tta: int = 1,
        reading: Mapping[str, Any] | None = None,
        posterior: str | None = None,
    ) -> dict[str, Measured]:
        """Each metric with its 95 % interval, on all of `data`, or on a part ("valid", "test", "train") of this learner's own.

        A path is read as the run has read its own data (columns, label rule, names of classes), where it can be read so; `reading`
        says what is otherwise there (`{"label_column": "size"}`), by the names that the sources have for it.
        `per_class` adds the figures of each class, such as `recall.cat`; `tta` is the number of views of each image.
        `posterior` names another than that of the run; with "none" the figures of a row of the table come out again.
        """
        return self._asked(posterior).evaluate(data, part, per_class, tta, reading)

    def posterior(self, name: str | None = None) -> Answering:
        """What is known of the head's weights, to be asked: `post.predict(...)`, `post.evaluate()`.

        Args:
            name: a file in `posteriors/` ("laplace", "temperature"); by default that of the settings. One that the run does not have
                yet is fitted, to the images that it trained on, and kept in its folder.
        """
        return answering.chosen(self._session, verbs.screen_of(self._observer).show, name)

    def suggest(self, pool: Any, n: int = 50, by: str | None = None, posterior: str | None = None) -> suggesting.Suggestions:
        """The `n` examples of an unlabelled pool that are most worth a label, the most useful first; `save("next.csv")` writes the file to fill in.

        Args:
            pool: whatever `predict` takes. What cannot be read, what the model knows with its label, and copies are left out.
            by: a rule of `acquisitions/`: "unsure" (the most typical of what the model is unsure of), "cover", "epig", "logdet", "bald",
                "batch_bald", "entropy".
        """
        return suggesting.suggested(self._session, self._asked(posterior), verbs.screen_of(self._observer).show, pool, n, by)

    def inspect(self, only: str | Sequence[str] = (), inputs: Any = None) -> Report:
        """What the model learned and what is wrong with its data: the answers of all inspections, or of those that are named.

        `report["labels"]` is one answer, `report.save("report.html")` writes the page, which lies in the run folder too. The images are
        looked at once by the model as it was and once as it is.

        Args:
            only: names of inspections, in a list or with commas between them: "labels", "drift,evidence".
            inputs: one image or several, as `predict` takes them: then only these are looked into.
        """
        show = verbs.screen_of(self._observer).show
        if inputs is None:
            return inspecting.inspected(self._session, show, only)
        return inspecting.looked_into(self._session, show, only, inputs)

    def show_results(self, count: int = 10, worst: bool = False) -> Any:
        """`count` validation examples with label and prediction, as a picture or in lines; `worst=True` takes the largest losses."""
        return results.shown(results.of_part(self._session.ready().state, "valid", count, worst))

    def summary(self) -> summary.Summary:
        """The stages of the model, their parameters, and the share of the learning rate that each would get."""
        return summary.of(self.model, self.settings, self._session.frozen)

    def lr_find(self) -> rates.LearningRates:
        """Losses of a copy of the model at growing learning rates, with a suggestion; `plot()` draws them. Nothing is changed."""
        with engine.tuned_run(self._session.device):
            state = self._session.ready().state
            phase = replace(phases.step_two(state, 1), first_stage=self._session.first_stage)
            head = "from the random head" if not state.rows else f"from the weights of row {state.kept()['epoch']}"
            return rates.of(lr_find.ramp(state, phase), phase.lr, head)

    def save(self, folder: str | Path) -> Path:
        """The folder, now a bundle: weights, configuration, task and model card.

        Raises:
            BadSetting: before the first training.
        """
        session = self._session
        if not session.history:
            raise BadSetting(untrained("there is nothing to save"))
        bundle = make_bundle(session.ready(), self.data, Path(folder).name, session.fitted)
        bundles.save(Path(folder), bundle)
        return Path(folder)

    # ----------------------------------------------------------------------------------------------------- looking in

    @property
    def data(self) -> Dataset:
        """The data set that it trains on."""
        return self._session.data

    @property
    def task(self) -> Task:
        """What is learned: its classes, labels or numbers, its likelihood, its metrics."""
        return self._session.answering()

    @property
    def settings(self) -> Settings:
        """What was asked for, with the changes of every verb so far."""
        return self._session.settings

    @property
    def model(self) -> models.Model:
        """The model as it is now."""
        return self._session.model

    @property
    def modality(self) -> Modality:
        """From examples to the model's input."""
        return self._session.modality

    @property
    def history(self) -> list[Row]:
        """The rows of the table so far."""
        return self._session.history

    @property
    def kept(self) -> int:
        """The epoch whose weights this learner holds."""
        return self._session.ready().state.kept()["epoch"]

    @property
    def stopped(self) -> bool:
        """Whether the last verb was ended early by Ctrl-C or a notebook's stop button."""
        return self._session.stopped

    @property
    def run(self) -> Run:
        """The run folder; the first training verb makes it."""
        return self._session.folder_of_run()

    def seconds_per_epoch(self) -> float:
        """About how long one epoch of all layers takes on this machine, timed on two steps of a copy of the model."""
        with engine.tuned_run(self._session.device):
            state = self._session.ready().state
            return budget.epoch_seconds(state, phases.base_phase(state, "all", 1))

    def __repr__(self) -> str:
        done = f"{len(self.history)} rows" if self.history else "not trained yet"
        return f"Learner({self.data.name}: {self._session.task.words.learned}, backbone {self.settings.backbone}, {done})"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(unknown_verb(name))

    def _asked(self, posterior: str | None) -> Answering:
        """The model with the posterior that it has, or with the one that is named."""
        if posterior is not None:
            return self.posterior(posterior)
        return answering.of(self._session, verbs.screen_of(self._observer).show, self._session.fitted)

    def _watched(self, recipe: verbs.Recipe, clock: Clock) -> "Learner":
        """This learner after the recipe."""
        verbs.watched(self._session, recipe, self._observer, clock)
        return self
