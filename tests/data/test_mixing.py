"""Images mixed in pairs: CutMix pixel by pixel as in the paper, and which of two ways a batch draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headstart.core import Batch, Phase
from headstart.data import mixing
from headstart.seeds import numpy_generator

PHASE = Phase("all", 1, lr=1e-3)


def batch(count: int = 3, height: int = 7, width: int = 10, weights: torch.Tensor | None = None) -> Batch:
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, height, width)).astype(np.float32))
    return Batch(inputs, torch.arange(count), tuple(map(str, range(count))), weights)


@pytest.mark.parametrize("number", range(6))
def test_cutmix_pixel_by_pixel(number: int) -> None:
    """Algorithm 1 of Yun et al. 2019: the middle is uniform, the sides are those of the image times sqrt(1 - lambda)."""
    given_batch, phase, height, width = batch(), replace(PHASE, cutmix=1.0), 7, 10
    found = mixing.pasted(given_batch, phase, 5, 2, number)
    generator = numpy_generator(5, "cutmix", 2, number)
    share = generator.beta(1.0, 1.0)
    spans = []
    for length in (height, width):
        half, middle = int(length * np.sqrt(1 - share)) // 2, generator.integers(length)
        spans.append([place for place in range(length) if middle - half <= place < middle + half])
    kept = 0
    for image in range(3):
        for y in range(height):
            for x in range(width):
                inside = y in spans[0] and x in spans[1]
                source = (image - 1) % 3 if inside else image
                assert torch.equal(found.inputs[image, :, y, x], given_batch.inputs[source, :, y, x])
                kept += not inside
    assert found.share == pytest.approx(kept / (3 * height * width))
    assert found.partners is not None and found.partners.tolist() == [2, 0, 1]


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 3.0), st.integers(0, 50))
def test_a_rectangle_lies_in_the_image(height: int, width: int, cutmix: float, number: int) -> None:
    top, bottom, left, right = mixing.rectangle(height, width, cutmix, 0, 1, number)
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width


def test_pasting_leaves_the_batch_it_came_from() -> None:
    given_batch = batch()
    before = given_batch.inputs.clone()
    shares = {mixing.pasted(given_batch, replace(PHASE, cutmix=1.0), 0, 1, number).share for number in range(5)}
    assert torch.equal(given_batch.inputs, before) and min(shares) < 1


def test_each_batch_draws_one_of_two_ways_by_its_place() -> None:
    both = replace(PHASE, mixup=0.4, cutmix=1.0)
    seen = []
    for number in range(30):
        found = mixing.mixed(batch(), both, 0, 1, number)
        alone = [way(batch(), both, 0, 1, number).inputs for way in (mixing.blended, mixing.pasted)]
        seen.append([torch.equal(found.inputs, inputs) for inputs in alone].index(True))
        assert torch.equal(found.inputs, mixing.mixed(batch(), both, 0, 1, number).inputs)
    assert 5 < sum(seen) < 25


def test_one_way_alone_and_none() -> None:
    given_batch = batch()
    assert mixing.mixed(given_batch, PHASE, 0, 1, 0) is given_batch
    for phase, way in ((replace(PHASE, mixup=0.4), mixing.blended), (replace(PHASE, cutmix=1.0), mixing.pasted)):
        for number in range(4):
            found = mixing.mixed(given_batch, phase, 0, 1, number)
            assert torch.equal(found.inputs, way(given_batch, phase, 0, 1, number).inputs)


@pytest.mark.parametrize("phase", [replace(PHASE, mixup=0.4), replace(PHASE, cutmix=1.0)])
def test_weights_go_with_their_images(phase: Phase) -> None:
    found = mixing.mixed(batch(weights=torch.tensor([1.0, 2.0, 3.0])), phase, 0, 1, 0)
    assert found.partner_weights is not None and found.partner_weights.tolist() == [3, 1, 2]
