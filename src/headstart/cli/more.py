"""`headstart more`: go on training a finished run."""

import time
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import Json
from headstart.cli.output import results_on_stdout
from headstart.cli.train import tell
from headstart.errors import BadSetting
from headstart.train.observers import choose


def more(
    run: Annotated[str, typer.Argument(help="A run folder, or last: the newest run under runs/.")],
    epochs: Annotated[int, typer.Option(help="Further complete passes over the training images, all layers learning.")],
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Where the images are now, if they have moved.")] = None,
    json: Json = False,
) -> None:
    """Train a run for more epochs: the table goes on, in the same run folder, from the row that was kept.

    headstart more last --epochs 3
    """
    if epochs < 1:
        raise BadSetting(f"--epochs must be at least 1, got {epochs}: how many more complete passes over the training images.")
    began = time.perf_counter()
    with results_on_stdout(json) as stdout:
        from headstart.learner import load

        observer = choose(json=json, stdout=stdout)
        try:
            learner = load(run, data, observer).fine_tune(epochs)
            tell(learner, observer, began)
        finally:
            observer.close()
    if learner.stopped:
        raise typer.Exit(130)
