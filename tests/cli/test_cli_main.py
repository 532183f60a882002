"""The command line as a whole: help, wrong usage, and every way to fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.cli import main as command_line
from headstart.cli.main import in_options, main
from headstart.errors import DataError, HeadstartError, MissingExtra, Stopped, UnknownName

COMMANDS = ("check", "train", "predict", "evaluate", "demo", "doctor")


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "headstart", *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **more}
    )


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([command, "--help"] for command in COMMANDS)])
def test_help_is_there_and_ends_well(arguments: list[str], capsys: pytest.CaptureFixture):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "Usage: headstart" in out
    assert arguments[0] in COMMANDS or all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_json_form_and_says_what_it_does(command: str, capsys: pytest.CaptureFixture):
    main([command, "--help"])
    out = capsys.readouterr().out
    assert "--json" in out
    assert len(re.sub(r"\s+", " ", out.split("Usage:")[1].splitlines()[2]).strip()) > 20


def test_help_imports_no_torch_and_no_matplotlib():
    program = (
        "import sys; from headstart.cli.main import main; code = main(['train', '--help']);"
        "heavy = {'torch', 'timm', 'openvino', 'matplotlib', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_arguments_show_help_as_wrong_usage(capsys: pytest.CaptureFixture):
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "headstart demo" in shown.out + shown.err


def test_the_version(capsys: pytest.CaptureFixture):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"headstart \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "photos"], 'no command "trian". Did you mean train?'),
        (["train", "photos", "--epoch", "3"], 'no option "--epoch" for headstart train. Did you mean --epochs'),
        (["train", "photos", "--backbon=x"], "--backbone"),
        (["train"], "Missing argument"),
        (["train", "photos", "--epochs", "many"], "--epochs"),
        (["train", "photos", "--epochs"], "--epochs"),
        (["train", "photos", "more"], "more"),
        (["train", "photos", "--epochs", "-1"], "epochs must be 0 (the head alone) or more, got -1"),
        (["train", "photos", "--augment", "lihgt"], 'no choice for --augment "lihgt". Did you mean "light"?'),
        (["train", "photos", "--method", "fit"], "--method fit needs --epochs"),
        (["predict", "last", "x.jpg", "--output", "x.txt"], ".csv or .jsonl"),
        (["predict", "last", "x.jpg", "--output", "no/such/x.csv"], "there is no folder"),
        (["check", "photos", "--sheet", "x.doc"], ".png"),
    ],
)
def test_wrong_usage_is_told_with_the_nearest_name(arguments: list[str], words: str, capsys: pytest.CaptureFixture):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err and "Traceback" not in shown.err and shown.out == ""


@pytest.mark.parametrize(
    "arguments", [["train", "nowhere"], ["check", "nowhere"], ["predict", "nowhere", "x.jpg"], ["evaluate", "nowhere"]]
)
def test_what_is_not_there_is_told_in_one_sentence_or_two(
    arguments: list[str], capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "nowhere" in shown.err and "Traceback" not in shown.err and shown.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing is made for a mistake"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes every command fail so."""

    class Command:
        def main(self, *arguments: object, **more: object) -> None:
            raise error

    monkeypatch.setattr(command_line, "get_command", lambda app: Command())


@pytest.mark.parametrize(
    ("error", "code"),
    [(HeadstartError("why"), 1), (DataError("why"), 1), (MissingExtra("why"), 1), (UnknownName("why"), 2), (Stopped("why"), 130)],
)
def test_our_errors_are_a_message_and_their_exit_code(
    error: HeadstartError, code: int, monkeypatch, capsys: pytest.CaptureFixture
):
    failing(monkeypatch, error)
    assert main([]) == code
    assert capsys.readouterr() == ("", "headstart: why\n")


def test_an_interruption_is_130(monkeypatch, capsys: pytest.CaptureFixture):
    failing(monkeypatch, KeyboardInterrupt())
    assert main([]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_reader_that_went_away_is_no_error_message(monkeypatch, capsys: pytest.CaptureFixture):
    failing(monkeypatch, BrokenPipeError())
    monkeypatch.setattr(command_line, "_reader_gone", lambda: 1)
    assert main([]) == 1
    assert capsys.readouterr().err == ""


def test_an_unexpected_error_leaves_its_traceback_in_a_file(monkeypatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    monkeypatch.setattr(command_line.tempfile, "tempdir", str(tmp_path))
    failing(monkeypatch, ZeroDivisionError("by \udcff"))
    assert main([]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by" in err and "Traceback" not in err
    (file,) = tmp_path.iterdir()
    assert str(file) in err
    assert "Traceback (most recent call last)" in file.read_text(encoding="utf-8")


def test_where_no_file_can_be_written_the_traceback_is_shown(monkeypatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    monkeypatch.setattr(command_line.tempfile, "tempdir", str(tmp_path / "gone"))
    failing(monkeypatch, ZeroDivisionError("why"))
    assert main([]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_python_m_headstart_leaves_with_the_exit_code():
    done = run("trian")
    assert done.returncode == 2 and "Did you mean train?" in done.stderr and done.stdout == ""


def test_text_that_the_terminal_does_not_know_ends_nothing(tmp_path: Path):
    done = run("check", str(tmp_path / "Grüße"), PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and "there is no file or folder" in done.stderr and "Unicode" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe is closed differently there")
def test_a_closed_pipe_ends_quietly():
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m headstart train --help | true; exit ${{PIPESTATUS[0]}}'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("Try again with base_lr=1e-05.", "Try again with --base-lr 1e-05."),
        ("from random weights: pretrained=False.", "from random weights: --no-pretrained."),
        ("Give image_column=..., and folder=... if", "Give --image-column ..., and --folder ... if"),
        ('Name it: backbone="resnet18=a.pth" (with', 'Name it: --backbone "resnet18=a.pth" (with'),
        ("my_size=4 and sizes=5 stay", "my_size=4 and sizes=5 stay"),
        ("nothing to translate = here", "nothing to translate = here"),
    ],
)
def test_advice_speaks_in_options(python: str, shell: str) -> None:
    assert in_options(python) == shell
