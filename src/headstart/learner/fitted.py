"""A posterior that was fitted: who speaks with it, how it lies beside a model and comes back, and when it is refused."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from headstart import plugins
from headstart.core import Event, Note, Posterior, Predictive, Task
from headstart.errors import NotARun, StoreError, UnknownName
from headstart.model import Model, bundle_tensors
from headstart.posteriors._likeness import Likeness
from headstart.posteriors._predictive import Believing
from headstart.store.bundle import Bundle, StoredPosterior, load_posterior, save_posterior
from headstart.store.runs import Run
from headstart.tasks import _choice as tasks
from headstart.tasks._arrays import UNLIKE
from headstart.train.features import digest

LIKENESS = "likeness."
"""Before the names of its tensors, where they lie beside those of a posterior."""


@dataclass(frozen=True)
class Fitted:
    """A posterior with the name of its method, for the weights of the row `epoch`."""

    name: str
    posterior: Posterior
    epoch: int
    task: Task
    """With what it chooses and promises by what this posterior says of the validation images."""
    likeness: Likeness | None = None
    """What tells how unlike an example is; None where the head has no features of an example as a whole."""

    @property
    def words(self) -> str:
        """What was fitted, in a sentence."""
        return self.posterior.words

    @property
    def limits(self) -> str:
        """What cannot be told for want of images that the body has not learned from."""
        held = 0 if self.likeness is None else len(self.likeness.held)
        few = math.ceil(1 / (1 - UNLIKE)) - 1
        return (
            f" No image is told to be unlike the training images: that takes {few} images to tell by." if 0 < held < few else ""
        )

    def stored(self, model: Model) -> StoredPosterior:
        """As it is saved beside this model."""
        likeness = {} if self.likeness is None else self.likeness.state()
        tensors = {**self.posterior.state(), **{f"{LIKENESS}{name}": tensor for name, tensor in likeness.items()}}
        return StoredPosterior(self.name, tensors, digest(dict(bundle_tensors(model))), self.task.state())


def speaker(model: Model, fitted: Fitted | None) -> Predictive:
    """Who answers: the model by itself, or with its posterior."""
    return model if fitted is None else Believing(model, fitted.posterior, fitted.likeness)


def loaded(bundle: Bundle, epoch: int) -> Fitted | None:
    """The posterior of a bundle, None where it has none.

    Raises:
        NotARun: where it was fitted to other weights than those beside it.
    """
    kept = bundle.posterior
    if kept is None:
        return None
    if kept.digest != digest(dict(bundle.tensors)):
        raise NotARun(
            "the posterior of this bundle was fitted to other weights than those in its model.safetensors, so what it knows is not of this "
            "model. Give it back its weights, or remove the folder posterior: then predictions are point estimates."
        )
    return _of_stored(kept, epoch)


def of_run(run: Run, name: str, model: Model) -> Fitted | None:
    """The one of this name that the run keeps, None where there is none or the model has other weights by now."""
    try:
        kept = load_posterior(run.posteriors / name)
        if kept is None or kept.name != name or kept.digest != digest(dict(bundle_tensors(model))):
            return None
        return _of_stored(kept, -1)
    except StoreError:
        return None  # what cannot be read is fitted anew


def _of_stored(kept: StoredPosterior, epoch: int) -> Fitted:
    """What was saved.

    Raises:
        StoreError: where the parts do not belong together.
    """
    try:
        return _put_together(kept, epoch)
    except (KeyError, TypeError, ValueError, AttributeError, UnknownName) as error:
        raise StoreError(f"the posterior {kept.name} that was saved is not whole ({type(error).__name__}: {error}).") from error


def _put_together(kept: StoredPosterior, epoch: int) -> Fitted:
    own = {name: tensor for name, tensor in kept.tensors.items() if not name.startswith(LIKENESS)}
    rest = {name.removeprefix(LIKENESS): tensor for name, tensor in kept.tensors.items() if name.startswith(LIKENESS)}
    task = tasks.from_state(kept.task)
    posterior = plugins.find("posteriors", kept.name).load(own, task)
    return Fitted(kept.name, posterior, epoch, task, Likeness(**rest) if rest else None)


def keep(run: Run, fitted: Fitted, model: Model) -> Iterator[Event]:
    """Lays it into the folder of the run; where that fails, it will be fitted again."""
    try:
        save_posterior(run.posteriors / fitted.name, fitted.stored(model))
    except (StoreError, OSError) as error:
        yield Note(f"The posterior could not be kept in the run, so it will be fitted again when it is asked for: {error}")
