"""What the head sees where nobody says: the layers that tell the labels, decided once, the same for every later process."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.backbones._all_layers import AllLayers
from headstart.core import Note, RowDone, StepDone
from headstart.errors import BadSetting, Stopped
from headstart.train import seeing, solved
from headstart.train.features import Features
from headstart.train.state import TrainState
from watched import Notes

Learn = Callable[..., Any]


def opened(data: Any, **settings: Any) -> Any:
    return hs.Learner(data, backbone="tiny", batch_size=8, observer=Notes(), run="run", **settings)


def decided(state: TrainState, told_by: str, seed: int = 0) -> tuple[Any, Features, Any, str]:
    """What is decided where the labels stand in the features of the last layer, or in those beside it."""
    classes = np.zeros(len(state.parts["train"].store), int)
    for part in state.parts.values():
        classes[part.indices] = part.targets
    width, last = state.model.backbone.spec.width, state.model.backbone.bare.spec.width
    rows = np.random.default_rng(seed).standard_normal((len(classes), width)).astype(np.float32)
    for place in {"last": range(4), "beside": range(last, last + 4)}[told_by]:
        rows[:, place] += 3.0 * classes
    features = Features(rows, 0, "drawn")
    first = solved._solve(state, features)
    return first, *seeing.by_evidence(state, features, first, solved._solve_guide(state, features), 0.0)


@pytest.mark.parametrize("told_by", ["last", "beside"])
@pytest.mark.parametrize("seed", range(3))
def test_what_tells_the_labels_is_seen(shapes: Path, told_by: str, seed: int) -> None:
    learn = opened(hs.image_folder(shapes), features="auto")
    state = learn._session.ready().state
    wide, last = state.model.backbone, state.model.backbone.bare
    first, features, found, words = decided(state, told_by, seed)
    if told_by == "beside":
        assert state.model.backbone is wide and found is first and state.settings.features == "layers"
        assert words.startswith("The head sees all layers: by the evidence ")
    else:
        assert state.model.backbone is last and state.settings.features == "last"
        assert features.rows.shape[1] == last.spec.width == found.weight.shape[1] == state.model.head.in_features
        assert found.log_evidence >= first.log_evidence and words.startswith("The head sees the last layer: by the evidence ")
    # the head that the model has is the one that was solved
    np.testing.assert_allclose(state.model.head.weight.detach().numpy(), found.weight, atol=1e-6)


def test_it_is_the_training_with_the_word_that_has_more_evidence(train_shapes: Learn, shapes: Path) -> None:
    told = {word: train_shapes(1, features=word, keep="last") for word in ("last", "layers")}
    learn = train_shapes(1, features="auto", keep="last")
    chosen = told[learn.settings.features]
    for one, other in zip(learn.history, chosen.history, strict=True):
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-6)
    wanted = chosen.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in learn.model.state_dict().items())
    words = next(note for note in learn._observer.notes if note.startswith("The head sees"))
    assert ("all layers: by" in words) == (learn.settings.features == "layers")


@pytest.mark.parametrize("prefers", ["last", "layers"])
def test_it_is_on_disk_before_anything_hangs_on_it(shapes: Path, prefers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer(monkeypatch, prefers)
    plans, made = [], Path("run/history.jsonl").is_file

    class Watcher(Notes):
        def show(self, event: Any) -> None:
            if isinstance(event, Note) and event.text.startswith("The head sees"):
                plans.append((json.loads(Path("run/plan.json").read_text())["settings"]["features"], made()))
            super().show(event)

    hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Watcher(), run="run", features="auto").fine_tune(0)
    assert plans == [(prefers, False)]


def prefer(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """The evidence speaks for this, whatever the images."""
    real = seeing.by_evidence

    def biased(state: TrainState, features: Features, first: Any, alone: Any, seconds: float) -> Any:
        assert alone.weight.shape[1] < first.weight.shape[1] == features.rows.shape[1]
        object.__setattr__(alone, "log_evidence", np.inf if word == "last" else -np.inf)
        return real(state, features, first, alone, seconds)

    monkeypatch.setattr(seeing, "by_evidence", biased)


@pytest.mark.parametrize("prefers", ["last", "layers"])
def test_a_killed_training_goes_on_with_what_was_decided(
    shapes: Path, prefers: str, monkeypatch: pytest.MonkeyPatch, plain_training: None
) -> None:
    prefer(monkeypatch, prefers)
    data = hs.image_folder(shapes)

    class Killed(BaseException): ...

    class Killer(Notes):
        steps = 0

        def show(self, event: Any) -> None:
            self.steps += isinstance(event, StepDone)
            if self.steps == 3:
                raise Killed

    learn = hs.Learner(
        data, backbone="tiny", batch_size=8, observer=Killer(), run="run", features="auto", checkpoint_seconds=0.0, keep="last"
    )
    with pytest.raises(Killed):
        learn.fine_tune(2)
    again = hs.resume("run", observer=Notes())
    whole = hs.Learner(
        data, backbone="tiny", batch_size=8, observer=Notes(), run="whole", features=prefers, keep="last"
    ).fine_tune(2)
    assert again.settings.features == prefers and isinstance(again.model.backbone, AllLayers) == (prefers == "layers")
    wanted = whole.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.model.state_dict().items())


def test_later_verbs_keep_it_and_a_restart_asks_again(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, plain_training: None
) -> None:
    learn = opened(hs.image_folder(shapes), features="auto")
    with monkeypatch.context() as patch:
        prefer(patch, "last")
        learn.fine_tune(0)
    assert learn.settings.features == "last"
    assert len(learn.fine_tune(1, features="auto").history) == 2 and learn.settings.features == "last"
    assert len(learn.more(1).history) == 3 and not isinstance(learn.model.backbone, AllLayers)
    prefer(monkeypatch, "layers")
    learn.fine_tune(0, restart=True)
    assert learn.settings.features == "layers" and isinstance(learn.model.backbone, AllLayers)


@pytest.mark.parametrize("verb", ["fit", "fine_tune"])
def test_a_head_that_is_not_solved_sees_the_last_layer(shapes: Path, verb: str, plain_training: None) -> None:
    learn = opened(hs.image_folder(shapes), features="auto", head="train" if verb == "fine_tune" else "solve")
    getattr(learn, verb)(1)
    assert learn.settings.features == "last" and not isinstance(learn.model.backbone, AllLayers)
    assert not any(note.startswith("The head sees") for note in learn._observer.notes)
    assert hs.load(learn.run.path).settings.features == "last"


def test_what_a_refused_verb_decided_is_asked_again(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = opened(hs.image_folder(shapes), features="auto", norms="adapt")
    with pytest.raises(BadSetting, match="batch_size=1"):
        learn.fit(1, batch_size=1)
    prefer(monkeypatch, "layers")
    learn.fine_tune(0, batch_size=8)
    assert learn.settings.features == "layers" and isinstance(learn.model.backbone, AllLayers)


def interrupted_at(kind: type, words: str = "") -> Any:
    """An observer that presses Ctrl-C at the first event of that kind, of a note that says this."""

    class Presses(Notes):
        pressed = False

        def show(self, event: Any) -> None:
            super().show(event)
            if not self.pressed and isinstance(event, kind) and words in getattr(event, "text", words):
                self.pressed = True
                signal.raise_signal(signal.SIGINT)

    return Presses()


@pytest.mark.parametrize("prefers", ["last", "layers"])
def test_a_stop_at_row_0_takes_up_what_was_decided(
    shapes: Path, prefers: str, monkeypatch: pytest.MonkeyPatch, plain_training: None
) -> None:
    prefer(monkeypatch, prefers)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=interrupted_at(RowDone), run="run")
    learn.fine_tune(1)
    assert learn.stopped and learn.settings.features == prefers
    learn.fit(1)
    assert isinstance(learn.model.backbone, AllLayers) == (prefers == "layers") and len(learn.history) == 2
    assert hs.load("run").settings.features == prefers == json.loads(Path("run/plan.json").read_text())["settings"]["features"]


@pytest.mark.parametrize("prefers", ["last", "layers"])
def test_a_stop_between_the_decision_and_row_0_is_run_again(shapes: Path, prefers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer(monkeypatch, prefers)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=interrupted_at(Note, "The head sees"), run="run")
    with pytest.raises(Stopped, match="Run the same again"):
        learn.fine_tune(0)
    assert len(learn.fine_tune(0).history) == 1 and learn.settings.features == prefers


def test_a_head_in_training_that_is_stopped_is_resumed_by_the_same_learner(shapes: Path, plain_training: None) -> None:
    data = hs.image_folder(shapes)
    learn = hs.Learner(data, backbone="tiny", batch_size=8, observer=interrupted_at(StepDone), run="run", head="train")
    with pytest.raises(Stopped):
        learn.fine_tune(1)
    learn.resume()
    assert learn.settings.features == "last" == hs.load("run").settings.features and len(learn.history) == 2


@pytest.mark.parametrize("prefers", ["last", "layers"])
def test_other_images_start_from_what_was_decided(
    make_shapes: Any, shapes: Path, prefers: str, monkeypatch: pytest.MonkeyPatch, plain_training: None
) -> None:
    prefer(monkeypatch, prefers)
    learn = opened(hs.image_folder(shapes)).fine_tune(0)
    learn.more(1, data=make_shapes(12, ("disc", "square", "stripe")))
    assert learn.settings.features == prefers and isinstance(learn.model.backbone, AllLayers) == (prefers == "layers")


def test_a_word_that_is_given_is_kept(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer(monkeypatch, "last")
    learn = opened(hs.image_folder(shapes)).fine_tune(0)
    for changes in ({"features": "layers"}, {}):
        learn.fine_tune(0, restart=True, **changes)
        assert learn.settings.features == "layers"


def test_what_was_computed_for_all_layers_is_let_go(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer(monkeypatch, "last")
    rows = opened(hs.image_folder(shapes)).fine_tune(0)._session.ready().features.rows
    assert rows.shape[1] == 32 and rows.base is None


def test_before_a_training_the_model_is_the_one_that_will_be(shapes: Path) -> None:
    learn = opened(hs.image_folder(shapes), head="train")
    assert not isinstance(learn.model.backbone, AllLayers)
    assert isinstance(opened(hs.image_folder(shapes)).model.backbone, AllLayers)
    learn.fine_tune(0, head="solve")
    assert learn.history[0]["epoch"] == 0 and any("The head sees" in note for note in learn._observer.notes)


def test_nothing_is_said_where_there_is_nothing_to_choose_between() -> None:
    rows = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    learn = hs.Learner(hs.from_arrays(rows, (rows[:, 0] > 0).astype(int)), observer=Notes(), run="run", features="auto")
    learn.fine_tune(0)
    assert learn.settings.features == "last" and not any("The head sees" in note for note in learn._observer.notes)


def test_a_network_without_maps_has_its_last_layer_alone(shapes: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    learn = hs.Learner(hs.image_folder(shapes), backbone=flat, size=32, observer=Notes(), run="run", features="auto").fine_tune(0)
    assert learn.settings.features == "last"


def test_features_of_all_layers_that_would_not_fit_are_not_tried(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = opened(hs.image_folder(shapes), features="auto")
    monkeypatch.setattr("headstart.train.features.HELD_BYTES", 4 * 32 * 32)  # of 32 images with 32 numbers each
    assert learn.fine_tune(0).history[0]["epoch"] == 0
    assert any("solved to convergence" in note for note in learn._observer.notes)
    assert learn.settings.features == "last" and not isinstance(learn.model.backbone, AllLayers)


def test_a_run_of_before_the_setting_saw_the_last_layer(trained: Any, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(trained.run.path, tmp_path / "old"))
    plan = json.loads((folder / "plan.json").read_text())
    del plan["settings"]["features"]
    (folder / "plan.json").write_text(json.dumps(plan))
    config = json.loads((folder / "bundle/config.json").read_text())
    del config["headstart"]["settings"]["features"]
    (folder / "bundle/config.json").write_text(json.dumps(config))
    assert hs.load(folder).settings.features == "last" == hs.load(folder / "bundle").settings.features
