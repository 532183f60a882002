"""What the tests of backbones share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def own_randomness(untouched_randomness: None) -> Iterator[None]:
    """Networks that are built here by their plain constructors draw from a generator that is given back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
