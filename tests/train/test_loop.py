"""The loop: which events come when, what they say, and where it goes on from."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart import model as models
from headstart.core import Batch, Cooling, EpochDone, Phase, StepDone
from headstart.modalities import image
from headstart.tasks.single_label import SingleLabel
from headstart.train import course as courses
from headstart.train import loop
from headstart.train.course import Course, Place
from headstart.train.pacing import ByEpochs

TASK = SingleLabel(("a", "b"))
PHASE = Phase("all", 3, lr=1e-3, warmup=0.2, cooldown=0.4)
BATCHES = 4


def feed(epoch: int, first: int) -> Iterator[Batch]:
    for number in range(first, BATCHES):
        draw = np.random.default_rng([epoch, number])
        size = 3 if number == BATCHES - 1 else 5
        inputs = torch.from_numpy(draw.normal(size=(size, 3, 32, 32)).astype(np.float32))
        yield Batch(inputs, torch.from_numpy(draw.integers(0, 2, size)), tuple(map(str, range(size))))


class Late(ByEpochs):
    """Has no time for a row after the second epoch, and ends two steps into the third."""

    def row_fits(self, place: Place) -> bool:
        return place.epoch != 2

    def over(self, place: Place) -> bool:
        return place.step >= 2 * BATCHES + 2


def begun() -> tuple[models.Model, Course]:
    model = models.build(models.build_backbone("tiny"), 2)
    return model, courses.start(model, PHASE)


def events(pacing: ByEpochs) -> list[StepDone | EpochDone | Cooling]:
    model, course = begun()
    return list(loop.run(model, course, feed, TASK, pacing))


class RunsOut(ByEpochs):
    """Its time is over when it is asked for the second time in the second epoch, in which nothing was done yet."""

    asked = 0

    def over(self, place: Place) -> bool:
        self.asked += place.epoch == 2
        return self.asked > 1


def test_time_that_runs_out_as_an_epoch_begins_leaves_no_epoch_without_losses() -> None:
    done = [event for event in events(RunsOut(PHASE, BATCHES)) if isinstance(event, EpochDone)]
    assert [(event.epoch, event.last) for event in done] == [(1, False), (2, True)]
    assert np.isfinite(done[-1].train_loss)


def test_an_epoch_ends_with_the_mean_loss_of_its_images() -> None:
    seen = events(ByEpochs(PHASE, BATCHES))
    steps = [event for event in seen if isinstance(event, StepDone)]
    done = [event for event in seen if isinstance(event, EpochDone)]
    assert [(event.epoch, event.last) for event in done] == [(1, False), (2, False), (3, True)]
    for each in done:
        losses = [float(event.loss) for event in steps if event.epoch == each.epoch]
        assert each.train_loss == pytest.approx(np.average(losses, weights=[5, 5, 5, 3]))
        assert each.lr == [event.lr for event in steps if event.epoch == each.epoch][-1]


def test_that_the_rate_begins_to_fall_is_told_once_before_the_first_slower_step() -> None:
    seen = events(ByEpochs(PHASE, BATCHES))
    (at,) = [place for place, event in enumerate(seen) if isinstance(event, Cooling)]
    before = [event for event in seen[:at] if isinstance(event, StepDone)]
    after = [event for event in seen[at:] if isinstance(event, StepDone)]
    assert before[-1].progress < 0.6 <= after[0].progress
    assert before[-1].lr == 1e-3 and after[0].lr < 1e-3


def test_an_epoch_too_close_to_the_end_shares_the_row_of_the_steps_behind_it() -> None:
    seen = events(Late(PHASE, BATCHES))
    done = [event for event in seen if isinstance(event, EpochDone)]
    assert [(event.epoch, event.last) for event in done] == [(1, False), (2, True)]
    assert [event.epoch for event in seen if isinstance(event, StepDone)] == [1] * 4 + [2] * 4 + [3] * 2


@pytest.mark.parametrize("stop", range(1, 3 * BATCHES + 1))
def test_from_any_step_it_goes_on_to_the_same_end(stop: int) -> None:
    straight, course = begun()
    wanted = [event for event in loop.run(straight, course, feed, TASK, ByEpochs(PHASE, BATCHES)) if isinstance(event, EpochDone)]
    model, course = begun()
    told = []
    for event in loop.run(model, course, feed, TASK, ByEpochs(PHASE, BATCHES)):
        told.extend([event] if isinstance(event, EpochDone) else [])
        if isinstance(event, StepDone) and event.step == stop:
            break
    other, _ = begun()
    again = courses.taken_up(other, courses.snapshot(model, course), PHASE)
    told += [event for event in loop.run(other, again, feed, TASK, ByEpochs(PHASE, BATCHES)) if isinstance(event, EpochDone)]
    assert told == wanted
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


# ------------------------------------------------------------------------------------------------------- smaller images


def test_images_are_smaller_until_the_rate_falls() -> None:
    phase = Phase("all", 1, lr=1.0, train_size=20, cooldown=0.35)
    inputs = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    given = Batch(inputs, torch.tensor([0, 1, 2]), ("a", "b", "c"), modality=image.PLAIN)
    assert loop.seen(given, phase, 0.64).inputs.shape == (3, 3, 20, 20)
    assert loop.seen(given, phase, 0.66) is given
    assert loop.seen(given, replace(phase, train_size=0), 0.1) is given
    small = loop.seen(given, phase, 0.0)
    assert small.targets is given.targets
    assert small.inputs.mean().item() == pytest.approx(inputs.mean().item(), abs=0.01)
    assert small.inputs.is_contiguous(memory_format=torch.channels_last)
    flat = replace(given, inputs=torch.full((1, 3, 32, 32), 0.25), ids=("a",))
    assert torch.allclose(loop.seen(flat, phase, 0.0).inputs, torch.tensor(0.25))
