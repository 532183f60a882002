"""Pictures of what a model says."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.core import Outputs
from headstart.errors import UsageError
from headstart.report import results
from headstart.report.results import Shown
from headstart.tasks.single_label import SingleLabel


def grey(height: int = 40, width: int = 50) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_what_is_shown_is_what_was_said():
    shown = [
        Shown("a/1.png", grey(), "cat", 0.93, "cat"),
        Shown("a/2.png", grey(), "cat", 0.6, "dog"),
        Shown("a/3.png", grey(), "dog", 0.999),
    ]
    cells = results.figure(shown, columns=2).axes
    assert [axes.get_title(loc="left") for axes in cells] == ["cat 93 %", "cat 60 %", "dog > 99 %"]
    assert [axes.get_xlabel() for axes in cells] == ["a/1.png", "truly dog\na/2.png", "a/3.png"]
    assert [axes.title.get_color() if axes.get_title() else axes._left_title.get_color() for axes in cells] == [
        results.RIGHT,
        results.WRONG,
        results.UNKNOWN,
    ]


@pytest.mark.parametrize(
    ("p", "words"), [(1.0, "> 99 %"), (0.9951, "> 99 %"), (0.99, "99 %"), (0.5, "50 %"), (0.004, "< 1 %"), (0.0, "< 1 %")]
)
def test_a_probability_never_claims_certainty(p: float, words: str):
    assert results.percent(p) == words


def test_worst_first_puts_unknown_losses_last():
    shown = [Shown(str(loss), grey(), "a", 0.5, "a", loss) for loss in (0.1, None, 3.0, 0.5)]
    assert [item.loss for item in results.worst_first(shown)] == [3.0, 0.5, 0.1, None]


def test_names_that_are_formulas_too_long_or_unprintable_are_drawn():
    hard = ["$x_{", "x" * 200, "new\nline\x1b[2J", "\udcff", "$$", "\\frac"]
    shown = [Shown(name, grey(), name, 0.5, "other") for name in hard]
    picture = results.picture(shown, columns=3, title="$a_{")
    assert picture.size[0] > 300
    assert Image.open(io.BytesIO(results.png(shown))).format == "PNG"


def test_nothing_to_show_is_a_lesson():
    with pytest.raises(UsageError, match="no results"):
        results.figure([])


class Store:
    def texts(self, indices: list[int]) -> list[str]:
        return []

    def stored(self, indices: list[int], modality: Any = None) -> np.ndarray:
        return np.stack([np.full((8, 8, 3), index, np.uint8) for index in indices])


def a_state() -> SimpleNamespace:
    """Five examples at places 10..14 of the store; the last two are wrong, the very last badly."""
    logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 2.0], [1.0, 0.0], [9.0, 0.0]])
    examples = SimpleNamespace(
        store=Store(), indices=np.arange(10, 15), targets=torch.tensor([0, 0, 1, 1, 1]), ids=tuple("abcde")
    )
    return SimpleNamespace(parts={"valid": examples}, task=SingleLabel(("cat", "dog")), outputs=lambda part: Outputs(logits))


def test_the_worst_of_a_part_come_with_their_pixels_truths_and_losses():
    worst = results.of_part(a_state(), "valid", 2, worst=True)
    assert [(item.id, item.predicted, item.truth, int(item.pixels[0, 0, 0])) for item in worst] == [
        ("e", "cat", "dog", 14),
        ("d", "cat", "dog", 13),
    ]
    assert worst[0].loss == pytest.approx(9.0001, abs=1e-3) and worst[0].probability == pytest.approx(0.99988, abs=1e-4)
    assert [item.right for item in worst] == [False, False]


def test_some_of_a_part_are_spread_over_it():
    assert [item.id for item in results.of_part(a_state(), "valid", 3)] == ["a", "c", "e"]
    assert [item.id for item in results.of_part(a_state(), "valid", 99)] == list("abcde")
