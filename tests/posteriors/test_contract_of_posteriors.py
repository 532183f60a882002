"""What every posterior keeps to, found by its name, under every task that has a linear head."""

from typing import Any

import numpy as np
import pytest
import torch

from headstart import plugins
from headstart.core import Outputs, Posterior, Task
from headstart.metrics import Measured
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel

POSTERIORS = plugins.names("posteriors")
TASKS: dict[str, Task] = {
    "two classes": SingleLabel(("a", "b")),
    "four classes": SingleLabel(tuple("abcd")),
    "forty classes": SingleLabel(tuple(map(str, range(40)))),
    "labels": MultiLabel(("a", "b", "c")),
    "a number": Regression(("height",), (10.0,), (2.0,)),
    "two numbers under student": Regression(("a", "b"), (0.0, 1.0), (1.0, 3.0), "student"),
}


def labelled(task: Task, count: int, seed: int) -> Labelled:
    draw = np.random.default_rng(seed)
    given = torch.from_numpy(draw.normal(size=(count, 6)).astype(np.float32))
    weight = torch.from_numpy(np.random.default_rng(7).normal(size=(task.outputs, 6)).astype(np.float32))
    said = given @ weight.T
    if isinstance(task, SingleLabel):
        return Labelled(given, said, (2 * said).softmax(1).multinomial(1, generator=torch.Generator().manual_seed(seed))[:, 0])
    if isinstance(task, MultiLabel):
        targets = (torch.from_numpy(draw.random(said.shape)) < said.sigmoid()).float()
        targets[0, 0] = float("nan")
        return Labelled(given, said, targets)
    half = task.outputs // 2
    said = torch.cat([said[:, :half], torch.zeros(count, half)], 1)
    return Labelled(given, said, said[:, :half] + torch.from_numpy(draw.normal(size=(count, half)).astype(np.float32)))


def problem_of(task: Task, held: int = 30) -> Problem:
    half = np.full(task.outputs // 2, np.inf)
    precision = (
        np.append(np.full(task.outputs - len(half), 2.0), half) if isinstance(task, Regression) else np.full(task.outputs, 2.0)
    )
    return Problem(task, labelled(task, 80, 0), labelled(task, max(1, held), 1).some(held), precision, 80)


def alike(one: Outputs, other: Outputs, **near: float) -> None:
    assert (one.cov is None, one.samples is None) == (other.cov is None, other.samples is None)
    for a, b in ((one.mean, other.mean), (one.cov, other.cov), (one.samples, other.samples)):
        if a is not None:
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), **near)


@pytest.fixture(params=POSTERIORS)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = plugins.find("posteriors", request.param)
    for name in ("WARM", "COUNT"):  # of one that draws: what is asked here takes few draws
        if hasattr(found, name):
            monkeypatch.setattr(found, name, 40)
    return found


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


def test_predictions_have_every_field(method: Any, task: Task) -> None:
    post = method.fit(problem_of(task))
    assert isinstance(post, Posterior) and post.words and isinstance(method.WEIGHTS, bool)
    seen = labelled(task, 5, 2)
    said = post.outputs(seen.given, seen.said)
    for prediction in task.predict(said, list("abcde")):
        row = prediction.row()
        assert {"total", "aleatoric", "epistemic", "answer", "promised", "ood"} <= set(row)
        several = isinstance(task, Regression) and len(task.names) > 1
        if not method.WEIGHTS or several:
            assert row["epistemic"] is None
            continue
        assert 0 <= row["epistemic"] <= row["total"] and 0 <= row["aleatoric"] <= row["total"] + 1e-9
        if not isinstance(task, Regression):
            assert row["total"] == pytest.approx(row["aleatoric"] + row["epistemic"], abs=1e-9)


def test_a_state_makes_an_equal_posterior(method: Any, task: Task) -> None:
    post = method.fit(problem_of(task))
    state = post.state()
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    again = method.load(state, task)
    seen = labelled(task, 5, 2)
    alike(again.outputs(seen.given, seen.said), post.outputs(seen.given, seen.said))


def test_what_is_said_of_an_example_hangs_on_nothing_else(method: Any, task: Task) -> None:
    post = method.fit(problem_of(task))
    seen = labelled(task, 7, 2)
    whole = post.outputs(seen.given, seen.said)
    order = torch.tensor([4, 0, 6])
    some = post.outputs(seen.given[order], seen.said[order])
    picked = Outputs(
        torch.as_tensor(whole.mean)[order],
        None if whole.cov is None else torch.as_tensor(whole.cov)[order],
        None if whole.samples is None else torch.as_tensor(whole.samples)[:, order],
    )
    alike(some, picked, rtol=1e-5, atol=1e-6)


def test_draws_for_all_examples_have_their_spread_or_there_are_none(method: Any, task: Task) -> None:
    """What `together` says of each example by itself is what `outputs` says of it, and it knows what it does not know of several at once."""
    post = method.fit(problem_of(task))
    seen = labelled(task, 5, 2)
    draws = post.together(seen.given, seen.said, 4000)
    if not method.WEIGHTS:
        assert draws is None
        return
    assert draws.shape[1:] == seen.said.shape and bool(torch.isfinite(draws).all())
    one, other = (
        task.predict(each, list("abcde")) for each in (post.outputs(seen.given, seen.said), Outputs(seen.said, samples=draws))
    )
    known = [(a.row()["epistemic"], b.row()["epistemic"]) for a, b in zip(one, other, strict=True)]
    if known[0][0] is not None:
        assert [b for _, b in known] == pytest.approx([a for a, _ in known], rel=0.4, abs=4e-3)  # of `outputs` 256 points tell it
    again = post.together(seen.given, seen.said, 4000)
    assert torch.equal(draws, again)


def test_nothing_held_out_changes_no_mean(method: Any, task: Task) -> None:
    post = method.fit(problem_of(task, held=0))
    seen = labelled(task, 5, 2)
    np.testing.assert_allclose(np.asarray(post.outputs(seen.given, seen.said).mean), seen.said.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in POSTERIORS if name not in ("hmc", "bootstrap")])
def test_examples_that_were_left_out_are_told_as_well_as_by_the_point_estimate(name: str, task: Task) -> None:
    """What is fitted on half of many examples serves the other half: the head here is half as sure as it should be, or more.

    It is the truth, which 80 examples do not know: draws from what these know are worse, whoever makes them.
    """
    post = plugins.find("posteriors", name).fit(problem_of(task, held=500))
    fresh = labelled(task, 500, 3)
    nll = task.metrics(("nll",))["nll"]
    point, found = nll(Outputs(fresh.said), fresh.targets), nll(post.outputs(fresh.given, fresh.said), fresh.targets)
    assert isinstance(found, Measured) and found.value <= point.value + 0.01


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("warm", [0.5, 1.0, 3.0])
def test_tempering_is_undone_by_its_inverse(name: str, warm: float) -> None:
    task, draw = TASKS[name], torch.Generator().manual_seed(0)
    outputs = Outputs(
        torch.randn(4, task.outputs, generator=draw, dtype=torch.float64),
        torch.eye(task.outputs, dtype=torch.float64).repeat(4, 1, 1),
        torch.randn(3, 4, task.outputs, generator=draw, dtype=torch.float64),
    )
    alike(task.tempered(task.tempered(outputs, warm), 1 / warm), outputs, rtol=1e-12)
    total = [
        one.total
        for one in task.predict(Outputs(task.tempered(outputs, warm).mean, cov=task.tempered(outputs, warm).cov), list("abcd"))
    ]
    plain = [one.total for one in task.predict(Outputs(outputs.mean, cov=outputs.cov), list("abcd"))]
    if total[0] is not None:
        assert all((a > b) == (warm > 1) or warm == 1 for a, b in zip(total, plain, strict=True))
