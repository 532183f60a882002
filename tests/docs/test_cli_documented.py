"""The command line and the pages agree: every command is explained, and every command that is shown can be typed."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_blocks import PAGES, ROOT, blocks, inline_commands, make_data
from typer.main import get_command

from headstart.cli.main import app
from headstart.core import Note
from headstart.learner import Learner

PROGRAM = get_command(app)
COMMANDS = PROGRAM.commands  # pyright: ignore[reportAttributeAccessIssue]
README = ROOT / "README.md"


def shown_in_pages() -> list[tuple[str, list[str]]]:
    """(page, words) of every command of headstart in the pages."""
    found = []
    for page in PAGES:
        in_blocks = (command for block in blocks(page) if block.language == "bash" for command in block.commands())
        found += [(page.name, words) for words in (*in_blocks, *inline_commands(page)) if words[0] == "headstart"]
    return found


def shown_in_help() -> list[tuple[str, list[str]]]:
    """(command, words) of every example in a help text: the indented lines that start with the program's name."""
    texts = {"headstart": PROGRAM.help, **{name: command.help for name, command in COMMANDS.items()}}
    return [
        (name, shlex.split(line.strip().partition("   ")[0]))
        for name, text in texts.items()
        for line in (text or "").splitlines()
        if line.strip().startswith("headstart ")
    ]


def parse(words: list[str]) -> None:
    """Reads the command as the program would, without running it; a wrong option or a missing argument is an exception."""
    name, *rest = words[1:]
    assert name in COMMANDS, f"there is no command {name}"
    COMMANDS[name].make_context(name, rest)


def named(cases: list[tuple[str, list[str]]]) -> list:
    return [pytest.param(words, id=f"{place}: {' '.join(words)}") for place, words in cases]


@pytest.mark.parametrize("words", named(shown_in_pages()))
def test_what_the_pages_show_can_be_typed(words: list[str]):
    parse(words)


@pytest.mark.parametrize("words", named(shown_in_help()))
def test_what_the_help_shows_can_be_typed(words: list[str]):
    parse(words)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["headstart", "train"], "MissingParameter"),
        (["headstart", "train", "photos", "--epoch", "3"], "NoSuchOption"),
        (["headstart", "tarin"], "AssertionError"),
    ],
)
def test_what_cannot_be_typed_is_noticed(words: list[str], kind: str):
    with pytest.raises(BaseException) as caught:
        parse(words)
    assert kind in {one.__name__ for one in type(caught.value).__mro__}


def test_the_readme_shows_every_command():
    assert {words[1] for page, words in shown_in_pages() if page == "README.md"} == set(COMMANDS)


def test_every_command_says_what_it_does_and_every_option_too():
    for name, command in COMMANDS.items():
        assert len((command.help or "").split("\n")[0]) > 20, name
        for parameter in command.params:
            if parameter.name != "help":
                assert len(getattr(parameter, "help", "") or "") > 10, f"{name}: {parameter.name}"


def test_the_readme_claims_json_only_where_it_is():
    text = README.read_text(encoding="utf-8")
    assert "Every command has `--help` and `--json`." in text
    for name, command in COMMANDS.items():
        assert any("--json" in parameter.opts for parameter in command.params), name


@pytest.mark.slow
def test_the_message_after_a_training_shows_commands_that_can_be_typed():
    """Also where a space is in the path."""
    make_data(Path.cwd())
    Path("photos").rename("my photos")
    notes: list[str] = []
    observer = SimpleNamespace(
        show=lambda event: notes.append(event.text) if isinstance(event, Note) else None, close=lambda: None
    )
    Learner("my photos", backbone="tiny", observer=observer).fine_tune(0)
    shown = [shlex.split(text) for text in re.findall(r"headstart (?:predict|more) .*?(?=    |\n|$)", "\n".join(notes))]
    assert {words[1] for words in shown} == {"predict", "more"}
    for words in shown:
        parse(words)
        assert Path(words[2]).is_dir(), f"{words[2]} is the run"
