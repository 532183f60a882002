"""Rules for what to label next: the contract of the folder, and each against a slow twin or a planted answer."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from headstart import plugins
from headstart.acquisitions import _greedy, _pool, batch_bald, epig, logdet
from headstart.acquisitions._pool import Picked, Pool, largest
from headstart.core import Outputs, Task
from headstart.errors import BadSetting
from headstart.posteriors import laplace
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel

RULES = plugins.names("acquisitions")
CLASSES = SingleLabel(("a", "b", "c"))


def pool_of(task: Task, count: int = 40, draws: int = 64, seed: int = 0, width: int = 5) -> Pool:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, width)).astype(np.float32)
    weights = draw.normal(size=(draws, width, task.outputs))
    said = torch.from_numpy(np.einsum("nf,sfo->sno", features, weights))
    return Pool(task, features, Outputs(said.mean(0), samples=said), said, features[:0])


@pytest.mark.parametrize("name", RULES)
def test_what_is_picked_is_different_in_order_and_in_the_pool(name: str) -> None:
    rule = plugins.find("acquisitions", name)
    pool = pool_of(CLASSES)
    found = rule.pick(pool, 7)
    assert isinstance(found, Picked) and isinstance(rule.WHY, str) and isinstance(rule.LEARNED, bool)
    assert len(found.places) == len(set(found.places.tolist())) == len(found.scores) == 7
    assert found.places.min() >= 0 and found.places.max() < 40 and np.isfinite(found.scores).all()
    first = rule.pick(pool, 1)
    assert first.places[0] == found.places[0] and first.scores[0] == pytest.approx(found.scores[0])
    assert len(rule.pick(pool, 99).places) == 40


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("task", [MultiLabel(("a", "b")), Regression(("height",), (0.0,), (1.0,))], ids=["labels", "a number"])
def test_rules_serve_other_tasks_or_say_why_not(name: str, task: Task) -> None:
    rule = plugins.find("acquisitions", name)
    if name == "batch_bald":
        with pytest.raises(BadSetting, match="logdet"):
            rule.pick(pool_of(task), 3)
        return
    assert len(rule.pick(pool_of(task), 3).places) == 3


@pytest.mark.parametrize("name", RULES)
def test_without_draws_a_rule_works_or_names_one_that_does(name: str) -> None:
    whole = pool_of(CLASSES)
    bare = Pool(CLASSES, whole.features, Outputs(whole.said.mean), None, whole.learned)
    rule = plugins.find("acquisitions", name)
    if name == "cover":
        assert len(rule.pick(bare, 3).places) == 3
        return
    with pytest.raises(BadSetting, match="posterior"):
        rule.pick(bare, 3)


@pytest.mark.parametrize("name", ["batch_bald", "logdet", "epig", "cover", "unsure"])
def test_a_copy_of_what_was_picked_tells_less(name: str) -> None:
    """The pool holds everything three times: a rule that knows what it has picked takes no copy while others are there."""
    rule, once = plugins.find("acquisitions", name), pool_of(CLASSES, 12, 256)
    thrice = once.some(np.tile(np.arange(12), 3))
    picked = rule.pick(thrice, 4).places % 12
    assert len(set(picked.tolist())) == 4


def test_of_many_outputs_those_that_vary_most_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty classes of which each example may be of three: sixteen rows hold all but a hundredth of what a label tells."""
    draw = np.random.default_rng(0)
    draws = torch.full((50, 20, 40), -8.0).double()
    for place in range(20):
        draws[:, place, draw.choice(40, 3, replace=False)] = torch.from_numpy(draw.normal(size=(50, 3)))
    pool = Pool(
        SingleLabel(tuple(map(str, range(40)))),
        np.zeros((20, 2), np.float32),
        Outputs(draws.mean(0), samples=draws),
        draws,
        np.zeros((0, 2)),
    )
    assert pool.roots.shape == (20, _pool.ROWS, 50)
    few = logdet.pick(pool, 5)
    monkeypatch.setattr(_pool, "ROWS", 40)
    whole = logdet.pick(pool.some(np.arange(20)), 5)
    assert few.places.tolist() == whole.places.tolist() and few.scores == pytest.approx(whole.scores, rel=1e-2)


def test_bald_and_batch_bald_agree_on_the_first() -> None:
    pool = pool_of(CLASSES)
    one, other = plugins.find("acquisitions", "bald").pick(pool, 1), batch_bald.pick(pool, 1)
    assert one.places[0] == other.places[0]
    assert other.scores[0] == pytest.approx(one.scores[0], rel=1e-6)


def joint_information(pool: Pool, places: list[int]) -> float:
    """I(y_1 ... y_b; w) by summing over every combination of answers and every draw."""
    shares = np.asarray(CLASSES.answer_probabilities(pool.together))[:, places]
    total, conditional = 0.0, 0.0
    for answers in itertools.product(range(3), repeat=len(places)):
        each = np.prod([shares[:, place, answer] for place, answer in enumerate(answers)], axis=0)
        total -= each.mean() * np.log(each.mean())
    for place in range(len(places)):
        conditional -= (shares[:, place] * np.log(shares[:, place])).sum(1).mean()
    return total - conditional


def test_batch_bald_is_the_joint_information() -> None:
    pool = pool_of(CLASSES, 12)
    found = batch_bald.pick(pool, 3)
    places = found.places.tolist()
    assert found.scores.sum() == pytest.approx(joint_information(pool, places), rel=1e-9)
    best = max(range(12), key=lambda place: joint_information(pool, [*places[:2], place]) if place not in places[:2] else -1)
    assert joint_information(pool, [*places[:2], best]) == pytest.approx(joint_information(pool, places), rel=1e-9)


def test_many_combinations_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(CLASSES, 12)
    exact = batch_bald.pick(pool, 6)
    monkeypatch.setattr(batch_bald, "COMBINATIONS", 100)
    some = batch_bald.pick(pool, 6)
    assert some.scores[:4] == pytest.approx(exact.scores[:4], rel=1e-9)
    assert joint_information(pool, some.places.tolist()) > 0.97 * joint_information(pool, exact.places.tolist())


def gaussian_pool() -> tuple[Pool, np.ndarray]:
    """A number whose noise has variance one, and its exact covariance by a posterior with very many draws."""
    pool = pool_of(Regression(("height",), (0.0,), (1.0,)), 10, 400)
    draws = pool.together.clone()
    draws[..., 1] = 0.0
    pool = Pool(pool.task, pool.features, Outputs(draws.mean(0), samples=draws), draws, pool.learned)
    apart = (draws[..., 0] - draws[..., 0].mean(0)).numpy()
    return pool, apart.T @ apart / len(draws)


def test_logdet_is_the_information_of_gaussian_labels() -> None:
    pool, covariance = gaussian_pool()
    found = logdet.pick(pool, 4)
    chosen = covariance[np.ix_(found.places, found.places)]
    assert found.scores.sum() == pytest.approx(0.5 * np.linalg.slogdet(np.eye(4) + chosen)[1], rel=1e-4)


def test_epig_is_the_variance_that_gaussian_labels_take() -> None:
    pool, covariance = gaussian_pool()
    found = epig.pick(pool, 3)
    places = found.places
    inner = np.linalg.inv(np.eye(3) + covariance[np.ix_(places, places)])
    taken = np.trace(covariance[:, places] @ inner @ covariance[places])
    assert found.scores.sum() == pytest.approx(0.5 * taken / 10, rel=1e-4)


def test_roots_after_a_label_are_those_of_the_posterior() -> None:
    roots = np.random.default_rng(0).normal(size=(6, 3, 20)).astype(np.float32)
    by = roots[2]
    left = _greedy.told(roots, by)
    inner = np.linalg.inv(np.eye(20) + by.T @ by)
    assert left[4] @ left[1].T == pytest.approx(roots[4] @ inner @ roots[1].T, rel=1e-4)


def test_cover_takes_the_middle_of_each_group_that_was_not_learned() -> None:
    draw = np.random.default_rng(0)
    middles = 10 * np.eye(4, 6)
    features = np.concatenate([middle + draw.normal(size=(20, 6)) for middle in middles]).astype(np.float32)
    learned = features[[0, 1]]
    pool = Pool(CLASSES, features, Outputs(torch.zeros(80, 3)), None, learned)
    picked = plugins.find("acquisitions", "cover").pick(pool, 3).places // 20
    assert set(picked.tolist()) == {1, 2, 3}


def test_the_typical_of_what_is_unsure_comes_before_the_odd_and_the_known() -> None:
    """Three groups: one large and known, one of ten that is unsure, and a single example that is the most unsure of all."""
    draw = np.random.default_rng(0)
    features = np.concatenate(
        [10 * middle + draw.normal(size=(size, 6)) for middle, size in zip(np.eye(3, 6), (40, 10, 1), strict=True)]
    )
    draws = torch.zeros(100, 51, 2).double()
    draws[:, :40, 0] = 6.0
    draws[:50, 40:50, 0], draws[50:, 40:50, 1] = 2.0, 2.0
    draws[:50, 50:, 0], draws[50:, 50:, 1] = 5.0, 5.0
    pool = Pool(
        SingleLabel(("a", "b")),
        features.astype(np.float32),
        Outputs(draws.mean(0), samples=draws),
        draws,
        np.zeros((0, 6), np.float32),
    )
    first = {name: int(plugins.find("acquisitions", name).pick(pool, 1).places[0]) for name in ("unsure", "cover", "bald")}
    assert first["unsure"] in range(40, 50) and first["cover"] in range(40) and first["bald"] == 50


def test_the_largest_come_first_and_of_equal_ones_the_earlier() -> None:
    found = largest(np.array([1.0, 3.0, 3.0, 2.0]), 3)
    assert found.places.tolist() == [1, 2, 3] and found.scores.tolist() == [3.0, 3.0, 2.0]


def test_uncertain_and_informative_examples_are_found() -> None:
    """Examples 0 to 4 are coin tosses that nothing can be learned about; of 5 to 9 the draws of the weights disagree; the rest is clear."""
    draws = torch.zeros(100, 20, 2).double()
    draws[:, 10:, 0] = 6.0
    draws[:50, 5:10, 0], draws[50:, 5:10, 1] = 5.0, 5.0
    pool = Pool(
        SingleLabel(("a", "b")), np.zeros((20, 2), np.float32), Outputs(draws.mean(0), samples=draws), draws, np.zeros((0, 2))
    )
    for name in ("bald", "batch_bald", "logdet", "epig"):
        assert plugins.find("acquisitions", name).pick(pool, 1).places[0] in range(5, 10), name
    assert set(plugins.find("acquisitions", "entropy").pick(pool, 10).places.tolist()) == set(range(10))


def labelled(count: int, seed: int, width: int = 4) -> Labelled:
    draw = np.random.default_rng(seed)
    given = torch.from_numpy(draw.normal(size=(count, width)))
    said = given @ torch.from_numpy(np.random.default_rng(7).normal(size=(3, width))).T
    return Labelled(given, said, torch.from_numpy(draw.integers(0, 3, count)))


@pytest.mark.parametrize("own", [32, 1], ids=["own precisions", "shared factors"])
@pytest.mark.parametrize("width", [4, 60], ids=["few inputs", "more inputs than examples"])
def test_draws_for_all_examples_have_the_covariance_between_them(own: int, width: int) -> None:
    seen = labelled(30, 0, width)
    found = laplace.around(Problem(CLASSES, seen, seen.some(0), np.full(3, 2.0), 30), own)
    fresh = labelled(6, 1, width)
    draws: Any = found.together(fresh.given, fresh.said, 20_000)
    apart = (draws - fresh.said).double()
    own_covariance = torch.einsum("sbk,sbl->bkl", apart, apart) / len(apart)
    exact = found.covariance(fresh.given).double()
    assert torch.linalg.norm(own_covariance - exact) / torch.linalg.norm(exact) < 0.03
    # two examples whose sum is a third: what is linear in the weights stays so
    three = torch.stack([fresh.given[0], fresh.given[1], 0.5 * (fresh.given[0] + fresh.given[1])])
    moved: Any = found.together(three, torch.zeros(3, 3).double(), 50)
    assert moved[:, 2].numpy() == pytest.approx(0.5 * (moved[:, 0] + moved[:, 1]).numpy(), abs=1e-4)
