"""The training loop: a generator of facts. Observers watch it, recipes decide what follows, nobody reaches in."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from headstart.core import Batch, Cooling, EpochDone, Phase, StepDone, Task
from headstart.engine import threads
from headstart.model import Model, norm_mode
from headstart.train import average
from headstart.train import course as courses
from headstart.train.course import Course
from headstart.train.optim import set_rates
from headstart.train.pacing import Pacing
from headstart.train.safety import Diverged, MemoryShort
from headstart.train.schedule import warmup_stable_cooldown
from headstart.train.step import step

Feed = Callable[[int, int], Iterator[Batch]]
"""The batches of an epoch from one of them on, by the numbers of both."""


def run(
    model: Model, course: Course, feed: Feed, task: Task, pacing: Pacing
) -> Iterator[StepDone | EpochDone | Cooling | MemoryShort | Diverged]:
    """Trains from the course's place to the end of its phase; whenever it yields, model and course are whole.

    After each `EpochDone` the caller may evaluate or stop. The learning rate is a function of progress alone. `Cooling` is
    told again by a loop that goes on in the descent. After `MemoryShort` and `Diverged` it ends: what they tell must be
    mended before another goes on.
    """
    phase, place = course.phase, course.place
    level, cooling = 1.0 - phase.cooldown, False
    # beware: asked once, or time that runs out before the first batch of an epoch would leave an epoch without losses
    while not (over := pacing.over(place)) or place.batch:
        norm_mode(model, phase.norms)  # evaluation between epochs has changed it
        if not place.batch or course.good is None:
            course.good = courses.snapshot(model, course)
        started = time.perf_counter()
        for batch in () if over else feed(place.epoch, place.batch):
            progress, place.threads = pacing.progress(place), pacing.threads(place)
            threads.use(place.threads)
            if progress >= level and not cooling:
                cooling = True
                yield Cooling()
            place.lr = set_rates(course.optimizer, warmup_stable_cooldown(progress, phase.warmup, phase.cooldown))
            loss = step(model, course.optimizer, seen(batch, phase, progress), task, phase, course.adapters, place.step)
            if loss is None:
                yield MemoryShort(len(batch.ids))
                return
            place.losses.append(loss)
            place.counts.append(len(batch.ids))
            place.batch += 1
            place.step += 1
            average.update(course.average, model, phase.ema, place.step)
            pacing.stepped(place, time.perf_counter() - started)
            if read_at_once(loss) and not math.isfinite(loss):
                yield Diverged(float(loss))
                return
            left = pacing.left(place)
            yield StepDone(place.epoch, place.step, pacing.steps(place), place.losses[-1], place.lr, progress, left)
            if pacing.over(place):
                break
            started = time.perf_counter()
        train_loss, last = place.train_loss(), pacing.over(place)
        if not math.isfinite(train_loss):
            yield Diverged(train_loss)
            return
        rowless = int(not last and not pacing.row_fits(place))
        if not rowless:
            yield EpochDone(place.epoch - place.rowless, train_loss, place.lr, last)
        # beware: the place moves on only now, so that a training that ends before the epoch's row will make it when it goes on
        place.epoch, place.batch, place.losses, place.counts, place.rowless = place.epoch + 1, 0, [], [], rowless


def seen(batch: Batch, phase: Phase, progress: float) -> Batch:
    """The batch as the model sees it at this progress: smaller until the rate falls where the phase says so.

    Early layers are the dearest and learn little; what is fine in an image can be learned at the end (Touvron et al. 2019, "Fixing the
    train-test resolution discrepancy": the last steps must see the size of prediction).
    """
    if not phase.train_size or progress >= 1.0 - phase.cooldown:
        return batch
    assert batch.modality is not None, "whoever trains at another size knows what of"
    return replace(batch, inputs=batch.modality.shrunk(batch.inputs, phase.train_size))


def read_at_once(loss: Tensor) -> bool:
    """Whether a loss can be looked at without waiting for its device; the others are at the end of their epoch."""
    return loss.device.type == "cpu"
