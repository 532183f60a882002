"""A hostile or unlucky user at the command line: a clear message, the right exit code, and no trace in the data folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.cli.main import main
from headstart.core import Plan, Settings
from headstart.store.runs import Run

Shapes = Callable[..., Path]


def told(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    capsys.readouterr()
    code = main(arguments)
    words = capsys.readouterr().err
    assert "Traceback" not in words
    assert "did not expect" not in words
    return code, words


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("option", "value", "answer"),
    [
        ("--monitor", "nonsense", "monitor must be a column of the table (train_loss, valid_loss, error_rate"),
        ("--monitor", "f1", "--metrics adds columns"),
        ("--size", "1000000", "size must be from 16 to 4096 pixels, got 1000000"),
        ("--size", "3", "size must be from 16 to 4096 pixels, got 3"),
        ("--epochs", "-1", "epochs must be 0"),
        ("--patience", "0", "patience must be at least 1"),
        ("--interrupt", "aneal", 'Did you mean "anneal"?'),
    ],
)
def test_a_setting_out_of_range_is_told_before_anything_is_made(
    option: str, value: str, answer: str, make_shapes: Shapes, capsys: pytest.CaptureFixture
):
    code, words = told(capsys, "train", str(make_shapes(6)), "--backbone", "tiny", option, value)
    assert code == 2
    assert answer in words
    assert not Path("runs").exists()


@pytest.mark.parametrize("through_a_link", [False, True])
def test_neither_run_nor_sheet_may_lie_inside_the_images(
    through_a_link: bool, make_shapes: Shapes, capsys: pytest.CaptureFixture
):
    data = make_shapes(6)
    place = data
    if through_a_link:
        if sys.platform == "win32":
            pytest.skip("links need a privilege there")
        place = Path("elsewhere")
        place.symlink_to(data, target_is_directory=True)
    before = everything(data)
    for command in (
        ["train", str(data), "--backbone", "tiny", "--run", str(place / "run")],
        ["check", str(data), "--sheet", str(place / "disc" / "sheet.png")],
    ):
        code, words = told(capsys, *command)
        assert code == 2
        assert "lies inside the folder of images" in words
    assert everything(data) == before


def test_beside_a_table_everything_may_be_written(make_shapes: Shapes, capsys: pytest.CaptureFixture):
    data = make_shapes(6)
    table = data / "labels.csv"
    rows = [f"{path.relative_to(data).as_posix()},{path.parent.name}" for path in data.rglob("*.png")]
    table.write_text("\n".join(["image,label", *rows]) + "\n")
    assert told(capsys, "check", str(table), "--sheet", str(data / "sheet.png"))[0] == 0
    assert (data / "sheet.png").is_file()


def test_a_run_without_a_model_says_so(make_shapes: Shapes, capsys: pytest.CaptureFixture):
    data = make_shapes(0, kinds=())
    for kind in ("a", "b"):
        (data / kind).mkdir()
        for number in range(4):
            (data / kind / f"page{number}.jpg").write_text("<html>")
    code, words = told(capsys, "train", str(data), "--backbone", "tiny", "--run", "ended")
    assert code == 1
    assert "none of the 8 files" in words
    assert not Path("ended").exists()
    Run.create(Plan(data={"name": "killed"}, task={}, settings=Settings()), "ended")  # what a killed process leaves behind
    for command in (["predict", "ended", str(data)], ["evaluate", "ended"], ["more", "ended", "--epochs", "1"]):
        code, words = told(capsys, *command)
        assert code == 1
        assert "has no bundle yet" in words


@pytest.mark.skipif(sys.platform == "win32", reason="no newline in a file name there")
def test_a_class_with_a_newline_stays_on_its_line(make_shapes: Shapes, capsys: pytest.CaptureFixture):
    data = make_shapes(3)
    (data / "disc").rename(data / "di\nsc")
    assert main(["check", str(data)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "6 usable images with 2 classes: di\\nsc 3, square 3."
    assert main(["check", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"di\nsc": 3, "square": 3}


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent there")
def test_ctrl_c_while_the_command_is_imported_is_no_traceback(tmp_path: Path):
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (130, "Stopped.\n")
