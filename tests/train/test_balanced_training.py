"""Balance in a training: the solved head, the steps, the order and the notes; what is measured stays as it is."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from drawn import shape_image
from headstart.core import Note
from headstart.data import batches
from headstart.train import phases

Make = Callable[..., Path]


class Notes:
    def __init__(self) -> None:
        self.text = ""

    def show(self, event: Any) -> None:
        self.text += f"{event.text}\n" if isinstance(event, Note) else ""

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def uneven(make_shapes: Make) -> Path:
    """16 discs and 4 squares, of which two look like discs, so that their weight matters."""
    folder = make_shapes(16)
    for path in sorted((folder / "square").glob("*.png"))[2:]:
        path.unlink()
    for number in (50, 51):
        shape_image("disc", number).save(folder / "square" / f"{number}.png")
    return folder


def learner(folder: Path, **settings: Any) -> tuple[hs.Learner, Notes]:
    notes = Notes()
    return hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=6, observer=notes, **settings), notes


def losses(learn: hs.Learner, balanced: bool) -> float:
    """The mean loss of the training images as they are, by a loop; each class with half of the whole weight where balanced."""
    state = learn._session.ready().state
    train = state.parts["train"]
    each = state.task.loss(state.outputs("train").mean, train.targets).tolist()
    sizes = Counter(train.targets.tolist())
    weights = [1 / (len(sizes) * sizes[target]) if balanced else 1 / len(each) for target in train.targets.tolist()]
    return float(np.dot(weights, each))


@pytest.mark.parametrize("balance", ["none", "weights", "sample"])
def test_the_solved_head_minimises_the_balanced_objective(uneven: Path, balance: str) -> None:
    learn, notes = learner(uneven, balance=balance)
    (row,) = learn.fine_tune(0).history
    assert row["train_loss"] == pytest.approx(losses(learn, balance != "none"), rel=1e-3)
    assert row["train_loss"] != pytest.approx(losses(learn, balance == "none"), rel=1e-2)
    assert row["valid_loss"] == pytest.approx(learn.evaluate(posterior="none")["nll"].value, rel=1e-3), "measured without weights"
    expected = {
        "none": "Classes differ much in size: the largest, disc, has",
        "weights": "balanced (weights)",
        "sample": "no complete pass",
    }
    assert expected[balance] in notes.text


def test_a_training_by_weighted_steps_reports_the_weighted_loss(uneven: Path) -> None:
    learn, _ = learner(uneven, balance="weights", augment="none", base_lr=1e-12)
    row = learn.fit(1).history[-1]
    assert row["train_loss"] == pytest.approx(losses(learn, True), rel=1e-4)
    assert row["train_loss"] != pytest.approx(losses(learn, False), rel=1e-4)


def test_drawn_batches_are_even_and_a_repeated_image_is_changed_anew(uneven: Path) -> None:
    learn, _ = learner(uneven, balance="sample", augment="light")
    state = learn._session.ready().state
    phase = phases.base_phase(state, "all", 1)
    train = state.parts["train"]
    found = list(batches.training_batches(train, phase, 0, 1, 0, torch.device("cpu")))
    targets = torch.cat([batch.targets for batch in found])
    assert len(targets) == len(train) and abs(int(targets.sum()) * 2 - len(train)) <= 1
    assert all(batch.weights is None for batch in found)
    seen: dict[str, list[torch.Tensor]] = {}
    for batch in found:
        for name, inputs in zip(batch.ids, batch.inputs, strict=True):
            assert not any(torch.equal(inputs, other) for other in seen.get(name, []))
            seen.setdefault(name, []).append(inputs)
    assert max(map(len, seen.values())) > 1
    later = list(batches.training_batches(train, phase, 0, 1, 1, torch.device("cpu")))
    assert all(torch.equal(a.inputs, b.inputs) and a.ids == b.ids for a, b in zip(found[1:], later, strict=True))


@pytest.mark.slow
def test_another_balance_begins_a_stretch_of_its_own(uneven: Path) -> None:
    learn, notes = learner(uneven)
    learn.fine_tune(1)
    learn.more(1, balance="sample")
    assert "where the learning rate began to fall" not in notes.text
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]


@pytest.mark.slow
def test_balance_and_cutmix_are_resumed_exactly(uneven: Path) -> None:
    """A kill after a step, then the same weights as without: order, draws and rectangles are functions of their place."""

    class Killed(BaseException):
        """No error: an observer's errors are told and the training goes on."""

    class Kill:
        def __init__(self) -> None:
            self.steps = 0

        def show(self, event: Any) -> None:
            self.steps += type(event).__name__ == "StepDone"
            if self.steps == 2:
                raise Killed

        def close(self) -> None: ...

    choices = {"balance": "sample", "cutmix": 1.0, "checkpoint_seconds": 0.0}
    whole, _ = learner(uneven, **choices)
    whole.fine_tune(1)
    broken, _ = learner(uneven, **choices)
    broken._observer = Kill()
    with pytest.raises(Killed):
        broken.fine_tune(1)
    resumed = hs.resume(broken.run.path, observer=Notes())
    mine, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert [row["train_loss"] for row in whole.history] == [row["train_loss"] for row in resumed.history]
