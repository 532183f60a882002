"""`headstart more` and `headstart resume`: go on with a run, prolonged or interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import Json
from headstart.cli.output import process_start, results_on_stdout
from headstart.cli.train import tell
from headstart.core import Observer
from headstart.errors import BadSetting
from headstart.train.observers import choose

if TYPE_CHECKING:
    from headstart.learner import Learner

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or last: the newest run under runs/.")]
DataPath = Annotated[Path | None, typer.Option(metavar="PATH", help="Where the images are now, if they have moved.")]

ChangedData = Annotated[bool, typer.Option("--changed-data", help="Go on although images were added, removed or written again.")]


def more(
    run: RunName,
    epochs: Annotated[int | None, typer.Option(help="Further complete passes over the training images.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Instead of epochs: how long the whole command may take.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where the images are now. With other images or new classes a new run starts from this one: give all images, "
            "earlier ones too.",
        ),
    ] = None,
    changed_data: ChangedData = False,
    json: Json = False,
) -> None:
    """Train a run for longer: the table goes on, in the same run folder.

    Training goes on from where the learning rate began to fall, as if it had been longer from the start. New images, or a new
    class, make a new run beside it, which says what the model lost and gained; the old one stays as it is.

      headstart more last --epochs 3

      headstart more last --data photos/ --epochs 3
    """
    if (epochs is None) == (minutes is None):
        raise BadSetting("more needs one of --epochs N and --minutes M: how much longer to train.")
    if epochs is not None and epochs < 1:
        raise BadSetting(f"--epochs must be at least 1, got {epochs}: how many more complete passes over the training images.")

    def trained(observer: Observer, began: float) -> "Learner":
        from headstart.learner import load

        return load(run, data, observer, began).more(epochs, minutes=minutes, changed_data=changed_data)

    _watched(trained, json)


def resume(
    run: RunName,
    data: DataPath = None,
    changed_data: ChangedData = False,
    json: Json = False,
) -> None:
    """Finish a run that was interrupted: with the weights and rows it would have had without the interruption.

    headstart resume last
    """

    def trained(observer: Observer, began: float) -> "Learner":
        from headstart import learner

        return learner.resume(run, data, changed_data, observer, began)

    _watched(trained, json)


def _watched(trained: Callable[[Observer, float], "Learner"], json: bool) -> None:
    """Shows a training, ends JSON lines with the summary, and leaves with 130 after Ctrl-C."""
    began = process_start()
    with results_on_stdout(json) as stdout:
        observer = choose(json=json, stdout=stdout)
        try:
            learner = trained(observer, began)
            tell(learner, observer, began)
        finally:
            observer.close()
    if learner.stopped:
        raise typer.Exit(130)
