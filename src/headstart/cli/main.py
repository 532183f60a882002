"""The command `headstart`: its commands, and one place where every way to fail becomes a message and an exit code.

Exit codes: 0 done, 1 could not, 2 wrong usage, 130 interrupted. Nothing heavy is imported before a command runs.
"""

import io
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from headstart.cli.check import check
from headstart.cli.choose import choose
from headstart.cli.demo import demo
from headstart.cli.doctor import doctor
from headstart.cli.evaluate import evaluate
from headstart.cli.inspect import inspect
from headstart.cli.more import more, resume
from headstart.cli.predict import predict
from headstart.cli.suggest import suggest
from headstart.cli.train import train
from headstart.core import Settings
from headstart.errors import HeadstartError

DATA_SETTINGS = frozenset({"folder", "image_column", "label_column", "text_column", "group_by", "label", "valid", "test"})
"""What can be said of the data, in Python and on the command line, besides the fields of `Settings`."""

app = typer.Typer(
    name="headstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Everyday")(check)
app.command(rich_help_panel="Everyday")(train)
app.command(rich_help_panel="Everyday")(more)
app.command(rich_help_panel="Everyday")(resume)
app.command(rich_help_panel="Everyday")(predict)
app.command(rich_help_panel="Everyday")(evaluate)
app.command(rich_help_panel="Everyday")(inspect)
app.command(rich_help_panel="Better data, better model")(choose)
app.command(rich_help_panel="Better data, better model")(suggest)
app.command(rich_help_panel="First steps")(demo)
app.command(rich_help_panel="First steps")(doctor)


def _show_version(asked: bool) -> bool:
    """What was asked; shows the version and leaves if so."""
    if asked:
        try:
            typer.echo(f"headstart {version('headstart')}")
        except PackageNotFoundError:
            typer.echo("headstart (not installed)")
        raise typer.Exit
    return asked


@app.callback()
def headstart(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune a pretrained model on your labelled images, in minutes, on the machine you own.

    To see it work, without images of your own:  headstart demo

    With a folder that has one subfolder per class:

      headstart check photos/               what is wrong with the images

      headstart train photos/               a usable model within seconds

      headstart train photos/ --epochs 3    then all layers, for three epochs

      headstart more last --epochs 3        and three more

      headstart predict last more_photos/   what the newest model says
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    raise SystemExit(main(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command line `arguments` (those of this process if None); says on stderr what went wrong."""
    _survive_any_text()
    try:
        result = get_command(app).main(None if arguments is None else list(arguments), "headstart", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
        if code == 130:
            _say("Stopped.")
        return code
    except BrokenPipeError:
        return _reader_gone()
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130
    except HeadstartError as error:
        _say(in_options(str(error)))
        return error.exit_code
    except Exception as error:
        return _foreign(error)


def in_options(message: str) -> str:
    """The message with settings as the command line takes them: `--base-lr 3e-5` where Python says `base_lr=3e-5`."""
    names = sorted({field.name for field in fields(Settings)} | DATA_SETTINGS, key=len, reverse=True)
    told = re.sub(r"\bpretrained=False\b", "--no-pretrained", message)
    return re.sub(rf"(?<![\w-])({'|'.join(names)})=(?=[\w.\"])", lambda found: f"--{found[1].replace('_', '-')} ", told)


def _foreign(error: Exception) -> int:
    """The exit code for what is no error of ours: the command parser's complaints, an abort, or a bug.

    The parser's exceptions live in click or inside typer, depending on its version, hence by name.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "Abort" in kinds:
        _say("Stopped.")
        return 130
    if "Exit" in kinds:
        return int(getattr(error, "exit_code", 0))
    if "NoArgsIsHelpError" in kinds:
        typer.echo(str(getattr(error, "message", "")), err=True, nl=False)  # with rich the help is already on the screen
        return 2
    if "ClickException" in kinds:
        _say(_usage_message(error))
        return 2
    _say(_bug_report(error))
    return 1


def _usage_message(error: Any) -> str:
    """What was wrong with the command line, with the nearest name that exists and where help is."""
    context = getattr(error, "ctx", None)
    path = "headstart" if context is None else context.command_path
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "NoSuchOption" in kinds and context is not None:
        known = [name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        options = [name for name in known if name.startswith("-")]
        message = f'there is no option "{error.option_name}" for {path}.' + _nearest(error.option_name, options)
    elif context is not None and context.invoked_subcommand is None and error.message.startswith("No such command"):
        asked = error.message.split("'")[1] if "'" in error.message else ""
        commands = sorted(context.command.commands)
        message = f'there is no command "{asked}".{_nearest(asked, commands)} There are: {", ".join(commands)}.'
    else:
        message = error.format_message()
    return f"{message}\nHelp: {path} --help"


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _bug_report(error: Exception) -> str:
    """A short message about an unexpected error; the traceback goes to a file, or on the screen where none can be written."""
    text = "".join(traceback.format_exception(error))
    first = (str(error).strip().splitlines() or [""])[0]
    what = f"headstart met an error that it did not expect: {type(error).__name__}: {first[:300]}"
    command = "command: " + " ".join(["headstart", *sys.argv[1:]])
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        number, name = tempfile.mkstemp(prefix=f"headstart-error-{stamp}-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{command}\npython: {sys.version}\nplatform: {sys.platform}\n\n{text}")
    except OSError:
        return f"{what}\n{text}"
    return (
        f"{what}\nThis is a bug, or something wrong with the installation. The full report is in {Path(name)}; please send it "
        "along when you tell us. `headstart doctor` checks the installation."
    )


def _reader_gone() -> int:
    """Ends quietly after `headstart ... | head`; the interpreter's own last flush must not complain either."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = io.StringIO()
    return 1


def _survive_any_text() -> None:
    """File names that are no text, and terminals that know few characters, must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(message: str) -> None:
    typer.echo(message if message == "Stopped." else f"headstart: {message}", err=True)
