"""What a plan says beforehand: its arithmetic, that it touches nothing, and that its rows are those that come."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import headstart as hs
from headstart.cli.main import main
from headstart.core import StepDone
from headstart.engine.threads import Timing
from headstart.errors import BadSetting, DataError
from headstart.store import cache
from headstart.train import beside, budget, phases
from headstart.train.budget import layers_in_words, plan_in_words
from headstart.train.forecast import Facts, Forecast, Line, Prices, epochs_that_fit, lay_out, number_of
from headstart.train.observers.pace import Pace
from watched import Notes

FACTS = Facts(
    "photos", "small", "224 pixels", 800, "images", "all layers train", next_row=0, first_epoch=1, notes=("What is known.",)
)
PRICES = Prices(before=(Line("reading", 4.0), Line("head", 2.0)), probing=3.0, epoch=20.0, row=2.0, end=9.0, head_alone_end=1.5)


def forecast(epochs: int | None = None, minutes: float | None = None, prices: Prices = PRICES, facts: Facts = FACTS) -> Forecast:
    return lay_out(prices, facts, epochs, minutes, lambda seconds: f"start + {seconds:.1f}")


# --------------------------------------------------------------------------------------------------------- arithmetic


def slowly(seconds: float, epoch: float, row: float, tick: float) -> float:
    """How far one gets in ticks of time: steps, then a row after each whole epoch where there is time left for it."""
    done = 0.0
    while seconds >= tick:
        if done and done == int(done):
            seconds -= row
            if seconds < tick:
                break
        share = min(tick / epoch, int(done) + 1 - done)
        done += share
        done = round(done) if abs(done - round(done)) < 1e-9 else done
        seconds -= share * epoch
    return done


@settings(max_examples=30)
@given(st.integers(0, 300), st.integers(5, 50), st.integers(0, 10))
def test_epochs_that_fit_are_those_that_a_slow_twin_trains(seconds: int, epoch: int, row: int):
    assert epochs_that_fit(seconds / 10, epoch / 10, row / 10) == pytest.approx(
        slowly(seconds / 10, epoch / 10, row / 10, 0.1), abs=2 * 0.1 / (epoch / 10)
    )


@given(st.floats(-100, 1e4), st.floats(0.01, 100), st.floats(0, 10))
def test_what_fits_fits(seconds: float, epoch: float, row: float):
    count = epochs_that_fit(seconds, epoch, row)
    whole = -(-count // 1)
    assert count >= 0
    assert count == 0 or count * epoch + (whole - 1) * row <= seconds * (1 + 1e-9)
    more = int(count) + 1
    assert more * epoch + (more - 1) * row >= min(seconds, seconds * (1 - 1e-9)) or count == more


def test_epochs_are_added_up():
    found = forecast(epochs=3)
    assert found.seconds == 4 + 2 + 3 + 3 * 20 + 2 * 2 + 9 == sum(line.seconds for line in found.lines)
    assert found.rows == (0, 1, 2, 3) and found.epochs == 3 and found.ends_at == "start + 82.0"
    assert forecast(epochs=1).rows == (0, 1) and not [line for line in forecast(epochs=1).lines if "rows after" in line.what]


def test_minutes_are_filled_to_the_last_second():
    found = forecast(minutes=1.5)  # 90 s: 6 before, 3 probing, 9 at the end; 72 are left: 3 epochs and their rows, and 0.3
    assert found.epochs == pytest.approx(3 + (72 - 3 * 22) / 20)
    assert sum(line.seconds for line in found.lines) == pytest.approx(90.0) == found.seconds
    assert found.rows == (0, 1, 2, 3, 4) and found.ends_at == "start + 90.0"


def test_epochs_trained_again_cost_time_and_give_no_rows():
    prices = Prices((), 3.0, 20.0, 2.0, 9.0, again=0.5)
    facts = Facts("photos", "small", "224 pixels", 800, "images", "all layers train", next_row=4, first_epoch=4)
    assert forecast(epochs=2, prices=prices, facts=facts).seconds == 3 + 10 + 40 + 2 + 9
    assert forecast(epochs=2, prices=prices, facts=facts).rows == (4, 5)
    assert forecast(minutes=1.0, prices=prices, facts=facts).epochs == pytest.approx(1 + (60 - 3 - 10 - 9 - 22) / 20)


def test_the_head_alone_and_a_budget_that_is_too_small():
    assert forecast(epochs=0).rows == (0,) and forecast(epochs=0).seconds == 4 + 2 + 1.5
    assert "What is known." not in repr(forecast(epochs=0)), "of step 2 nothing need be said where there is none"
    little = forecast(minutes=0.2)  # 12 s: the head fits, the rest does not
    assert little.rows == (0,) and little.epochs == 0
    assert little.facts.notes == ("In 0.2 minutes there is time for the head alone, not for further layers.",)
    assert "even the head alone takes about 7.5 s here" in repr(forecast(minutes=0.1))


def test_it_reads_well():
    assert repr(forecast(minutes=1.5)).splitlines() == [
        "1.5 minutes on photos (800 images to train on) with small at 224 pixels:",
        "  reading                    4.0 s",
        "  head                       2.0 s",
        "  choosing the precision     3.0 s",
        "  3.3 epochs of training      1:06  20.0 s each",
        "  rows after 3 of them       6.0 s  2.0 s each: evaluation, saving",
        "  the end                    9.0 s  evaluation, head and saving, with some reserve",
        "  in all                      1:30  done at about start + 90.0 if it began now",
        "Rows 0 to 4; 3.3 epochs in which all layers train.",
        "What is known.",
    ]
    assert (number_of(1.0), number_of(2.0), number_of(0.84)) == ("1 epoch", "2 epochs", "0.8 epochs")
    assert json.loads(json.dumps(forecast(epochs=3).json()))["rows"] == [0, 1, 2, 3]


# ---------------------------------------------------------------------------------------------------------- for real


def learner(shapes: Path, **settings: Any) -> hs.Learner:
    return hs.Learner(shapes, backbone="tiny", observer=Notes(), **{"batch_size": 8, "keep": "last", **settings})


def files() -> list[str]:
    return sorted(str(path) for place in (Path.cwd(), cache.root()) for path in place.rglob("*"))


@pytest.fixture(scope="module")
def shapes(make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(8)


@pytest.mark.slow
def test_planning_writes_nothing_trains_nothing_and_changes_nothing(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    stepped: list[Any] = []
    original = budget.step

    def counting(model: Any, *arguments: Any) -> Any:
        stepped.append(model)
        return original(model, *arguments)

    monkeypatch.setattr(budget, "step", counting)
    learn, before = learner(shapes), files()
    weights = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in learn.model.parameters()]
    cold = learn.plan(2)
    assert learn.plan(minutes=10.0).epochs > 2
    assert files() == before and learn.history == [] and learn.settings.epochs is None
    assert len(stepped) == 4 and all(model is not learn.model for model in stepped)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in learn.model.state_dict().items())
    assert [parameter.requires_grad for parameter in learn.model.parameters()] == trainable
    assert cold.rows == (0, 1, 2) and cold.facts.row_0 is None and cold.facts.images == 13
    with pytest.raises(BadSetting, match="no run folder yet"):
        _ = learn.run

    straight = learner(shapes).fine_tune(2)
    learn.fine_tune(2)
    assert tuple(row["epoch"] for row in learn.history) == cold.rows
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, learn.model.state_dict()[name]), "the training is the one it would have been"

    before, weights = files(), {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    further, state = learn.plan(2), learn._session.ready().state
    assert further.rows == (3, 4) and any("again" in line.what for line in further.lines)
    assert files() == before and len(state.rows) == 3
    assert all(torch.equal(tensor, weights[name]) for name, tensor in learn.model.state_dict().items())
    warm = learner(shapes).plan(1)
    assert files() == before
    assert warm.facts.row_0 is not None and warm.facts.row_0["valid_loss"] == learn.history[0]["valid_loss"]
    assert "Known already: epoch 0" in repr(warm)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "rows"),
    [({"head": "train", "freeze_epochs": 2}, (0, 1, 2, 3)), ({"method": "fit"}, (1, 2))],
)
def test_rows_that_are_planned_are_the_rows_that_come(shapes: Path, chosen: dict[str, Any], rows: tuple[int, ...]):
    learn = learner(shapes, **chosen)
    planned = learn.plan(2)
    (learn.fit if "method" in chosen else learn.fine_tune)(2)
    assert planned.rows == tuple(row["epoch"] for row in learn.history) == rows


def test_a_plan_needs_one_of_epochs_and_minutes_and_some_image(shapes: Path, tmp_path: Path):
    for asked, words in (
        ({}, "say for how long: plan"),
        ({"epochs": 1, "minutes": 1.0}, "were both given"),
        ({"epochs": -1}, "at least 0"),
    ):
        with pytest.raises(BadSetting, match=words):
            learner(shapes).plan(**asked)
    for kind in "ab":
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 2 images"):
        learner(tmp_path).plan(1)


@pytest.mark.slow
def test_the_command_line_prints_it_and_trains_nothing(shapes: Path, capsys: pytest.CaptureFixture):
    arguments = ["train", str(shapes), "--backbone", "tiny", "--epochs", "2", "--plan"]
    assert main(arguments) == 0
    assert "Rows 0 to 2; 2 epochs in which all layers train." in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["rows"] == [0, 1, 2] and told["lines"][0]["what"] == "until now"
    assert not Path("runs").exists()


# ------------------------------------------------------------------------------------------- the plan a training prints


def test_a_training_prints_its_plan(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "time_of_day", lambda seconds: f"start + {seconds:.0f}")
    monkeypatch.setattr(budget, "seconds_at_the_end", lambda state, phase: 7.0)
    state = learner(shapes)._session.ready().state  # two steps an epoch
    phase = phases.base_phase(state, "all", 3)
    by_clock = plan_in_words(state, phase, 10.0, StepDone(1, 4, 30, None, 1e-3, 0.1, left=50.0))
    assert by_clock == (
        "The plan: all layers train at 32 pixels; an epoch takes about 20.0 s, and 2.5 fit into the time; done at about start + 57."
    )
    by_epochs = plan_in_words(state, phase, 10.0, StepDone(1, 3, 6, None, 1e-3))
    rows = 30.0 * len(state.parts["valid"]) / 3 / len(state.parts["train"])  # a forward is about a third of a step
    assert by_epochs.endswith(f"an epoch takes about 20.0 s, and 1.5 are to come; done at about start + {30 + rows:.0f}.")
    assert layers_in_words([("a", 0)] * 9, 8) == "the head trains"
    assert layers_in_words([("a", 0)] * 9, 6) == "the last 3 of 9 stages train"


def test_threads_are_set_to_what_is_fastest_and_the_forward_is_noted_as_it_was_with_them(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
):
    state, before = learner(shapes)._session.ready().state, torch.get_num_threads()
    images = len(state.parts["valid"])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    try:
        monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(1, 0.5 * images, 1.0))
        count, words = beside.fit_threads(state)
        assert (count, torch.get_num_threads(), state.spent["a forward"]) == (1, 1, 0.5)
        assert words is not None and "1 of 2 threads are used" in words
        monkeypatch.setattr("headstart.engine.threads.fastest", lambda _work: Timing(2, 0.3 * images, 2.0))
        assert beside.fit_threads(state) == (2, None)
        assert torch.get_num_threads() == 2
        state.forward_took(0.5, 1.0)  # as it was with one thread
        for seconds, then in ((0.49, 1), (0.4, 2)):
            torch.set_num_threads(1)
            monkeypatch.setattr(
                "headstart.engine.threads.timed", lambda _work, runs=3, took=seconds * images: Timing(2, took, 2.0)
            )
            assert beside.try_all_threads(state, 1)[0] == torch.get_num_threads() == then
        assert state.spent["a forward"] == pytest.approx(0.4)
    finally:
        torch.set_num_threads(before)


def test_what_probing_will_take_counts_before_it_and_not_after(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    """The end takes 5 s, a step of eight images 8 * 3 * .1: three and eight of them 26.4 s, three alone 7.2."""
    monkeypatch.setattr(budget, "seconds_at_the_end", lambda state, phase: 5.0)
    state = learner(shapes)._session.ready().state
    state.forward_took(0.1, 0.0)
    phase = replace(phases.base_phase(state, "all", None), batch_size=8)
    for left, to_come, short in ((31.3, 8, True), (31.5, 8, False), (12.1, 0, True), (12.3, 0, False)):
        clock = budget.Clock(0.0, time.perf_counter() + left - 60.0, 60.0)
        assert (budget.too_short(state, phase, clock, to_come) is not None) == short


def test_a_machine_that_got_busy_shows_in_its_steps(shapes: Path):
    state = learner(shapes)._session.ready().state
    assert not beside.got_slower(state, 100.0), "nothing is known yet"
    state.forward_took(0.01, 2.0)
    assert not beside.got_slower(state, 2.7)
    assert beside.got_slower(state, 2.9)


def test_the_bar_of_a_stage_that_the_clock_ends_follows_the_clock():
    pace = Pace(lambda: 0.0)
    for step, steps, progress, left in ((1, 40, 0.1, 90.0), (2, 31, 0.2, 80.0), (3, 35, 0.3, 70.0)):
        assert pace.follow(StepDone(1, step, steps, None, 0.0, progress, left)) == (step == 1), (
            "an estimate that changes is no new stage"
        )
        assert (pace.left(), pace.share, pace.count()) == (left, progress, f"step {step}")
    assert pace.follow(StepDone(1, 1, 10, None, 0.0))
    assert (pace.left(), pace.share, pace.count("/")) == (None, 0.1, "1/10")
