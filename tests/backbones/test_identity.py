import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import headstart as hs
from headstart import model as models
from headstart.backbones import identity
from headstart.errors import BadSetting
from twins import left_out
from written import numbers


def settled(rows: np.ndarray, gaps: tuple[int, ...] = ()) -> identity.Identity:
    backbone = identity.build([f"x{place}" for place in range(rows.shape[1])], gaps)
    backbone.settle(torch.from_numpy(part.astype(np.float32)) for part in np.array_split(rows, 3))
    return backbone


@given(arrays.arrays(np.float64, (9, 2), elements=st.floats(-100, 100, width=32)))
def test_features_are_standardised_numbers(rows: np.ndarray) -> None:
    deviation = rows.std(0)
    wanted = (rows - rows.mean(0)) / np.where(deviation > 0, deviation, 1)
    found = settled(rows).features(torch.from_numpy(rows.astype(np.float32))).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_missing_number_is_its_mean_and_is_told() -> None:
    rows = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 9.0]])
    found = settled(rows, gaps=(1,)).features(torch.tensor([[3.0, float("nan")], [float("nan"), 9.0]])).numpy()
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 1, 0]], atol=1e-6)


def test_what_it_took_from_the_training_examples_stays() -> None:
    backbone = settled(numbers(20)[0])
    before = {name: value.clone() for name, value in backbone.net.state_dict().items()}
    backbone.settle([torch.ones(5, 4)])
    assert all(torch.equal(value, before[name]) for name, value in backbone.net.state_dict().items())
    again = identity.build(backbone.names, tensors=dict(backbone.net.state_dict()))
    some = torch.from_numpy(numbers(7)[0].astype(np.float32))
    assert torch.equal(again.features(some), backbone.features(some))


def test_gaps_are_where_some_example_lacks_a_number() -> None:
    rows, target = numbers(12)
    rows[3, 2] = np.nan
    data = hs.from_arrays(rows, target)
    assert identity.gaps_of(data) == [2]
    assert models.build_backbone("small", data=data).spec.width == 5


def test_other_numbers_and_other_backbones_are_refused() -> None:
    rows, target = numbers(12)
    data = hs.from_arrays(rows, target, inputs=["a", "b", "c", "d"])
    with pytest.raises(BadSetting, match="rows of numbers, for which the backbone is \"identity\", got 'resnet18'"):
        models.build_backbone("resnet18", data=data)
    with pytest.raises(BadSetting, match="takes the numbers a, b; arrays has a, b, c, d"):
        identity.build(["a", "b"]).require(data)
    with pytest.raises(BadSetting, match="the backbone tiny takes images, but arrays holds examples"):
        models.build_backbone("tiny").require(data)


def test_the_linear_model_is_bayesian_linear_regression() -> None:
    """scikit-learn's BayesianRidge with the flat hyperpriors that the evidence has converges to the same model.

    It takes its intercept as known, where here a flat prior of it is integrated out; that is the same as a regression without
    intercept on the n - 1 contrasts of the examples, which it is given.
    """
    from scipy.linalg import helmert
    from sklearn.linear_model import BayesianRidge

    rows, target = numbers(120, 6)
    rows = rows.astype(np.float32).astype(np.float64)
    parts = ["valid" if place % 5 == 0 else "train" for place in range(120)]
    learn = hs.Learner(hs.from_arrays(rows, target.tolist(), parts=parts), task="regression", observer=Silent())
    learn.fine_tune(0)
    train = np.array([part == "train" for part in parts])
    mean, scale = rows[train].mean(0), rows[train].std(0)
    contrasts, standard = helmert(train.sum()), (rows - mean) / scale
    oracle = BayesianRidge(alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, tol=1e-12, max_iter=10_000, fit_intercept=False)
    oracle.fit(contrasts @ standard[train], contrasts @ target[train])
    wanted = oracle.predict(standard) + target[train].mean()
    found = np.array([prediction.value for prediction in learn.predict(rows)])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * target.std())
    weight = learn.model.head.weight[0].detach().double().numpy() * learn.task.scale[0]
    np.testing.assert_allclose(weight, oracle.coef_, rtol=0, atol=1e-6 * np.abs(oracle.coef_).max())
    off = left_out(standard[train], target[train], oracle.lambda_ / oracle.alpha_)
    assert learn.predict(rows[:1], posterior="none")[0].deviations[0] ** 2 == pytest.approx((off**2).mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["gaussian", "student"])
def test_intervals_hold_where_there_are_about_as_many_numbers_as_examples(loss: str) -> None:
    """The mode follows the noise there, and what it leaves of the training examples says nothing of new ones."""
    draw, held = np.random.default_rng(3), []
    for seed in range(6):
        weights = draw.normal(size=30) / 4
        rows = draw.normal(size=(240, 30))
        target = rows @ weights + 0.5 * draw.normal(size=240)
        data = hs.from_arrays(rows[:40], target[:40].tolist(), seed=seed)
        learn = hs.Learner(data, task="regression", loss=loss, run=f"run{seed}", observer=Silent()).fine_tune(0)
        low, high = np.array([prediction.interval for prediction in learn.predict(rows[40:])]).T
        held.append(((target[40:] >= low) & (target[40:] <= high)).mean())
    assert np.mean(held) > 0.88, held  # by what is left of the training examples: .67 and .86


class Silent:
    def show(self, event: object) -> None: ...

    def close(self) -> None: ...
