import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from headstart import plugins
from headstart.core import Outputs, Task
from headstart.errors import BadSetting, DataError, StoreError, UnknownName
from headstart.tasks._softmax import known
from headstart.tasks.single_label import SingleLabel, probabilities

TASK = SingleLabel(("cat", "dog", "fox"))


def logits(n: int, classes: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def test_labels_become_places_and_come_back() -> None:
    raw = ["fox", "cat", "cat"]
    targets = TASK.encode(raw)
    assert targets.tolist() == [2, 0, 0] and targets.dtype == torch.int64 and TASK.decode(targets) == raw
    assert TASK.encode([]).shape == (0,) and TASK.decode(np.array([1])) == ["dog"]


@pytest.mark.parametrize(
    ("label", "words"),
    [("dig", 'no class "dig".*"dog".*3 classes'), (None, "no label"), (3, 'no class "3"'), (["cat"], "no class")],
)
def test_a_label_never_seen_is_answered_with_the_nearest(label: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        TASK.encode(["cat", label])


def test_classes_are_at_least_two_and_differ() -> None:
    with pytest.raises(DataError, match="at least two"):
        SingleLabel(("cat",))
    with pytest.raises(DataError, match="'cat' more than once"):
        SingleLabel(("cat", "dog", "cat"))


def test_state_makes_an_equal_task_and_is_strict() -> None:
    state = json.loads(json.dumps(TASK.state()))
    assert SingleLabel.from_state(state) == TASK and TASK.outputs == 3 and TASK.name == "single_label"
    with pytest.raises(UnknownName, match='"classes"'):
        SingleLabel.from_state({**state, "clases": []})
    for broken in ({}, {"name": "regression", "classes": ["a", "b"]}, {"name": "single_label", "classes": "ab"}):
        with pytest.raises(StoreError, match=r"task\.json"):
            SingleLabel.from_state(broken)


def test_the_file_name_is_the_method_name() -> None:
    task: Task = plugins.find("tasks", "single_label").SingleLabel(("a", "b"))
    assert task.name == "single_label" and "single_label" in plugins.names("tasks")


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0, 0.5), st.integers(0, 99))
def test_loss_is_cross_entropy_with_the_truth_shared_out(n: int, classes: int, smoothing: float, seed: int) -> None:
    task, outputs = SingleLabel(tuple("abcdef"[:classes])), logits(n, classes, seed)
    targets = torch.arange(n) % classes
    loss = task.loss(outputs, targets, smoothing)
    for i in range(n):
        normaliser = math.log(sum(math.exp(value) for value in outputs[i].tolist()))
        truth = [smoothing / classes + (1 - smoothing) * (k == int(targets[i])) for k in range(classes)]
        expected = sum(share * (normaliser - value) for share, value in zip(truth, outputs[i].tolist(), strict=True))
        assert float(loss[i]) == pytest.approx(expected, abs=1e-9)


def test_loss_of_half_precision_is_summed_in_full() -> None:
    outputs = torch.tensor([[30.0, 0.0, -3.0]]).bfloat16()
    loss = TASK.loss(outputs, torch.tensor([2]))
    assert loss.dtype == torch.float32 and float(loss) == pytest.approx(33.0)


def test_output_hessian_is_the_second_derivative_of_the_loss() -> None:
    outputs, targets = logits(4), torch.tensor([0, 1, 2, 0])
    hessian = TASK.output_hessian(outputs, targets)
    for i in range(4):
        exact = torch.autograd.functional.hessian(lambda row, i=i: TASK.loss(row[None], targets[i : i + 1])[0], outputs[i])
        assert torch.allclose(hessian[i], exact, atol=1e-10)  # pyright: ignore[reportArgumentType]


def test_predictions_of_a_plain_model() -> None:
    mean = torch.tensor([[0.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
    first, second = TASK.predict(Outputs(mean), ["a.jpg", "b.jpg"])
    share = math.exp(2) / (math.exp(2) + 2)
    assert (first.id, first.label) == ("a.jpg", "dog") and first.probs["dog"] == pytest.approx(share)
    assert repr(first) == "Prediction(dog 79 %)" and repr(second) == "Prediction(cat >99 %)"
    row = first.row()
    assert list(row) == [
        "id",
        "answer",
        "promised",
        "total",
        "aleatoric",
        "epistemic",
        "ood",
        "error",
        "label",
        "probs",
        "interval",
    ]
    assert all(row[name] is None for name in ("answer", "promised", "total", "aleatoric", "epistemic", "ood", "error"))
    assert sum(row["probs"].values()) == pytest.approx(1, abs=1e-12) and list(row["probs"]) == ["cat", "dog", "fox"]
    json.dumps(row)


def test_an_input_that_could_not_be_read() -> None:
    failed = TASK.failed("x.jpg", "x.jpg is empty.")
    row = failed.row()
    assert row["error"] == "x.jpg is empty." and row["label"] is None and row["probs"] is None
    assert repr(failed) == "Prediction(x.jpg is empty.)" and failed.probs == {}


def test_uncertainty_of_samples_by_the_definition() -> None:
    samples = torch.stack([logits(2, seed=s) for s in range(5)])
    spread = known(Outputs(samples.mean(0), samples=samples)).uncertainty
    for i in range(2):
        draws = samples[:, i].softmax(1).numpy()
        total, aleatoric = stats.entropy(draws.mean(0)), np.mean([stats.entropy(draw) for draw in draws])
        assert spread[i] == pytest.approx((total, aleatoric, total - aleatoric))
    predicted = TASK.predict(Outputs(samples.mean(0), samples=samples), ["a", "b"])
    assert (predicted[1].total, predicted[1].aleatoric, predicted[1].epistemic) == tuple(spread[1])
    assert predicted[0].values == pytest.approx(samples[:, 0].softmax(1).mean(0).numpy())


def test_uncertainty_of_two_gaussian_logits_is_the_integral() -> None:
    """With two classes all depends on their difference, a Gaussian in one dimension."""
    mean, cov = np.array([[1.0, -0.5]]), np.array([[[1.2, 0.3], [0.3, 0.8]]])
    density = stats.norm(1.5, math.sqrt(1.2 + 0.8 - 0.6)).pdf

    def entropy(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log1p(-p)

    share = integrate.quad(lambda z: density(z) / (1 + math.exp(-z)), -12, 14)[0]
    expected = integrate.quad(lambda z: density(z) * entropy(1 / (1 + math.exp(-z))), -12, 14)[0]
    outputs = Outputs(mean, cov=cov)
    assert probabilities(outputs)[0, 0] == pytest.approx(share, abs=0.01)
    total, aleatoric, epistemic = known(outputs).uncertainty[0]
    assert (total, aleatoric) == pytest.approx((entropy(share), expected), abs=0.02)
    assert epistemic == pytest.approx(total - aleatoric)


@given(st.integers(2, 5), st.floats(0, 30), st.integers(0, 50))
def test_uncertainty_adds_up_and_is_never_negative(classes: int, scale: float, seed: int) -> None:
    root = logits(classes, classes, seed).numpy()
    cov = (root @ root.T * scale)[None].repeat(3, 0)
    outputs = Outputs(logits(3, classes, seed + 1), cov=cov)
    for total, aleatoric, epistemic in known(outputs).uncertainty:
        assert 0 <= aleatoric <= total + 1e-9 <= math.log(classes) + 1e-8 and epistemic >= 0
        assert aleatoric + epistemic == pytest.approx(total, abs=1e-9)
    assert np.allclose(probabilities(outputs).sum(1), 1)


def test_certain_logits_have_no_epistemic_part_and_what_all_share_is_no_uncertainty() -> None:
    mean = logits(3)
    plain = probabilities(Outputs(mean))
    for cov in (torch.zeros(3, 3, 3), torch.full((3, 3, 3), 25.0)):
        outputs = Outputs(mean, cov=cov)
        assert probabilities(outputs) == pytest.approx(plain, abs=1e-9)
        assert max(epistemic for *_, epistemic in known(outputs).uncertainty) < 1e-9


def test_a_large_batch_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.tasks import _softmax

    outputs = Outputs(logits(7), cov=torch.eye(3).expand(7, 3, 3))
    whole = probabilities(outputs)
    monkeypatch.setattr(_softmax, "CHUNK", 2 * _softmax.DRAWS * 3)
    assert len(_softmax.drawn(outputs)) == 4 and np.array_equal(probabilities(outputs), whole)


def test_metrics_by_name_and_by_function() -> None:
    def mine(probs: np.ndarray, targets: np.ndarray) -> float:
        return float(probs[0, targets[0]])

    rules = TASK.metrics(["error_rate", mine, "nll"])
    assert list(rules) == ["error_rate", "mine", "nll"]
    outputs, targets = Outputs(logits(20)), torch.arange(20) % 3
    for given_targets in (targets, targets.numpy(), targets.tolist()):
        values = {name: rule(outputs, given_targets).value for name, rule in rules.items()}
        assert values["nll"] == pytest.approx(float(TASK.loss(logits(20), targets).mean()))
        assert values["error_rate"] == pytest.approx(float((logits(20).argmax(1) != targets).double().mean()))
        assert values["mine"] == pytest.approx(float(logits(20).softmax(1)[0, 0]))
    with pytest.raises(UnknownName):
        TASK.metrics(["eror_rate"])
    with pytest.raises(BadSetting):
        TASK.metrics([lambda probs, targets: 0.0])
