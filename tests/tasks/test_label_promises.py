"""What is promised of several labels: kept over many draws, made from examples of which all labels are known, remembered by the task."""

import numpy as np
import pytest
import torch
from jaxtyping import Float

from headstart.core import Outputs
from headstart.errors import BadSetting
from headstart.metrics import labels
from headstart.tasks import _choice as tasks
from headstart.tasks._some_labels import LabelPromises, surety
from headstart.tasks.multi_label import MultiLabel

NAMES = ("car", "cyclist", "tree", "wall")


def world(count: int, seed: int, sharper: float = 1.0) -> tuple[Float[np.ndarray, "count 4"], Float[np.ndarray, "count 4"]]:
    """Probabilities and labels drawn from them; with `sharper` above 1 the probabilities are too sure."""
    draw = np.random.default_rng(seed)
    logits = 6 * draw.normal(size=(count, 4)) - 1
    truth = logits + draw.logistic(size=logits.shape) > 0
    return 1 / (1 + np.exp(-sharper * logits)), truth.astype(np.float64)


def outputs(probs: Float[np.ndarray, "batch labels"]) -> Outputs:
    return Outputs(torch.from_numpy(np.log(probs) - np.log1p(-probs)))


@pytest.mark.parametrize("sharper", [0.7, 3.0])
def test_answers_hold_a_wrong_label_no_more_often_than_promised(sharper: float) -> None:
    many, truths = world(20_000, 1, sharper)
    broken = promised = 0
    for seed in range(200):
        probs, known = world(200, 10 + seed, sharper)
        threshold = LabelPromises.of(probs, known).answers.threshold(0.1)
        if threshold is None:
            continue
        said = many >= labels.best_thresholds(probs, known)
        wrong = (said != truths).any(1)[surety(many, said) >= threshold]
        promised, broken = promised + 1, broken + (wrong.mean() > 0.1)
    assert promised > 50 and broken <= 0.1 * 200 + 3 * np.sqrt(200 * 0.1 * 0.9)


@pytest.mark.parametrize("n", [20, 100])
def test_sets_hold_all_labels_as_often_as_promised(n: int) -> None:
    many, truths = world(4000, 1, 3.0)
    least = np.where(truths > 0.5, many, 1.0).min(1)
    found = [float((least >= LabelPromises.of(*world(n, 10 + seed, 3.0)).sets.least(0.1)).mean()) for seed in range(300)]
    law = np.ceil((n + 1) * 0.9) / (n + 1)
    # examples without labels tie at one, so sets may cover more
    assert np.mean(found) > law - 3 * np.std(found) / np.sqrt(300) - 0.01
    assert np.mean(found) < law + 0.03


def test_a_task_answers_with_what_it_promises_and_remembers_it() -> None:
    plain = MultiLabel(NAMES)
    task = plain.fitted(outputs(world(400, 0)[0]), torch.from_numpy(world(400, 0)[1]))
    assert tasks.from_state(task.state()) == task != plain
    sure, unsure = np.array([[0.999, 0.001, 0.001, 0.001]]), np.array([[0.9, 0.45, 0.35, 0.001]])
    yes, no = task.predict(outputs(np.concatenate([sure, unsure])), ["1", "2"])
    assert (yes.answer, yes.promised, no.answer, no.promised) == (("car",), True, None, True)
    assert yes.answer_at(0.05) == ("car",) and no.answer_at(0.05) is None
    assert yes.set(0.1) == ("car",) and no.set(0.01)[:3] == ("car", "cyclist", "tree") and no.set(0.001) == NAMES
    assert yes.surety == pytest.approx(0.999**4)
    assert task.widened(["car;bus"]).promises is None
    (before,) = plain.predict(outputs(sure), ["1"])
    assert before.answer is None and before.promised is None and before.set() == NAMES
    with pytest.raises(BadSetting, match="no validation images have told"):
        before.answer_at(0.05)
    assert plain.failed("3", "broken").answer_at() is None and plain.failed("3", "broken").set() == ()


def test_few_examples_answer_without_a_promise() -> None:
    probs, truths = world(30, 0)
    (one,) = MultiLabel(NAMES).fitted(outputs(probs), torch.from_numpy(truths)).predict(outputs(probs[:1]), ["1"])
    assert one.answer == one.labels and one.promised is False
    with pytest.raises(BadSetting, match="at least 15 more validation images"):
        one.answer_at()


def test_an_example_of_which_a_label_is_not_known_judges_nothing() -> None:
    probs, truths = world(40, 0)
    holed = truths.copy()
    holed[::2, 1] = np.nan
    assert LabelPromises.of(probs, holed) == LabelPromises.of(probs[1::2], truths[1::2])
    holed[:] = np.nan
    assert LabelPromises.of(probs, holed) is None
    assert MultiLabel(NAMES).fitted(outputs(probs), torch.from_numpy(holed)).promises is None


def test_no_example_is_judged_by_thresholds_that_it_chose() -> None:
    probs, truths = world(60, 3)
    found = LabelPromises.of(probs, truths).answers
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        thresholds = labels.best_thresholds(probs[other], truths[other])
        assert not np.allclose(thresholds, labels.best_thresholds(probs[half], truths[half]))
        said = probs[half] >= thresholds
        assert np.array(found.best)[half] == pytest.approx(surety(probs[half], said))
        assert (np.array(found.true)[half] >= 0).tolist() == (said == (truths[half] > 0.5)).all(1).tolist()
