"""What training put right and wrong: counted by hand, kept with the run, and the same however the run is come by."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart import model as models
from headstart.core import Bars
from headstart.inspections import dynamics
from headstart.inspections._plant import logits, trace
from headstart.inspections._trace import Trace
from headstart.train import judged
from headstart.train.course import weights_of
from headstart.train.judged import Judged


@pytest.fixture(scope="module")
def tuned(train_shapes: Any) -> Any:
    """A learner that has trained all its layers."""
    return train_shapes(2, keep="last")


def of_rows(
    answers: list[list[int]], truth: list[int], losses: list[list[float]] | None = None, kept: int | None = None
) -> Trace:
    """A trace of rows that gave these answers to examples of three classes, all for validation."""
    count = len(truth)
    losses = [[0.5] * count] * len(answers) if losses is None else losses
    rows = [
        Judged(epoch, np.array(loss, float), np.array(said))
        for epoch, (said, loss) in enumerate(zip(answers, losses, strict=True))
    ]
    classes = np.array(truth)
    every = np.ones(count, bool)
    return trace(logits(classes, 3, 0), classes, every, by_row=rows, kept=len(answers) - 1 if kept is None else kept)


def test_answers_are_counted_as_one_would_by_hand() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 60).tolist()
    answers = draw.integers(0, 3, (4, 60)).tolist()
    found = dynamics.inspect(of_rows(answers, truth))
    right = [[said == true for said, true in zip(row, truth, strict=True)] for row in answers]
    put_right = sum(not first and last for first, last in zip(right[0], right[3], strict=True))
    put_wrong = sum(first and not last for first, last in zip(right[0], right[3], strict=True))
    never = sum(not any(column) for column in zip(*right, strict=True))
    assert (
        f"{put_right} of 60 validation examples were put right and {put_wrong} put wrong; {never} were right in no row."
        in found.headline
    )
    assert found.numbers["right, row 0"].value == pytest.approx(sum(right[0]) / 60)
    assert found.numbers["put wrong"].value == pytest.approx(put_wrong / 60)
    (bars,) = found.bars
    for (_, amounts), row in zip(bars.lines, right, strict=True):
        first = right[0]
        assert list(amounts) == [
            sum(a and b for a, b in zip(first, row, strict=True)),
            sum(b and not a for a, b in zip(first, row, strict=True)),
            sum(not a and not b for a, b in zip(first, row, strict=True)),
            sum(a and not b for a, b in zip(first, row, strict=True)),
        ]
    assert bars.longest == 60


@pytest.mark.parametrize(("wrong", "right", "lost"), [(8, 0, False), (9, 0, True), (9, 9, False), (14, 1, True)])
def test_a_class_has_lost_where_the_sign_test_says_so(wrong: int, right: int, lost: bool) -> None:
    """Nine of nine: one in 512, below a hundredth over three classes; eight of eight: one in 256, above."""
    truth = [0] * 20 + [1] * 20
    first = [1] * right + [0] * (20 - right) + [1] * 20
    last = [0] * right + [1] * wrong + [0] * (20 - wrong - right) + [1] * 20
    found = dynamics.inspect(of_rows([first, last], truth))
    assert ("class 0 lost by it" in found.headline) is lost
    assert found.verdict == ("look" if lost else "good")
    assert ("class 0" in found.advice) is lost


def test_the_worst_that_was_put_wrong_comes_first_and_every_group_is_there() -> None:
    losses = [[0.1, 0.1, 2.0, 2.0], [3.0, 5.0, 0.1, 2.5]]
    found = dynamics.inspect(of_rows([[0, 0, 1, 1], [1, 1, 0, 1]], [0, 0, 0, 0], losses))
    assert [(item["id"], item["what"]) for item in found.items] == [
        ("1.jpg", "put wrong"),
        ("0.jpg", "put wrong"),
        ("2.jpg", "put right"),
        ("3.jpg", "right in no row"),
    ]
    assert found.items[0] | {"loss, row 0": 0.1, "loss, row 1": 5.0} == found.items[0]
    assert (found.items[0]["labelled"], found.items[0]["row 0"], found.items[0]["row 1"]) == ("class 0", "class 0", "class 1")


def test_a_single_row_is_compared_with_nothing() -> None:
    found = dynamics.inspect(of_rows([[0, 1, 1]], [0, 1, 2]))
    assert "single row" in found.headline and "right about 2 of 3" in found.headline
    assert found.verdict == "good" and not found.items and not found.bars


def test_where_the_first_row_is_kept_the_last_is_compared_and_no_class_has_lost() -> None:
    found = dynamics.inspect(of_rows([[0] * 20, [1] * 20], [0] * 20, kept=0))
    assert "which is not kept (row 0 is)" in found.headline and "0 of 20" in found.headline and "20 put wrong" in found.headline
    assert found.verdict == "good"


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_learning_by_heart_is_told_where_the_loss_rose_beyond_chance(rise: float) -> None:
    draw = np.random.default_rng(0)
    flat = draw.random(50)
    last = flat + rise * (0.5 + 0.1 * draw.standard_normal(50)) + (1 - rise) * draw.standard_normal(50) * 0.1
    found = dynamics.inspect(of_rows([[0] * 50] * 3, [0] * 50, [(flat + 0.2).tolist(), flat.tolist(), last.tolist()], kept=1))
    assert ("learned by heart" in found.headline) is bool(rise)


def test_without_classes_losses_tell() -> None:
    truth = np.zeros(5, np.int64)
    rows = [Judged(0, np.array([1.0, 1, 1, 1, 1])), Judged(1, np.array([0.5, 2, 0.5, 1, 0.5]))]
    found = dynamics.inspect(trace(logits(truth, 2, 0), truth, np.ones(5, bool), classes=None, by_row=rows, kept=1))
    assert "the loss fell for 3 of 5" in found.headline
    assert (found.items[0]["id"], found.items[0]["what"]) == ("1.jpg", "fits worse than before training")
    assert [name for name, _ in found.bars[0].lines] == ["row 1"] and list(found.bars[0].lines[0][1]) == [3, 2]


def test_a_stage_that_grew_by_a_tenth_has_moved_by_a_tenth() -> None:
    model = models.build(models.build_backbone("tiny"), 2)
    before = weights_of(model)
    name, stage = model.backbone.stages()[1]
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.mul_(1.1)
    moved = judged.moved(model, before, weights_of(model))
    assert moved.pop(name) == pytest.approx(0.1, rel=1e-5)
    assert moved and set(moved.values()) == {0.0} and "head" in moved


def test_movements_of_many_rows_are_joined_and_none_is_lost() -> None:
    whole = of_rows([[0, 1]] * 21, [0, 1])
    assert whole.by_row is not None
    rows = [replace(row, moved={"1": 0.5, "head": 0.25} if row.epoch else None) for row in whole.by_row]
    bars = dynamics.inspect(replace(whole, by_row=rows)).bars[1]
    assert [name for name, _ in bars.lines] == ["1"] and len(bars.parts) == dynamics.STEPS  # how far a head jumps says nothing
    assert [sum(amounts) for _, amounts in bars.lines] == pytest.approx([10.0])
    assert bars.parts[0][0] == "row 1 to 4"


def test_lines_of_other_examples_and_of_rows_that_are_gone_are_passed_over() -> None:
    def line(epoch: int, loss: float, ids: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
        return Judged(epoch, np.array([loss, loss]), np.array([0, 1]), {"1": 0.5}).line(ids)

    lines = [line(0, 0.1), line(1, 0.2), line(2, 0.3), line(1, 0.4), line(0, 9.0, ("a", "c"))]
    found = judged.of_lines(lines, ("a", "b"), [{"epoch": 0}, {"epoch": 1}, {"epoch": 5}])
    assert [(each.epoch, each.losses[0]) for each in found] == [(0, 0.1), (1, 0.4)]
    assert found[0].answers is not None and found[0].answers.tolist() == [0, 1] and found[0].moved == {"1": 0.5}


def test_a_run_keeps_what_each_row_said_and_a_new_process_tells_the_same(tuned: Any) -> None:
    state = tuned._session.ready().state
    assert [each.epoch for each in state.judged] == [row["epoch"] for row in tuned.history] == [0, 1, 2]
    for each, row in zip(state.judged, tuned.history, strict=True):
        assert each.losses.mean() == pytest.approx(row["valid_loss"])
        assert (each.answers != state.task.groups(state.parts["valid"].targets)).mean() == pytest.approx(row["error_rate"])
    said = state.outputs("valid").mean
    assert state.judged[-1].answers is not None
    assert state.judged[-1].answers.tolist() == said.argmax(1).tolist()
    assert state.judged[0].moved is None and min(state.judged[1].moved.values()) > 0
    here, there = tuned.inspect("dynamics")["dynamics"], hs.load(tuned.run.path).inspect("dynamics")["dynamics"]
    assert here.json() == there.json() and len(here.bars) == 2


@pytest.mark.slow
def test_without_the_file_it_says_what_to_do(tuned: Any) -> None:
    file = tuned.run.path / "judged.jsonl"
    whole = file.read_bytes()
    try:
        for left in (None, b"{}\n{}\n", b"nonsense\n{}\n"):
            file.unlink() if left is None else file.write_bytes(left)
            found = hs.load(tuned.run.path).inspect("dynamics")["dynamics"]
            assert found.verdict == "unknown" and "headstart more RUN" in found.headline
    finally:
        file.write_bytes(whole)


def test_bars_stand_on_the_page_with_their_amounts_for_those_who_cannot_see_them(tuned: Any) -> None:
    report = tuned.inspect("dynamics")
    bars: Bars = report["dynamics"].bars[0]
    page = report.html()
    assert page.count('class="bar"') == sum(len(each.lines) for each in report["dynamics"].bars)
    amounts = bars.lines[-1][1]
    assert 'aria-label="' + ", ".join(f"{name}: {amount}" for (name, _), amount in zip(bars.parts, amounts, strict=True)) in page
    assert report["dynamics"].json()["bars"][0]["lines"][-1] == {"name": "row 2", "amounts": list(amounts)}
