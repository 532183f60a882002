"""The head solved again: on all training images, or on those that the time allows; the validation part decides."""

from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.core import Note, Outputs
from headstart.learner.facade import Learner
from headstart.train import head_solve, solved
from headstart.train.state import TrainState


class Silent:
    def show(self, event: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def shapes(make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(60)


def state_of(folder: Path) -> TrainState:
    """A training after row 0 on 96 images, whose head was then spoiled, as mixing does."""
    learn = Learner(hs.image_folder(folder), backbone="tiny", observer=Silent()).fine_tune(0)
    assert learn._session.begun is not None
    with torch.no_grad():
        learn.model.head.weight.mul_(0.01)
    return learn._session.begun.state


def finished(events: Generator[Any, None, Outputs]) -> tuple[Outputs, str]:
    told = []
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value, "\n".join(told)
        told += [event.text] if isinstance(event, Note) else []


def features(state: TrainState, part: str) -> np.ndarray:
    """One image at a time pairs, in the order of the part: the slow twin."""
    examples = state.parts[part]
    rows = []
    for index in examples.indices.tolist():
        pixels = torch.from_numpy(examples.store.stored([index, index]))
        mean, std = (torch.tensor(each)[:, None, None] for each in (examples.store.modality.mean, examples.store.modality.std))
        inputs = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.no_grad():
            rows.append(state.model.eval().features(inputs)[0].numpy())
    return np.stack(rows)


@pytest.mark.slow
def test_all_images_are_used_and_each_keeps_its_target(shapes: Path) -> None:
    state = state_of(shapes)
    outputs, notes = finished(solved.solve_again(state))
    wanted = head_solve.solve_softmax(features(state, "train"), state.parts["train"].targets.numpy(), 2)
    assert np.allclose(outputs.mean.numpy(), features(state, "valid") @ wanted.weight.T + wanted.bias, atol=1e-2)
    assert "is kept" in notes
    assert "lack of time" not in notes


@pytest.mark.slow
def test_without_time_for_all_images_the_head_is_solved_on_some(shapes: Path) -> None:
    state, asked = state_of(shapes), count(1)
    outputs, notes = finished(solved.solve_again(state, lambda: next(asked) <= 2))
    assert "of 64 training images, for lack of time, is kept" in notes
    assert not torch.allclose(outputs.mean, torch.zeros(()), atol=0.1)
    reached = features_in_time(state, 2)
    assert len(reached) == 64
    assert set(state.parts["train"].targets[torch.from_numpy(reached)].tolist()) == {0, 1}
    assert reached.tolist() == sorted(reached.tolist())
    assert reached.tolist() != list(range(64))


def features_in_time(state: TrainState, batches: int) -> np.ndarray:
    asked = count(1)
    (rows, reached), _ = finished(solved.features_now(state, "train", lambda: next(asked) <= batches))  # pyright: ignore
    assert np.allclose(rows, features(state, "train")[reached], atol=1e-4)
    return reached


def test_with_no_time_at_all_the_head_stays_as_trained(shapes: Path) -> None:
    state = state_of(shapes)
    before = state.model.head.weight.clone()
    outputs, notes = finished(solved.solve_again(state, lambda: False))
    assert "kept as trained" in notes
    assert torch.equal(state.model.head.weight, before)
    assert torch.allclose(outputs.mean, state.outputs("valid").mean, atol=1e-5)
