"""Which row is kept: the lowest valid_loss among those that beat the first row by more than its noise."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headstart import model as models
from headstart.core import Outputs, Settings
from headstart.data.batches import Examples
from headstart.data.stores.pixels import PixelStore
from headstart.tasks.single_label import SingleLabel
from headstart.train.state import TrainState


def state(count: int, **settings: Any) -> TrainState:
    """A training whose `count` validation images are all of the first of two classes."""
    valid = Examples(
        MagicMock(spec=PixelStore, modality=None, ids=(), key=""),
        np.arange(count),
        torch.zeros(count, dtype=torch.int64),
        tuple(map(str, range(count))),
    )
    model = models.build(models.build_backbone("tiny"), 2)
    device = torch.device("cpu")
    return TrainState(model, SingleLabel(("a", "b")), {"valid": valid}, Settings(**settings), ("error_rate",), device)


def outputs(losses: Sequence[float]) -> Outputs:
    """Logits with these negative log-likelihoods of the first class: p = exp(-loss)."""
    shares = torch.tensor(losses, dtype=torch.float64).neg().exp()
    return Outputs(torch.stack([shares.log(), (1 - shares).log()], 1))


def with_rows(*tables: Sequence[float], **settings: Any) -> TrainState:
    made = state(len(tables[0]), **settings)
    for epoch, losses in enumerate(tables):
        made.add_row(epoch, "all", 0.5, outputs(losses), 1e-3, float(epoch))
    return made


FIRST = [0.5] * 9


@pytest.mark.parametrize(
    ("gains", "beyond"),
    [
        ([0.1] * 9, True),  # each image is better: no noise at all
        ([0.3, 0.3, 0, 0, 0, 0, 0, 0, 0], True),  # mean .067, standard error .044
        ([0.3, 0.3, -0.1, -0.1, -0.1, -0.1, 0, 0, 0], False),  # mean .022, standard error .054
        ([0.0] * 9, False),
        ([-0.1] * 9, False),
    ],
)
def test_a_row_must_gain_more_than_the_standard_error_of_its_gain(gains: list[float], beyond: bool) -> None:
    made = with_rows(FIRST, [loss - gain for loss, gain in zip(FIRST, gains, strict=True)])
    assert made.rows[0]["beyond_noise"] is None
    assert made.rows[1]["beyond_noise"] is beyond
    assert made.kept()["epoch"] == int(beyond)


def test_a_row_that_is_low_by_chance_gives_way_to_one_that_is_not() -> None:
    lucky = [0.01, 0.01, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 0.5]  # mean .436
    steady = [0.45] * 9
    made = with_rows(FIRST, steady, lucky)
    assert made.lowest()["epoch"] == 2
    assert made.kept()["epoch"] == 1
    assert set(made.weights) == {1, 2}  # the kept and the last


def test_other_columns_and_the_last_row_are_taken_as_they_are() -> None:
    lucky = [0.01, 0.01, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 0.5]
    assert with_rows(FIRST, lucky, keep="last").kept()["epoch"] == 1
    worse = [0.8] * 9
    assert with_rows(worse, lucky, monitor="error_rate").kept()["epoch"] == 1


def test_without_the_losses_of_the_first_row_the_means_decide() -> None:
    made = with_rows(FIRST)
    made.judged.clear()
    made.add_row(1, "all", 0.5, outputs([0.01, 0.01, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 0.5]), 1e-3, 1.0)
    assert made.kept()["epoch"] == 1


@given(st.lists(st.lists(st.floats(0.01, 3.0), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_kept_row_is_never_worse_than_the_first(tables: list[list[float]]) -> None:
    made = with_rows(*tables)
    assert made.kept()["valid_loss"] <= made.rows[0]["valid_loss"]
    assert made.kept()["epoch"] in made.weights
