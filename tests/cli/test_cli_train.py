"""`headstart train`, `predict` and `evaluate`, one after the other on small pictures."""

import csv
import inspect
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.cli import predict as predict_command
from headstart.cli import train as train_command
from headstart.cli.evaluate import as_lines
from headstart.cli.main import main
from headstart.cli.output import size_in_words, write_line
from headstart.cli.predict import as_csv
from headstart.core import Note, Progress, RowDone, Settings, StepDone

FIRST = {
    "epoch": 0,
    "stage": "head",
    "train_loss": 0.1,
    "valid_loss": 0.3,
    "error_rate": 0.2,
    "error_rate_95": [0.1, 0.4],
    "lr": None,
    "seconds": 1.0,
}
LAST = {**FIRST, "epoch": 1, "stage": "all", "valid_loss": 0.4, "lr": 1e-3, "seconds": 2.0}


# ------------------------------------------------------------------------------------------ without a model: a stand-in


class FakeLearner:
    """Keeps what it was given and tells what a learner tells."""

    made: list["FakeLearner"] = []
    stop = False

    def __init__(
        self, data: Any, settings: Settings, *, run: Any, observer: Any, started: float, from_run: Any, labels: Any
    ) -> None:
        assert from_run is None
        self.data, self.settings, self.observer, self.asked = data, settings, observer, ("", -1)
        self.run = SimpleNamespace(path=Path(run or "runs/photos-1"))
        self.history, self.kept, self.stopped = [FIRST, LAST], 0, self.stop
        FakeLearner.made.append(self)

    def fine_tune(self, epochs: int | None, minutes: float | None) -> "FakeLearner":
        self.asked = ("fine_tune", epochs)
        print("a library prints this")
        for event in (
            Progress("reading images", 1, 2),
            RowDone(FIRST),
            Note("words"),
            StepDone(1, 1, 1, None, 0.0),
            RowDone(LAST),
        ):
            self.observer.show(event)
        return self

    def fit(self, epochs: int | None, minutes: float | None) -> "FakeLearner":
        self.fine_tune(epochs, minutes)
        self.asked = ("fit", epochs)
        return self

    def seconds_per_epoch(self) -> float:
        return 83.0


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Puts the stand-in in the place of Learner and makes a folder `photos` that can be opened."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(tmp_path / "photos" / name / f"{number}_a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "headstart.learner", SimpleNamespace(Learner=FakeLearner))
    monkeypatch.setattr("headstart.cli.train.process_start", time.perf_counter)  # this process has computed for minutes
    FakeLearner.made.clear()
    return FakeLearner.made


def test_every_setting_is_an_option_with_its_name_and_default():
    options = inspect.signature(train_command.train).parameters
    for field in fields(Settings):
        assert field.name in options, field.name
        given = {"track": ()}  # lists that are empty until they are given
        default = given.get(field.name, options[field.name].default)
        assert default == field.default, field.name


def test_options_reach_the_settings_and_the_data(learner: list[FakeLearner]):
    code = main(
        [
            *[
                "train",
                "photos",
                "--epochs",
                "3",
                "--method",
                "fit",
                "--head",
                "train",
                "--freeze-epochs",
                "2",
                "--base-lr",
                "0.01",
            ],
            *["--lr-mult", "10", "--norms", "adapt", "--keep", "last", "--monitor", "error_rate", "--metrics", "f1,error_rate"],
            *["--metrics", "auroc", "--label-smoothing", "0.1", "--backbone", "tiny", "--no-pretrained", "--head-kind", "mlp"],
            *["--size", "64", "--batch-size", "8", "--augment", "flip", "--seed", "5", "--device", "cpu", "--valid", "0.25"],
            *["--mixup", "0.2", "--checkpoint-seconds", "5", "--patience", "3", "--interrupt", "anneal"],
            *["--cutmix", "0.5", "--balance", "sample", "--train-size", "32", "--loss", "student"],
            *["--test", "0.25", "--group-by", r"(\d)_", "--run", "here"],
        ]
    )
    assert code == 0
    (made,) = learner
    assert made.settings == Settings(
        epochs=3,
        method="fit",
        head="train",
        freeze_epochs=2,
        base_lr=0.01,
        lr_mult=10.0,
        norms="adapt",
        keep="last",
        monitor="error_rate",
        metrics=("f1", "error_rate", "auroc"),
        label_smoothing=0.1,
        backbone="tiny",
        pretrained=False,
        head_kind="mlp",
        size=64,
        batch_size=8,
        augment="flip",
        seed=5,
        device="cpu",
        mixup=0.2,
        cutmix=0.5,
        balance="sample",
        loss="student",
        train_size=32,
        checkpoint_seconds=5.0,
        patience=3,
        interrupt="anneal",
    )
    assert (made.data.valid, made.data.test, made.data.seed) == (0.25, 0.25, 5)
    assert {record.group for record in made.data.records} == set("0123")
    assert made.run.path == Path("here") and made.asked == ("fit", 3)


def test_without_epochs_the_head_alone_is_asked_for_and_the_price_of_an_epoch_told(
    learner: list[FakeLearner], capsys: pytest.CaptureFixture
):
    assert main(["train", "photos"]) == 0
    assert "An epoch of all layers would take about" in capsys.readouterr().out
    assert learner[0].asked == ("fine_tune", 0)
    assert learner[0].settings.epochs is None


def test_with_json_stdout_is_rows_and_a_summary_and_nothing_else(learner: list[FakeLearner], capsys: pytest.CaptureFixture):
    assert main(["train", "photos", "--epochs", "1", "--json"]) == 0
    shown = capsys.readouterr()
    *rows, summary = [json.loads(line) for line in shown.out.splitlines()]
    assert rows == [FIRST, LAST]
    assert list(summary) == ["run", "rows", "best", "kept", "seconds"]
    assert Path(summary["run"]).is_absolute() and summary["rows"] == rows
    assert summary["best"] == FIRST and summary["kept"] == 0 and 0 < summary["seconds"] < 60
    assert "words" in shown.err and "a library prints this" in shown.err


def test_without_json_the_table_and_the_notes_are_on_stdout(learner: list[FakeLearner], capsys: pytest.CaptureFixture):
    assert main(["train", "photos", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "0.200 [0.100, 0.400]" in out and "words" in out and "{" not in out


def test_a_run_that_was_stopped_is_130_after_its_summary(learner: list[FakeLearner], monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(FakeLearner, "stop", True)
    assert main(["train", "photos", "--epochs", "1", "--json"]) == 130
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["best"] == FIRST


def test_predictions_are_written_as_they_come(monkeypatch, capsys: pytest.CaptureFixture):
    class Prediction:
        def __init__(self, row: dict) -> None:
            self.id, self._row = row["id"], row
            self.text, self.probability = row["label"], 0.93

        def row(self) -> dict:
            return self._row

        def __repr__(self) -> str:
            return f"Prediction({self._row['label']} 93 %)"

    good = {"id": "a\n\x1b[2J.jpg", "error": None, "label": "cat", "probs": {"cat": 0.93, "dog": 0.07}}
    bad = {"id": "b.jpg", "error": "it is empty", "label": None, "probs": None}

    def stand_in(rows: list[dict]) -> None:
        fake = SimpleNamespace(predictions=lambda inputs, tta, posterior: (Prediction(row) for row in rows))
        monkeypatch.setitem(sys.modules, "headstart.learner", SimpleNamespace(load=lambda run: fake))

    stand_in([good, bad])
    assert main(["predict", "last", "x"]) == 0
    assert capsys.readouterr().out.splitlines() == ["a\\n\\x1b[2J.jpg: cat 93 %", "b.jpg: not read: it is empty"]
    assert main(["predict", "last", "x", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [good, bad]
    stand_in([bad])
    assert main(["predict", "last", "x"]) == 1
    assert "none of the inputs could be read" in capsys.readouterr().err
    stand_in([])
    assert main(["predict", "last", "x"]) == 1
    assert "there was nothing to predict on" in capsys.readouterr().err
    assert predict_command.predict.__doc__ is not None


def test_csv_has_a_column_for_every_probability_also_when_the_first_image_is_unreadable():
    bad = {"id": "a,\n.jpg", "label": None, "error": 'it is "empty"', "probs": None}
    good = {"id": "b.jpg", "label": "cat", "error": None, "probs": {"cat": 0.75, "big dog": 0.25}}
    read = list(csv.DictReader(io.StringIO("".join(as_csv([bad, good])))))
    assert [row["id"] for row in read] == ["a,\n.jpg", "b.jpg"]
    assert (read[0]["error"], read[0]["probs.cat"]) == ('it is "empty"', "")
    assert (read[1]["probs.cat"], read[1]["probs.big dog"], read[1]["error"]) == ("0.75", "0.25", "")
    assert next(csv.DictReader(io.StringIO("".join(as_csv([bad])))))["error"] == 'it is "empty"'
    assert list(as_csv([])) == []


def test_measured_values_stand_below_each_other():
    lines = as_lines(
        {
            "f1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 1234},
            "error_rate": {"value": 0.25, "low": None, "high": None, "n": 9},
        }
    )
    assert lines[0] == "f1          0.500  [0.400, 0.600]  n = 1,234"
    assert lines[1] == "error_rate  0.250  n = 9"


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (5e9, "5.0 GB"), (8.4e13, "84 TB")]
)
def test_sizes_in_words(size: float, words: str):
    assert size_in_words(int(size)) == words


def test_a_line_is_handed_on_at_once():
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    write_line(stream, "x")
    assert stream.getvalue() == "x\n" and stream.flushed == 1


# -------------------------------------------------------------------------------------------------- with a real model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in colour, and a broken file."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    draw = np.random.default_rng(0)
    for channel, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 90, (40, 48, 3)).astype(np.uint8)
            pixels[8:32, 8:32, 2 * channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "cat" / "broken.jpg").write_bytes(b"")
    return folder


def test_from_a_folder_to_predictions(photos: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    before = sorted(photos.rglob("*"))
    assert main(["train", str(photos), "--backbone", "tiny", "--epochs", "2", "--json", "--run", "first"]) == 0
    *rows, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2] and [row["stage"] for row in rows] == ["head", "all", "all"]
    assert summary["rows"] == rows and summary["run"] == str(tmp_path / "first")
    history = [json.loads(line) for line in (tmp_path / "first" / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert history == rows
    assert sorted(photos.rglob("*")) == before, "the data folder is never written to"

    assert (
        main(["predict", "first", str(photos / "cat"), str(photos / "dog" / "0.png"), "--json", "--output", "answers.csv"]) == 0
    )
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 14
    assert {"id", "answer", "promised", "total", "aleatoric", "epistemic", "ood", "error", "label", "probs", "interval"} == set(
        answers[0]
    )
    assert sum(answer["error"] is not None for answer in answers) == 1
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["id"] for row in read] == [answer["id"] for answer in answers]

    assert main(["evaluate", "first/bundle", str(photos), "--json"]) == 0
    (measured,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert measured["error_rate"]["n"] == 24 and set(measured["error_rate"]) == {"value", "low", "high", "n"}
    assert main(["evaluate", "first"]) == 0
    assert "error_rate" in capsys.readouterr().out


def test_check_tells_what_is_wrong_and_draws_a_sheet(photos: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "24 usable images with 2 classes: cat 12, dog 12." in out and "broken.jpg" in out
    with Image.open(tmp_path / "check-photos.png") as picture:
        assert picture.width > 300
    assert main(["check", str(photos), "--json", "--sheet", "other.png"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["usable"] == 24 and found["classes"] == {"cat": 12, "dog": 12} and found["sheet"] == str(tmp_path / "other.png")
    assert [one["reason"] for one in found["quarantine"]] == ["empty"]


def test_check_inside_the_data_leaves_its_sheet_elsewhere(
    photos: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("headstart.cli.check.tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(photos)
    assert main(["check", "."]) == 0
    assert (tmp_path / "check-photos.png").exists() and not list(photos.glob("check-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process there")
def test_ctrl_c_keeps_what_there_is(photos: Path, tmp_path: Path):
    command = [sys.executable, "-m", "headstart", "train", str(photos), "--backbone", "tiny", "--epochs", "5000", "--run", "run"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a program in the background would ignore it
    try:
        process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(3)]
            process.send_signal(signal.SIGINT)
            rest, words = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and "Traceback" not in words
    *rows, summary = [json.loads(line) for line in "".join([*first, *rest]).splitlines()]
    assert summary["rows"] == rows and 3 <= len(rows) < 5000
    assert (tmp_path / "run" / "bundle" / "model.safetensors").exists()
