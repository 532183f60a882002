import numpy as np
import pytest
import torch

from headstart.core import Outputs
from headstart.errors import DataError, UnknownName
from headstart.evaluate.evaluate import evaluate
from headstart.tasks.single_label import SingleLabel

TASK = SingleLabel(("a", "b"))
OUTPUTS = Outputs(torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))


def test_nll_always_comes_first_and_what_was_asked_for_follows() -> None:
    def mine(probs: np.ndarray, targets: np.ndarray) -> float:
        return 7.0

    found = evaluate(OUTPUTS, torch.tensor([0, 1, 1]), TASK, ["error_rate", mine, "nll"])
    assert list(found) == ["nll", "error_rate", "mine"] and found["mine"].value == 7
    expected = TASK.loss(torch.as_tensor(OUTPUTS.mean), torch.tensor([0, 1, 1])).mean()
    assert found["nll"].value == pytest.approx(float(expected), abs=1e-6)
    assert found["error_rate"].value == pytest.approx(1 / 3) and found["error_rate"].n == 3


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DataError, match="outputs for 3 examples but targets for 2"):
        evaluate(OUTPUTS, torch.tensor([0, 1]), TASK)
    with pytest.raises(UnknownName, match='"accuracy"'):
        evaluate(OUTPUTS, torch.tensor([0, 1, 1]), TASK, ["acuracy"])
    with pytest.raises(DataError, match="no labelled examples"):
        evaluate(Outputs(torch.zeros(0, 2)), torch.zeros(0, dtype=torch.int64), TASK)
