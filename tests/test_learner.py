"""The main job end to end on the tiny backbone: the promises, the counters, the course of the verbs."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import headstart as hs
from headstart.core import Note, Row, RowDone, StepDone
from headstart.data import batches
from headstart.data.stores.pixels import PixelStore
from headstart.engine.frozen import FrozenForward, torch_features
from headstart.errors import BadSetting, DataError, HeadstartError, NotARun, Stopped, UnknownName
from headstart.store.runs import Run
from headstart.train import features

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")


class Recorder:
    """An observer that keeps what it is shown."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed = 0

    def show(self, event: Any) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))

    def rows(self) -> list[Row]:
        return [event.row for event in self.events if isinstance(event, RowDone)]


def learner(folder: Path, **settings: Any) -> tuple[hs.Learner, Recorder]:
    recorder = Recorder()
    return hs.Learner(hs.image_folder(folder), backbone="tiny", observer=recorder, **{"batch_size": 8, **settings}), recorder


@pytest.fixture(scope="module")
def shapes(make_shapes: Make) -> Path:
    return make_shapes(16)


@pytest.mark.whole
def test_fine_tune_writes_one_table_and_a_bundle_that_answers_the_same(shapes: Path) -> None:
    learn, seen = learner(shapes)
    learn.fine_tune(2)
    rows = learn.history
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["stage"] for row in rows] == ["head", "all", "all"]
    assert rows == seen.rows() == learn.run.rows()
    assert set(rows[1]) == {
        "epoch",
        "stage",
        "train_loss",
        "valid_loss",
        "error_rate",
        "error_rate_95",
        "lr",
        "seconds",
        "beyond_noise",
    }
    assert rows[0]["lr"] is None
    assert rows[1]["lr"] > rows[2]["lr"] > 0
    assert rows[0]["seconds"] < rows[1]["seconds"] < rows[2]["seconds"]
    again = hs.load(learn.run.path)
    images = sorted(shapes.rglob("*.png"))[:5]
    for mine, theirs in zip(learn.predict(images), again.predict(images), strict=True):
        assert mine.id == theirs.id
        assert mine.probs == pytest.approx(theirs.probs, abs=1e-6)
    assert (learn.run.path / "curve.svg").read_text().startswith("<?xml")
    assert {"plan.json", "split.json", "audit.json", "history.jsonl", "env.json", "bundle"} <= {
        p.name for p in learn.run.path.iterdir()
    }


def test_the_kept_row_is_the_best_and_its_weights_are_in_the_model(shapes: Path) -> None:
    learn, seen = learner(shapes, features="last")
    learn.fine_tune(2, base_lr=0.5)  # a rate that ruins the model, so that row 0 stays the best
    best = min(learn.history, key=lambda row: row["valid_loss"])
    assert best["epoch"] == 0 == learn.kept
    assert "Row 0, the head alone, was the best" in seen.notes()
    assert learn.evaluate(posterior="none")["nll"].value == pytest.approx(best["valid_loss"], abs=1e-4)
    assert hs.load(learn.run.path).evaluate(posterior="none")["nll"].value == pytest.approx(best["valid_loss"], abs=1e-4)


def test_keep_last_keeps_the_last_row(shapes: Path) -> None:
    learn, _ = learner(shapes, keep="last")
    learn.fine_tune(1, base_lr=0.5)
    assert learn.kept == 1
    assert learn.evaluate(posterior="none")["nll"].value == pytest.approx(learn.history[-1]["valid_loss"], rel=1e-4)


def test_frozen_means_frozen(shapes: Path) -> None:
    learn, _ = learner(shapes)
    before = {name: tensor.clone() for name, tensor in learn.model.backbone.state_dict().items()}
    learn.fine_tune(0)
    learn.freeze().fit(1)
    for name, tensor in learn.model.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.slow
def test_norm_statistics_stay_in_step_two_too_unless_asked(shapes: Path) -> None:
    for norms, moved in (("frozen", False), ("adapt", True)):
        learn, _ = learner(shapes, norms=norms, keep="last")
        means = {name: t.clone() for name, t in learn.model.state_dict().items() if name.endswith("running_mean")}
        learn.fine_tune(1)
        assert any(not torch.equal(t, means[name]) for name, t in learn.model.state_dict().items() if name in means) == moved


@pytest.mark.slow
def test_every_training_image_is_seen_once_an_epoch(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    original = batches.training_batches

    def counting(*arguments: Any) -> Any:
        for batch in original(*arguments):
            seen.update(batch.ids)
            yield batch

    monkeypatch.setattr("headstart.train.phase_run.training_batches", counting)
    monkeypatch.setattr("headstart.train.precision.choose", lambda *_: "float32")
    learn, recorder = learner(shapes, batch_size=7)
    learn.fine_tune(3)
    train = set(learn.run.split().train)
    assert seen == dict.fromkeys(train, 3)
    steps = [event for event in recorder.events if isinstance(event, StepDone)]
    assert len(steps) == 3 * -(-len(train) // 7)


def test_images_are_decoded_once_and_go_through_the_backbone_once_for_the_head(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[PixelStore] = []
    original = PixelStore.__init__

    def remembering(self: PixelStore, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        stores.append(self)

    monkeypatch.setattr(PixelStore, "__init__", remembering)
    learn, _ = learner(shapes)
    learn.fine_tune(5)
    assert [store.decoded for store in stores] == [32]
    assert learn._session.begun is not None and learn._session.begun.features is not None
    assert learn._session.begun.features.forwards == 32
    again, _ = learner(shapes)
    again.fine_tune(0)
    assert stores[-1].decoded == 0
    assert again._session.begun is not None and again._session.begun.features is not None
    assert again._session.begun.features.forwards == 0
    assert again.history[0]["valid_loss"] == pytest.approx(learn.history[0]["valid_loss"], abs=1e-9)


@pytest.mark.slow
def test_equal_seeds_give_equal_runs_and_others_do_not(shapes: Path) -> None:
    losses = []
    for seed in (0, 0, 1):
        learn, _ = learner(shapes, seed=seed)
        learn.fine_tune(1)
        losses.append(learn.history[-1]["train_loss"])
    assert losses[0] == losses[1] != losses[2]


def test_a_head_trained_by_gradient_has_its_own_rows(shapes: Path) -> None:
    learn, _ = learner(shapes, head="train", freeze_epochs=2)
    before = {name: tensor.clone() for name, tensor in learn.model.backbone.state_dict().items()}
    learn.fine_tune(0)
    assert [(row["epoch"], row["stage"]) for row in learn.history] == [(0, "head"), (1, "head")]
    assert all(torch.equal(tensor, before[name]) for name, tensor in learn.model.backbone.state_dict().items())
    learn.fine_tune(1)
    assert [(row["epoch"], row["stage"]) for row in learn.history][2:] == [(2, "all")]


def test_an_mlp_head_is_trained_not_solved(shapes: Path) -> None:
    with pytest.raises(BadSetting, match='head="train"'):
        learner(shapes, head_kind="mlp")
    learn, _ = learner(shapes, head="train", head_kind="mlp")
    learn.fine_tune(1)
    assert len(learn.history) == 2
    assert hs.load(learn.run.path).evaluate(posterior="none")["nll"].value == pytest.approx(
        learn.evaluate(posterior="none")["nll"].value, abs=1e-5
    )


@pytest.mark.slow
def test_training_goes_on_in_the_same_table(shapes: Path) -> None:
    learn, seen = learner(shapes)
    learn.fine_tune(1)
    learn.fine_tune(1)
    assert "Going on after 2 rows" in seen.notes()
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]
    later = hs.load(learn.run.path, observer=seen).fit(1)
    assert [row["epoch"] for row in later.history] == [0, 1, 2, 3]
    assert [row["epoch"] for row in Run.open(learn.run.path).rows()] == [0, 1, 2, 3]
    assert later.history[-1]["seconds"] > later.history[-2]["seconds"]
    learn.fine_tune(0, restart=True)
    assert [row["epoch"] for row in learn.history] == [0]


@pytest.mark.slow
def test_fit_from_scratch_learns(make_shapes: Make) -> None:
    learn, _ = learner(make_shapes(24), pretrained=False, augment="none", batch_size=6)
    learn.fit(12, base_lr=1e-2)
    assert [row["epoch"] for row in learn.history] == list(range(1, 13))
    assert learn.history[-1]["train_loss"] < 0.5 * learn.history[0]["train_loss"]


def test_your_own_module_is_a_backbone(shapes: Path) -> None:
    with torch.random.fork_rng():
        body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
    learn = hs.Learner(hs.image_folder(shapes), backbone=body, size=32, observer=Recorder())
    learn.fine_tune(1)
    assert len(learn.history) == 2


@pytest.mark.slow
def test_metrics_by_name_and_function(shapes: Path) -> None:
    def sure(probs: np.ndarray, targets: np.ndarray) -> float:
        return float(probs.max(1).mean())

    learn, _ = learner(shapes, metrics=["error_rate", "f1", sure])
    learn.fine_tune(0)
    row = learn.history[0]
    assert 0.5 <= row["sure"] <= 1.0
    assert row["sure_95"] is None
    assert row["f1_95"][0] <= row["f1"] <= row["f1_95"][1]
    assert set(learn.evaluate()) == {"nll", "error_rate", "f1", "sure"}
    watcher = Recorder()
    again = hs.load(learn.run.path, observer=watcher)
    assert again.settings.metrics == ("error_rate", "f1")
    again.more(1)
    assert "sure" not in again.history[1]
    assert any("the metrics sure." in event.text for event in watcher.events if isinstance(event, Note))


@pytest.mark.slow
def test_what_comes_too_late_for_the_rows_there_are_is_refused(shapes: Path) -> None:
    learn, _ = learner(shapes)
    learn.fine_tune(2)
    before = learn.settings
    epochs = [row["epoch"] for row in learn.history]
    with pytest.raises(BadSetting, match=r"no column of the rows so far.*when training begins"):
        learn.more(1, metrics=["error_rate", "f1"], monitor="f1")
    with pytest.raises(BadSetting, match=r"backbone='medium' makes another model.*restart=True"):
        learn.more(1, backbone="medium")
    # row 1 becomes the best by errors, whose weights were not kept
    rows = learn._session.begun.state.rows
    rows[1] |= {"error_rate": -1.0}
    learn._session.begun.state.weights.pop(1, None)
    with pytest.raises(BadSetting, match=r"would keep row 1, whose weights are gone"):
        learn.more(1, monitor="error_rate")
    assert (learn.settings, [row["epoch"] for row in learn.history]) == (before, epochs)
    learn.more(1, metrics=["error_rate", "accuracy"])
    assert "accuracy" in learn.history[-1]


def test_from_disk_only_the_kept_row_can_be_kept(shapes: Path) -> None:
    """What the bundle holds must not be taken for the weights of another row."""
    learn, _ = learner(shapes, keep="last")
    learn.fine_tune(2)
    config = learn.run.bundle / "config.json"
    saved = json.loads(config.read_text())
    saved["headstart"]["rows"][1]["error_rate"] = -1.0
    config.write_text(json.dumps(saved))
    again = hs.load(learn.run.path, observer=Recorder())
    with pytest.raises(BadSetting, match=r"would keep row 1, whose weights are gone: those of row 2 are left"):
        again.more(1, keep="best", monitor="error_rate")


def test_a_model_that_was_only_looked_at_gives_way_to_another(shapes: Path) -> None:
    learn, _ = learner(shapes)
    assert learn.model.head_kind == "linear"
    learn.fine_tune(0, head_kind="mlp", head="train", freeze_epochs=1)
    assert learn.model.head_kind == "mlp"


def test_starting_over_makes_a_new_run_beside_a_named_one(shapes: Path) -> None:
    learn, _ = learner(shapes, run="mine")
    named = learn.fine_tune(0).run.path
    assert learn.fine_tune(0, restart=True).run.path != named
    assert [row["epoch"] for row in learn.history] == [0]


def test_predict_takes_files_folders_arrays_and_pictures(shapes: Path) -> None:
    learn, _ = learner(shapes)
    learn.fine_tune(0)
    file = sorted(shapes.rglob("disc*.png"))[0]
    by_path = learn.predict(str(file))
    by_array = learn.predict(np.asarray(Image.open(file)))
    by_picture = learn.predict(Image.open(file))
    assert by_path.label in ("disc", "square")
    assert by_path.probs == pytest.approx(by_array.probs, abs=1e-6)
    assert by_path.probs == pytest.approx(by_picture.probs, abs=1e-6)
    assert len(learn.predict(shapes)) == 32
    assert learn.predict(["nowhere.png"])[0].error


def test_evaluate_on_other_images(shapes: Path, make_shapes: Make) -> None:
    learn, _ = learner(shapes)
    learn.fine_tune(0)
    found = learn.evaluate(make_shapes(3, kinds=("disc",)))
    assert found["error_rate"].n == 3
    with pytest.raises(DataError, match="stripe"):
        learn.evaluate(make_shapes(3, kinds=("disc", "stripe")))
    with pytest.raises(DataError, match='part "test"'):
        learn.evaluate(part="test")


def test_settings_are_checked_before_anything_is_read(shapes: Path) -> None:
    for settings, error, words in (
        ({"batchsize": 3}, UnknownName, '"batch_size"'),
        ({"bs": 3}, UnknownName, "batch_size"),
        ({"label_smoothing": 1.5}, BadSetting, "in \\[0, 1\\)"),
        ({"metrics": ["acuracy"]}, UnknownName, '"accuracy"'),
        ({"batch_size": 0}, BadSetting, "at least 1"),
    ):
        with pytest.raises(error, match=words):
            hs.Learner(hs.image_folder(shapes), backbone="tiny", **settings)
    learn, _ = learner(shapes)
    with pytest.raises(BadSetting, match="fine_tune\\(3\\)"):
        learn.fine_tune()
    with pytest.raises(BadSetting, match="-1"):
        learn.fine_tune(-1)
    with pytest.raises(BadSetting, match="at least 1"):
        learn.fit(0)
    with pytest.raises(BadSetting, match="no run folder yet"):
        _ = learn.run


def test_ctrl_c_once_keeps_the_best_row(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Recorder):
        def show(self, event: Any) -> None:
            super().show(event)
            if isinstance(event, StepDone) and event.epoch == 2:
                raise KeyboardInterrupt

    seen = Impatient()
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=seen, batch_size=8)
    learn.fine_tune(3)
    assert learn.stopped
    assert [row["epoch"] for row in learn.history] == [0, 1]
    assert "Stopped" in seen.notes()
    assert hs.load(learn.run.path).evaluate(posterior="none")["nll"].value == pytest.approx(
        min(row["valid_loss"] for row in learn.history), abs=1e-4
    )
    learn._observer = Recorder()
    learn.fine_tune(1)
    assert not learn.stopped
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]


def test_ctrl_c_before_the_first_row_says_how_to_go_on(shapes: Path) -> None:
    class Impatient(Recorder):
        def show(self, event: Any) -> None:
            raise KeyboardInterrupt

    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Impatient())
    with pytest.raises(Stopped, match="Run the same again"):
        learn.fine_tune(1)


def test_unreadable_images_are_left_out_and_named(make_shapes: Make) -> None:
    folder = make_shapes(8)
    (folder / "disc" / "empty.png").write_bytes(b"")
    (folder / "disc" / "page.jpg").write_text("<html>not an image</html>")
    learn, seen = learner(folder)
    learn.fine_tune(1)
    audit = json.loads((learn.run.path / "audit.json").read_text())
    assert {"disc/empty.png", "disc/page.jpg"} <= {file["id"] for file in audit["quarantine"]}
    assert "2" in seen.notes()
    assert len(learn.run.split().train) + len(learn.run.split().valid) == 16


def test_the_data_folder_is_never_written_to(make_shapes: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project" / "photos"
    shutil.copytree(make_shapes(6), folder)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
    monkeypatch.chdir(folder)
    learn, _ = learner(Path())
    learn.fine_tune(1)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    assert folder not in learn.run.path.parents


def test_load_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(NotARun):
        hs.load(tmp_path)


def test_a_bundle_predicts_without_its_data(make_shapes: Make, tmp_path: Path) -> None:
    folder = make_shapes(8)
    learn, _ = learner(folder)
    learn.fine_tune(0)
    bundle = learn.save(tmp_path / "bundle")
    image = sorted(folder.rglob("*.png"))[0]
    loaded = hs.load(bundle, observer=Recorder())
    assert loaded.predict(image).probs == pytest.approx(learn.predict(image).probs, abs=1e-6)
    with pytest.raises(DataError, match="data"):
        loaded.fine_tune(1)
    hs.load(bundle, data=folder, observer=Recorder()).fine_tune(1)


def test_a_finished_run_is_a_backbone(shapes: Path, make_shapes: Make) -> None:
    learn, _ = learner(shapes, keep="last")
    learn.fine_tune(1)
    chained = hs.Learner(make_shapes(8, kinds=("disc", "square", "stripe")), backbone=learn.run.path, observer=Recorder())
    for name, tensor in chained.model.backbone.state_dict().items():
        assert torch.equal(tensor, learn.model.backbone.state_dict()[name])
    chained.fine_tune(0)
    assert len(chained.data.classes) == 3


def test_pictures_and_summary(shapes: Path) -> None:
    learn, _ = learner(shapes)
    learn.fine_tune(0)
    assert learn.show_results(4).size[0] > 100
    assert learn.show_results(4, worst=True).size[0] > 100
    text = repr(learn.freeze().summary())
    assert "frozen" in text
    assert "head" in text
    lines = learn.unfreeze().summary().lines
    assert sum(line.parameters for line in lines) == sum(parameter.numel() for parameter in learn.model.parameters())
    assert all(line.learning == line.parameters for line in lines)
    assert all(line.learning == 0 for line in learn.freeze().summary().lines[:-1])


def test_the_summary_counts_what_adapters_learn(shapes: Path) -> None:
    """The first convolution of `tiny` is 16 x (3 * 3 * 3): two directions are 2 * (16 + 27) numbers."""
    learn, watcher = learner(shapes, adapters=2)
    lines = learn.summary().lines
    assert lines[0].learning == 2 * (16 + 27)
    assert lines[-1].learning == lines[-1].parameters
    learn.fine_tune(1)
    assert f"{sum(line.learning for line in lines[:-1]):,} numbers learn in place of" in watcher.notes()


def test_the_price_of_an_epoch_leaves_the_model_as_it_was(shapes: Path) -> None:
    learn, _ = learner(shapes)
    learn.fine_tune(0)
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    assert 0 < learn.seconds_per_epoch() < 60
    assert all(torch.equal(tensor, before[name]) for name, tensor in learn.model.state_dict().items())
    assert [row["epoch"] for row in learn.history] == [0]


def test_names_of_fastai_are_answered_with_ours(shapes: Path) -> None:
    learn, _ = learner(shapes)
    for name, ours in (
        ("fit_one_cycle", "fit"),
        ("get_preds", "predictions"),
        ("tta", "predict"),
        ("fine_tun", "fine_tune"),
    ):
        with pytest.raises(AttributeError, match=ours):
            getattr(learn, name)
    assert repr(learn).startswith("Learner(")


def test_data_shows_itself(shapes: Path) -> None:
    assert hs.image_folder(shapes).show().size[0] > 100


def test_an_engine_that_disagrees_is_replaced_by_torch(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, _ = learner(shapes)
    honest.fine_tune(0)
    original = features.compute

    def twisted(store: Any, frozen: Any, width: int, file: Path) -> Any:
        found = yield from original(store, frozen, width, file)
        return found if frozen.name == "torch f32" else features.Features(found.rows * 3 + 1, found.forwards, frozen.name)

    monkeypatch.setattr(features, "compute", twisted)
    monkeypatch.setattr(features, "stored", lambda *_: None)
    monkeypatch.setattr("headstart.train.begin.choose_frozen", lambda *_: FrozenForward("crooked", frozen(), {}))

    def frozen() -> Any:
        return torch_features(honest.model.backbone, honest.modality, torch.device("cpu"))

    learn, seen = learner(shapes)
    learn.fine_tune(0)
    assert "crooked differs from torch" in seen.notes()
    assert learn.history[0]["valid_loss"] == pytest.approx(honest.history[0]["valid_loss"], abs=1e-4)


class Pressing(Recorder):
    """A user who presses Ctrl-C so many times during the first epoch."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def show(self, event: Any) -> None:
        super().show(event)
        if isinstance(event, StepDone) and event.epoch == 1:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.fixture
def presses_arrive() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests run in the background and inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("presses_arrive")
def test_nothing_is_saved_before_the_first_training(shapes: Path, tmp_path: Path) -> None:
    learn, _ = learner(shapes)
    with pytest.raises(BadSetting, match="nothing to save before the first training"):
        learn.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_one_press_saves_and_returns(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Pressing(1), batch_size=8)
    learn.fine_tune(3)
    assert learn.stopped
    assert [row["epoch"] for row in learn.history] == [0]
    assert hs.load(learn.run.path).history == learn.history
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("presses_arrive")
def test_a_second_press_quits_at_once_and_rows_stay(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Pressing(2), batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        learn.fine_tune(3)
    assert [row["epoch"] for row in learn.history] == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_training_that_diverges_keeps_its_rows_and_says_so(shapes: Path) -> None:
    learn, seen = learner(shapes)
    with pytest.raises(HeadstartError, match="base_lr"):
        learn.fine_tune(2, base_lr=1e30)
    assert learn.history[0]["epoch"] == 0
    assert "Kept: epoch 0" in seen.notes()
    assert hs.load(learn.run.path).evaluate(posterior="none")["nll"].value == pytest.approx(
        learn.history[0]["valid_loss"], abs=1e-4
    )


def test_a_training_that_comes_to_nothing_leaves_no_run(make_shapes: Make) -> None:
    folder = make_shapes(6, kinds=("disc",))
    (folder / "square").mkdir()
    (folder / "square" / "broken.png").write_bytes(b"no image")
    learn, _ = learner(folder)
    with pytest.raises(DataError):
        learn.fine_tune(0)
    assert not list(Path("runs").iterdir())


def test_a_run_folder_inside_the_data_is_refused(shapes: Path) -> None:
    with pytest.raises(BadSetting, match="never written to"):
        learner(shapes, run=shapes / "run")[0].fine_tune(0)


def test_last_finds_a_run_that_was_put_beside_the_data(
    make_shapes: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project" / "photos"
    shutil.copytree(make_shapes(6), folder)
    monkeypatch.chdir(folder / "disc")
    learn, _ = learner(folder)
    learn.fine_tune(0)
    assert hs.load("last").run.path == learn.run.path


def test_the_plan_keeps_how_the_engine_was_checked_also_when_features_come_from_the_cache(shapes: Path) -> None:
    told = []
    for _ in range(2):
        learn, _ = learner(shapes)
        learn.fine_tune(0)
        told.append(json.loads((learn.run.path / "plan.json").read_text())["engine"])
    assert told[0] == told[1]
    assert told[0]["agreement"]["engine"] == told[0]["frozen"] and told[0]["agreement"]["cosine"] > 0.9999


@pytest.mark.parametrize(("size", "words"), [(32, "is not smaller than the size of the images, 32"), (40, "Try train_size=22")])
def test_a_training_size_must_be_smaller(shapes: Path, size: int, words: str) -> None:
    learn, _ = learner(shapes, train_size=size)
    with pytest.raises(BadSetting, match=words):
        learn.fine_tune(1)
    assert [row["epoch"] for row in learn.history] == [0]


@pytest.mark.slow
def test_a_smaller_training_size_is_in_the_phase_and_leaves_predictions_at_full_size(shapes: Path) -> None:
    learn, _ = learner(shapes, train_size=20)
    learn.fine_tune(2)
    assert learn.run.plan().phases[-1].train_size == 20
    assert learn.modality.size == 32
