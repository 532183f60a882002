"""The training loop: a generator of facts. Observers watch it, recipes decide what follows, nobody reaches in."""

import math
import time
from collections.abc import Callable, Iterator

from headstart.core import Batch, Cooling, EpochDone, StepDone, Task
from headstart.errors import HeadstartError
from headstart.model import Model, norm_mode
from headstart.train import average
from headstart.train.course import Course
from headstart.train.optim import set_rates
from headstart.train.pacing import Pacing
from headstart.train.schedule import warmup_stable_cooldown
from headstart.train.step import step

Feed = Callable[[int, int], Iterator[Batch]]
"""The batches of an epoch from one of them on, by the numbers of both."""


def run(model: Model, course: Course, feed: Feed, task: Task, pacing: Pacing) -> Iterator[StepDone | EpochDone | Cooling]:
    """Trains from the course's place to the end of its phase; whenever it yields, model and course are whole.

    After each `EpochDone` the caller may evaluate or stop. The learning rate is a function of progress alone.

    Raises:
        HeadstartError: when the loss is no longer a number.
    """
    phase, place = course.phase, course.place
    level = 1.0 - phase.cooldown
    cooling = place.step > 0 and pacing.progress(place) >= level
    while place.batch or not pacing.over(place):
        norm_mode(model, phase.norms)  # evaluation between epochs has changed it
        started = time.perf_counter()
        for batch in () if pacing.over(place) else feed(place.epoch, place.batch):
            progress = pacing.progress(place)
            if progress >= level and not cooling:
                cooling = True
                yield Cooling()
            place.lr = set_rates(course.optimizer, warmup_stable_cooldown(progress, phase.warmup, phase.cooldown))
            place.losses.append(step(model, course.optimizer, batch, task, phase, course.adapters))
            place.counts.append(len(batch.ids))
            place.batch += 1
            place.step += 1
            average.update(course.average, model, phase.ema, place.step)
            pacing.stepped(place, time.perf_counter() - started)
            left = pacing.left(place)
            yield StepDone(place.epoch, place.step, pacing.steps(place), place.losses[-1], place.lr, progress, left)
            if pacing.over(place):
                break
            started = time.perf_counter()
        train_loss, last = place.train_loss(), pacing.over(place)
        if not math.isfinite(train_loss):
            raise HeadstartError(
                f"the training loss of epoch {place.epoch} is {train_loss}: the learning rate is too high for these images or this "
                f"backbone (peak {phase.lr:g}). Nothing is lost: the best row so far is kept. Try again with base_lr={phase.lr / 5:.1g}."
            )
        rowless = int(not last and not pacing.row_fits(place))
        if not rowless:
            yield EpochDone(place.epoch - place.rowless, train_loss, place.lr, last)
        # beware: the place moves on only now, so that a training that ends before the epoch's row will make it when it goes on
        place.epoch, place.batch, place.losses, place.counts, place.rowless = place.epoch + 1, 0, [], [], rowless
