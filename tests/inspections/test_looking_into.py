"""Single images looked into, what was trained and not kept, and two runs side by side."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.cli.main import main
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.inspections import drift
from headstart.learner import tracing
from watched import Notes


@pytest.fixture(scope="module")
def tuned(train_shapes: Any) -> Any:
    """A learner that has trained all its layers."""
    return train_shapes(1, keep="last")


@pytest.fixture
def picture(shapes: Path, tmp_path: Path) -> Path:
    """An image that is none of the run's."""
    file = tmp_path / "new.png"
    with Image.open(sorted((shapes / "disc").iterdir())[0]) as opened:
        opened.convert("RGB").rotate(90).save(file)
    return file


@pytest.mark.slow
def test_one_image_is_looked_into_by_every_inspection_that_can(tuned: Any, picture: Path) -> None:
    report = tuned.inspect(inputs=picture)
    assert [found.name for found in report.findings] == ["evidence", "occlusion", "neighbours", "influence"]
    prediction = tuned.predict(picture)
    assert report.facts == {str(picture): str(prediction)}
    for found in report.findings:
        assert [item["id"] for item in found.items] == [str(picture)]
        assert [strip.example for strip in found.strips] == [str(picture)]
    page = report.page
    assert page.is_relative_to(tuned.run.path / "images") and "Image by image" in page.read_text(encoding="utf-8")
    assert not (tuned.run.path / "images" / "report.html").exists()


def test_images_may_come_one_by_one(tuned: Any) -> None:
    report = tuned.inspect("occlusion", (np.full((40, 40, 3), value, np.uint8) for value in (0, 90)))
    assert len(report.facts) == len(report["occlusion"].items) == 2


@pytest.mark.slow
def test_an_image_of_the_run_is_looked_into_as_the_run_sees_it(tuned: Any) -> None:
    trace = tracing.traced(tuned._session, lambda _: None, {"classes"})
    own = trace.chosen[0]
    source = {record.id: record.source for record in tuned.data.records}[own.id]
    found = tuned.inspect("occlusion", source)["occlusion"]
    assert found.items[0]["falls by"] == pytest.approx(float(own.falls.max()), abs=1e-5)
    np.testing.assert_array_equal(found.strips[0].pictures[0].pixels, own.pixels)


def test_the_nearest_training_images_are_shown_with_their_labels(tuned: Any) -> None:
    """An image that trained is its own nearest."""
    trace = tracing.traced(tuned._session, lambda _: None, {"classes"})
    name = next(name for name, valid in zip(trace.ids, trace.valid, strict=True) if not valid)
    source = {record.id: record.source for record in tuned.data.records}[name]
    strip = tuned.inspect(["neighbours"], [source])["neighbours"].strips[0]
    assert strip.pictures[1].example == name and strip.pictures[1].caption == name.split("/")[0]


@pytest.mark.slow
def test_what_cannot_be_looked_into_is_told(tuned: Any, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="labels asks about all examples"):
        tuned.inspect("labels", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UnknownName, match="evidence"):
        tuned.inspect("evidense", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"gone\.jpg"):
        tuned.inspect("evidence", tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match="empty"):
        tuned.inspect("evidence", tmp_path / "empty.jpg")
    with pytest.raises(DataError, match="at least one"):
        tuned.inspect("evidence", [])
    with pytest.raises(BadSetting, match="100 images"):
        tuned.inspect("occlusion", [np.zeros((8, 8, 3), np.uint8)] * 101)


@pytest.mark.slow
def test_rows_of_numbers_cannot_be_looked_into(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 4))
    learn = hs.Learner(hs.from_arrays(rows, rows[:, 0] > 0), observer=Notes(), run=tmp_path / "run").fine_tune(0)
    with pytest.raises(BadSetting, match="no pictures"):
        learn.inspect("evidence", rows[:1])


@pytest.mark.slow
def test_the_command_looks_into_images_and_writes_their_page(
    tuned: Any, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tuned.run.path), "--image", str(picture), "--only", "occlusion", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(told["facts"]) == [str(picture)] and Path(told["page"]).is_file()
    assert main(["inspect", str(tuned.run.path), "--image", "nowhere.jpg"]) == 1


@pytest.mark.slow
def test_two_runs_stand_side_by_side(tuned: Any, train_shapes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = train_shapes(0)
    one, two = (learn.inspect("losses,drift") for learn in (tuned, other))
    page = one.html(two)
    for report in (one, two):
        for found in report.findings:
            assert found.headline.split(",")[0] in page
    ids = [part.split('"')[0] for part in page.split('id="')[1:]]
    assert len(ids) == len(set(ids)), "a link would lead to the wrong run"
    assert main(["inspect", str(tuned.run.path), "--only", "losses", "--beside", str(other.run.path)]) == 0
    assert str(tuned.run.path / "beside.html") in capsys.readouterr().out
    assert "beside" in (tuned.run.path / "beside.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_layers_that_were_trained_and_not_kept_are_shown_as_such(train_shapes: Any) -> None:
    learn = train_shapes(1, keep="best", features="last")
    learn._session.ready().state.rows[1]["beyond_noise"] = False  # whatever came of it, row 0 is kept
    learn._session.ready().state.restore(0)
    assert learn.kept == 0
    found = learn.inspect("drift")["drift"]
    assert "the head alone was better" in found.headline and "After epoch 1, which is not kept" in found.headline
    assert all(item["weights moved"] > 0 for item in found.items)


@pytest.mark.slow
def test_layers_that_were_not_kept_are_found_on_disk_too(train_shapes: Any) -> None:
    learn = train_shapes(2, keep="best")
    state = learn._session.ready().state
    for row in state.rows[1:]:
        row["beyond_noise"] = False
    seen = tracing.Examined.of(learn._session.ready())
    state.weights = {0: state.weights.get(0, state.weights[next(iter(state.weights))])}
    found = tracing._trained_weights(learn._session, seen)
    assert found is not None and "began to fall" in found[1]
    assert set(found[0]) == set(learn.model.state_dict())


def test_a_channel_is_listed_first_that_gained_most() -> None:
    planted = drift.plant(0).faulty
    item = drift.inspect(planted).items[-1]
    assert item["first channels"].split(", ")[0] == "7" == str(item["channel"])
    assert len(item["first channels"].split(", ")) == drift.CHANNELS


def drawn(kind: str) -> tuple[list[np.ndarray], Any, dict[str, Any]]:
    """Pictures with a bright square whose side, or whose colours, are what is to be told."""
    draw, pictures, labels = np.random.default_rng(0), [], []
    for _ in range(40):
        side, colours = int(draw.integers(6, 20)), draw.integers(0, 2, 2)
        top, left = draw.integers(0, 40 - side, 2)
        picture = np.full((40, 40, 3), 60, np.uint8)
        picture[top : top + side, left : left + side] = (60 + 180 * colours[0], 60 + 180 * colours[1], 100)
        pictures.append(picture)
        labels.append(float(side) if kind == "regression" else tuple(np.array(["red", "green"])[colours == 1]))
    return pictures, labels, {"task": kind}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "multi_label"])
def test_pictures_of_other_tasks_are_looked_into_too(kind: str, tmp_path: Path) -> None:
    pictures, labels, settings = drawn(kind)
    data = hs.from_arrays(pictures, labels)
    learn = hs.Learner(data, backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run", posterior="none", **settings)
    report = learn.fine_tune(0).inspect("evidence,occlusion,neighbours")
    assert report["neighbours"].headline.startswith("Not available: this asks for one class")
    for name in ("evidence", "occlusion"):
        assert len(report[name].items) == len(report[name].strips) == 8, report[name].headline
    one = tracing.traced(learn._session, lambda _: None, {"answers"}).chosen[0]
    said = learn.predict(one.pixels)
    assert one.text == said.text and report["occlusion"].items[0]["said"] == said.text
    asks = np.zeros(len(one.logits))
    asks[int(one.logits[: len(learn.task.names)].argmax())] = 1.0
    np.testing.assert_array_equal(one.asks.numpy(), asks)
    looked = learn.inspect("evidence", one.pixels)["evidence"]
    assert looked.items[0]["left over"] == pytest.approx(report["evidence"].items[0]["left over"], abs=1e-6)
