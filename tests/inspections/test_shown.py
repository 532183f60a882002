"""One picture looked into: hiding, what stands beside it, and that a map that knows nothing of the model is found out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from headstart.inspections import _shown, evidence, neighbours, occlusion
from headstart.inspections._plant import squares
from headstart.inspections._shown import PARTS, Shown
from headstart.learner import tracing
from headstart.tasks.single_label import SingleLabel

SANE = 0.3
"""The largest mean rank correlation between the maps of a model and of the same with new weights (Adebayo et al. 2018)."""


def shown(x: torch.Tensor, model: Any) -> Shown:
    pixels = (255 * x[0].clamp(0, 1)).to(torch.uint8).permute(1, 2, 0).numpy()
    return Shown("x.jpg", pixels, x, model, SingleLabel(("red", "green")))


def test_hiding_what_counts_costs_most_and_hiding_nothing_costs_nothing() -> None:
    model = squares(0).faulty.model
    x = torch.full((1, 3, 56, 56), 0.2)
    assert np.abs(shown(x, model).falls).max() < 1e-6
    x[0, 0, 24:32, 24:32] = 1.0
    falls = shown(x, model).falls
    row, column = divmod(int(falls.argmax()), PARTS)
    assert 2 <= row <= 4 and 2 <= column <= 4  # windows are three parts wide
    assert np.abs(falls[[0, 0, 6, 6], [0, 6, 0, 6]]).max() < 0.01 * falls.max()


def test_what_is_said_without_a_part_is_what_the_model_says_of_the_picture_without_it() -> None:
    """Place by place, by a picture that is changed by hand."""
    planted = squares(1).faulty
    one = planted.chosen[0]
    row, column = 3, 5
    by_hand, blurred = one.input.clone(), _shown.blur(one.input)
    rows, columns = (_shown.windows(side) for side in one.input.shape[2:])
    by_hand[:, :, rows[row], columns[column]] = blurred[:, :, rows[row], columns[column]]
    with torch.no_grad():
        wanted = one.model(by_hand)[0].double().numpy()
    np.testing.assert_allclose(one.without[row, column], wanted, atol=1e-6)
    whole = one.logits.double().numpy()
    fall = (whole[one.said] - whole.mean()) - (wanted[one.said] - wanted.mean())
    assert one.falls[row, column] == pytest.approx(fall, abs=1e-6)


def test_every_place_lies_in_some_window_and_its_middle_in_its_own() -> None:
    found = _shown.windows(224)
    assert found[0].start == 0 and found[-1].stop == 224 and len(found) == PARTS
    for number, window in enumerate(found):
        assert window.start <= (number + 0.5) * 32 < window.stop


def test_an_answer_that_turns_when_a_part_is_hidden_is_counted() -> None:
    planted = squares(0)
    found = occlusion.inspect(planted.faulty)
    turned = [item for item in found.items if item["then says"] != item["said"]]
    assert f"In {len(turned)} of 12 images" in found.headline
    assert all(
        item["falls by"] == 0.0 and item["places that change the answer"] == 0 for item in occlusion.inspect(planted.clean).items
    )


def test_the_nearest_are_those_of_the_cosine_counted_by_hand() -> None:
    draw = np.random.default_rng(0)
    known, asked = draw.normal(size=(30, 6)), draw.normal(size=(4, 6))
    found = neighbours.nearest(asked, known, 3)
    for row, one in zip(found, asked, strict=True):
        centred, middle = known - known.mean(0), one - known.mean(0)
        cosines = [float(middle @ each / np.linalg.norm(middle) / np.linalg.norm(each)) for each in centred]
        assert row.tolist() == sorted(range(30), key=lambda place: -cosines[place])[:3]


def test_an_example_that_trained_is_its_own_nearest() -> None:
    known = np.random.default_rng(1).normal(size=(20, 5))
    assert neighbours.nearest(known, known, 1)[:, 0].tolist() == list(range(20))


# ------------------------------------------------------------------------------------------------- maps that know nothing


def evidence_map(one: Shown) -> np.ndarray:
    place = evidence.where(one.model, torch.cat([one.input, one.input]))
    assert not isinstance(place, str)
    return evidence.Seen.of(one, place).places


def edges(one: Shown) -> np.ndarray:
    """A deliberately bad method, as guided backpropagation is one: it shows what is in the picture, whatever the model is."""
    grey = torch.from_numpy(one.pixels.astype(np.float32).mean(2))[None, None]
    rough = (grey - torch.nn.functional.avg_pool2d(grey, 5, 1, 2)).abs()
    return torch.nn.functional.adaptive_avg_pool2d(rough, evidence_map(one).shape)[0, 0].numpy()


@pytest.fixture(scope="module")
def pictures(train_shapes: Any) -> tuple[list[Shown], list[Shown]]:
    """The same pictures before a model that was trained, and before one of the same shape whose weights are drawn anew."""
    learn = train_shapes(1, keep="last")
    trace = tracing.traced(learn._session, lambda _: None, {"classes"})
    from copy import deepcopy

    other = deepcopy(learn.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            spread = float(parameter.std().nan_to_num(0.0)) or 0.1
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return list(trace.chosen), [Shown(one.id, one.pixels, one.input, other, one.task) for one in trace.chosen]


def alike(method: Callable[[Shown], np.ndarray], pictures: tuple[list[Shown], list[Shown]]) -> float:
    """Mean rank correlation between the maps of the two models."""
    pairs = [(method(one).ravel(), method(two).ravel()) for one, two in zip(*pictures, strict=True)]
    return float(np.mean([np.corrcoef(stats.rankdata(one), stats.rankdata(two))[0, 1] for one, two in pairs]))


@pytest.mark.slow
def test_evidence_of_a_model_with_new_weights_is_other_evidence(pictures: tuple[list[Shown], list[Shown]]) -> None:
    assert abs(alike(evidence_map, pictures)) < SANE


def test_what_hiding_does_to_a_model_with_new_weights_is_another_thing(pictures: tuple[list[Shown], list[Shown]]) -> None:
    assert abs(alike(lambda one: one.falls, pictures)) < SANE


def test_a_method_that_shows_the_picture_and_not_the_model_fails_this_test(pictures: tuple[list[Shown], list[Shown]]) -> None:
    assert alike(edges, pictures) > 0.99
