"""Questions to a model: what it says of inputs, and how good that is, with the posterior that was chosen or without one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.core import Dataset, Event, Row, Task
from headstart.data._steps import exhausted
from headstart.engine import device as engine
from headstart.errors import BadSetting, DataError
from headstart.evaluate.predict import predict
from headstart.learner import believing
from headstart.learner import fitted as fitted_posteriors
from headstart.learner.fitted import Fitted
from headstart.learner.reading import to_judge
from headstart.learner.session import Session, untrained
from headstart.metrics import Measured
from headstart.tasks import _choice as tasks
from headstart.train.begin import evaluated


@dataclass(frozen=True, repr=False)
class Answering:
    """A model with a posterior (or none: point estimates), to be asked. `learn.posterior()` makes it."""

    _session: Session
    _show: Callable[[Event], None]
    fitted: Fitted | None
    rows: Sequence[Row]
    """Those of the model that it is of."""

    @property
    def name(self) -> str:
        """Of the method."""
        return believing.NONE if self.fitted is None else self.fitted.name

    @property
    def task(self) -> Task:
        """As it answers: with the thresholds that it chose and what it can promise."""
        return self._session.answering() if self.fitted is None else self.fitted.task

    def predict(self, inputs: Any, tta: int = 1) -> Any:
        """The `Prediction` of one example, or a list for several: as `Learner.predict`."""
        found = list(self.predictions(inputs, tta))
        return found[0] if self._session.modality.is_one(inputs) and len(found) == 1 else found

    def predictions(self, inputs: Any, tta: int = 1) -> Iterator[Any]:
        """One `Prediction` per example, streamed."""
        session = self._current()
        chosen = session.model.backbone.defaults.under(session.settings)
        speaker, task = fitted_posteriors.speaker(session.model, self.fitted), self.task
        seen, modality = session.modality.viewed(speaker, task, chosen.augment, tta)
        return predict(seen, task, inputs, modality, chosen.batch_size)

    def evaluate(
        self,
        data: Dataset | str | Path | None = None,
        part: str = "valid",
        per_class: bool = False,
        tta: int = 1,
        reading: Mapping[str, Any] | None = None,
    ) -> dict[str, Measured]:
        """Each metric with its 95 % interval: as `Learner.evaluate`."""
        session = self._current()
        speaker = fitted_posteriors.speaker(session.model, self.fitted)
        with engine.tuned_run(session.device):
            if data is not None:
                task = self.task
                dataset = tasks.met(to_judge(data, session.run, reading), task)
                kind = (session.modality, session.metrics, session.device, session.settings)
                steps = evaluated(dataset, session.model, task, *kind, per_class, tta, speaker)
                return exhausted(steps, self._show)
            if reading:
                named = ", ".join(f"{name}=..." for name in reading)
                raise BadSetting(f"{named} says how data is read, and none is given. Name the folder or table to judge by.")
            state = session.ready().state
            if part not in state.parts or len(state.parts[part]) == 0:
                raise DataError(
                    f'{session.data.name} has no images in the part "{part}". A share for it is set where the data is made.'
                )
            return state.measured(part, per_class, tta, speaker, self.task)

    def _current(self) -> Session:
        """The session, where the model is still the one that this is the posterior of.

        Raises:
            BadSetting: after further training.
        """
        if self.fitted is not None and self._session.history != self.rows:
            raise BadSetting(
                "this posterior is of the model as it was before it was trained further. Ask for that of now: learn.posterior()"
            )
        return self._session

    def __repr__(self) -> str:
        return f"Posterior({self.name}{'' if self.fitted is None else ': ' + self.fitted.words})"


def of(session: Session, show: Callable[[Event], None], fitted: Fitted | None) -> Answering:
    """The model as it is now, with this posterior of it."""
    return Answering(session, show, fitted, session.history)


def chosen(session: Session, show: Callable[[Event], None], name: str | None) -> Answering:
    """With the posterior of this name, or that of the settings: the one at hand, the one on disk, or one that is fitted now.

    Raises:
        UnknownName, BadSetting: for one that there is not, that the head cannot have, or before the first training.
        DataError: where it has to be fitted and the data is gone.
    """
    if name is not None and (not isinstance(name, str) or not name):
        raise BadSetting(f'a posterior is named, as in posterior="laplace", got {name!r}.')
    wanted = believing.name_of(session.settings, session.model, name)
    if wanted == believing.NONE:
        return of(session, show, None)
    if not session.history:
        raise BadSetting(untrained("there is no posterior"))
    if session.fitted is not None and session.fitted.name == wanted:
        return of(session, show, session.fitted)
    kept = None if session.run is None else fitted_posteriors.of_run(session.run, wanted, session.model)
    if kept is None:
        with engine.tuned_run(session.device):
            kept = exhausted(believing.of_kept(session.ready(), session.settings, lambda: float("inf"), wanted), show)
        if kept is not None and session.run is not None:
            for event in fitted_posteriors.keep(session.run, kept, session.model):
                show(event)
    return of(session, show, kept)
