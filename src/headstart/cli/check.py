"""`headstart check`: what is in a folder of images and what is wrong with it, without training."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import GroupBy, ImageColumn, ImageFolder, Json, Label, LabelColumn
from headstart.cli.output import results_on_stdout


def check(
    path: Annotated[str, typer.Argument(help="A folder with one subfolder per class, or a .csv or .tsv (image,label).")],
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the sample sheet goes (.png or .jpg).", show_default="check-<data>.png"),
    ] = None,
    label: Label = None,
    group_by: GroupBy = None,
    folder: ImageFolder = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    json: Json = False,
) -> None:
    """Look at images before training: broken files, duplicates, labels that contradict each other, small classes.

    PATH is never written to. A sample sheet shows some images of every class.

      headstart check photos/
    """
    with results_on_stdout(json) as stdout:
        raise NotImplementedError
