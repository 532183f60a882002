"""What is promised of answers and of sets: kept, over many draws of the held-out examples, and refused where there are too few."""

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int

from headstart.core import Outputs
from headstart.errors import BadSetting
from headstart.tasks import _choice as tasks
from headstart.tasks._promises import Promises, fewest
from headstart.tasks.single_label import SingleLabel


def world(
    count: int, seed: int, classes: int = 3, sharper: float = 1.0
) -> tuple[Float[np.ndarray, "count classes"], Int[np.ndarray, " count"]]:
    """Probabilities and truths drawn from them; with `sharper` above 1 the probabilities are too sure."""
    draw = np.random.default_rng(seed)
    logits = 5 * draw.normal(size=(count, classes))
    truth = (logits + draw.gumbel(size=logits.shape)).argmax(1)
    raised = np.exp(sharper * (logits - logits.max(1, keepdims=True)))
    return raised / raised.sum(1, keepdims=True), truth


@pytest.mark.parametrize("sharper", [0.7, 1.0, 3.0])
def test_answers_are_wrong_no_more_often_than_promised(sharper: float) -> None:
    """Over 300 draws of 200 held-out examples the true risk exceeds the promised one in at most a tenth, and answers are given."""
    many, truths = world(40_000, 1, sharper=sharper)
    best, wrong = many.max(1), many.argmax(1) != truths
    broken, promised = 0, 0
    for seed in range(300):
        threshold = Promises.of(*world(200, 10 + seed, sharper=sharper)).threshold(0.05, 0.9)
        if threshold is not None:
            promised += 1
            broken += wrong[best >= threshold].mean() > 0.05
    assert promised > 200 and broken <= 0.1 * 300 + 3 * np.sqrt(300 * 0.1 * 0.9) and broken / 300 < 0.13


@pytest.mark.parametrize("n", [20, 50, 100])
@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_sets_hold_the_truth_as_often_as_promised(n: int, sharper: float) -> None:
    """The law of split conformal sets: mean coverage ceil((n + 1)(1 - a)) / (n + 1), its variance that of a Beta (Vovk 2012)."""
    many, truths = world(4000, 1, sharper=sharper)
    alpha, draws = 0.1, 400
    own = many[np.arange(len(many)), truths]
    found = np.array([(own >= Promises.of(*world(n, 10 + seed, sharper=sharper)).least(alpha)).mean() for seed in range(draws)])
    rank = np.ceil((n + 1) * (1 - alpha))
    a, b = rank, n + 1 - rank
    expected, variance = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    assert found.mean() == pytest.approx(
        expected, abs=3 * np.sqrt(variance / draws) + 3 * np.sqrt(expected * (1 - expected) / len(many))
    )
    assert found.var() == pytest.approx(variance + expected * (1 - expected) / len(many), rel=0.35)


def test_too_few_examples_promise_nothing_and_say_how_many_are_missing() -> None:
    assert fewest(0.05, 0.9) == 45 and 0.95**45 <= 0.1 < 0.95**44
    few = Promises.of(*world(30, 0))
    assert few.threshold() is None and few.missing() == 15 and few.least(0.01) is None
    right = Promises((0.99,) * 45, (0.99,) * 45)
    assert right.threshold() == 0.0 and right.missing() == 0
    assert Promises((0.99,) * 44, (0.99,) * 44).threshold() is None


def test_one_wrong_answer_among_the_surest_does_not_decide() -> None:
    few = Promises((0.9999,) * 22 + (0.9992,) * 500, (0.00005,) + (0.9999,) * 21 + (0.9992,) * 500)
    assert [few.threshold(risk) for risk in (0.02, 0.05, 0.1, 0.2)] == [0.0] * 4
    assert fewest(0.05, 0.9, errors=1) == 77 and Promises((0.9,), (0.9,)).threshold(0.9) == 0.0


def test_answers_that_are_always_wrong_are_never_promised() -> None:
    wrong = Promises((0.9,) * 500, (0.1,) * 500)
    assert wrong.threshold() is None and wrong.missing() == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0])
def test_a_risk_is_a_share(share: float) -> None:
    with pytest.raises(BadSetting, match="between 0 and 1"):
        Promises((0.9,), (0.9,)).threshold(share)
    with pytest.raises(BadSetting, match="between 0 and 1"):
        Promises((0.9,), (0.9,)).least(share)


def logits(probs: Float[np.ndarray, "batch classes"]) -> Outputs:
    return Outputs(torch.from_numpy(np.log(probs)))


def test_a_task_answers_with_what_it_promises_and_remembers_it() -> None:
    probs, truths = world(400, 0)
    plain = SingleLabel(("a", "b", "c"))
    task = plain.fitted(logits(probs), truths)
    assert tasks.from_state(task.state()) == task != plain
    threshold = task.promises.threshold()
    sure, unsure = np.array([[0.998, 0.001, 0.001]]), np.array([[0.4, 0.35, 0.25]])
    yes, no = task.predict(logits(np.concatenate([sure, unsure])), ["1", "2"])
    assert 0.4 < threshold < 0.998
    assert (yes.answer, yes.promised, no.answer, no.promised) == ("a", True, None, True)
    assert yes.answer_at(0.05) == "a" and no.answer_at(0.05) is None and no.answer_at(0.6) == "a"
    assert yes.set(0.1) == ("a",) and no.set(0.1)[:2] == ("a", "b") and no.set(0.01) == ("a", "b", "c") and no.set(0.9) == ("a",)
    (before,) = plain.predict(logits(sure), ["1"])
    assert before.answer is None and before.promised is None
    with pytest.raises(BadSetting, match="no validation images have told"):
        before.answer_at(0.05)


def test_too_few_validation_images_answer_without_a_promise() -> None:
    probs, truths = world(20, 0)
    (one,) = SingleLabel(("a", "b", "c")).fitted(logits(probs), truths).predict(logits(np.array([[0.4, 0.35, 0.25]])), ["1"])
    assert one.answer == "a" and one.promised is False
    with pytest.raises(BadSetting, match="at least 25 more validation images"):
        one.answer_at()
    assert one.set(0.01) == ("a", "b", "c")


def test_nothing_is_promised_of_new_classes() -> None:
    probs, truths = world(60, 0)
    task = SingleLabel(("a", "b", "c")).fitted(logits(probs), truths)
    assert task.widened(["a", "d"]).promises is None
