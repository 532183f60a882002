"""`headstart evaluate`: how good a model is on labelled images, with error bars."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from headstart.cli.options import ImageColumn, ImageFolder, Label, LabelColumn
from headstart.cli.output import results_on_stdout, write_line
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import number


def evaluate(
    run: Annotated[str, typer.Argument(help="A run or bundle folder, or last: the newest run under runs/.")],
    path: Annotated[
        str | None,
        typer.Argument(help="Labelled images: a folder, .csv or .tsv.", show_default="the run's validation images"),
    ] = None,
    label: Label = None,
    folder: ImageFolder = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout: {metric: {value, low, high, n}}.")] = False,
) -> None:
    """Measure a model on labelled images, with 95 % intervals.

    headstart evaluate last photos/test
    """
    with results_on_stdout(json) as stdout:
        from headstart.learner import load

        learner = load(run)
        data = None
        if path is not None:
            from headstart.data.sources import open_path

            data = open_path(path, folder, image_column, label_column, label=label)
        measured = {name: value.json() for name, value in learner.evaluate(data).items()}
    if json:
        write_line(stdout, to_line(measured))
        return
    for line in as_lines(measured):
        typer.echo(line)


def as_lines(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each metric, values below each other."""
    width = max(map(len, measured), default=0)
    lines = []
    for name, one in measured.items():
        known = one.get("low") is not None and one.get("high") is not None
        spread = f"  [{number(one['low'])}, {number(one['high'])}]" if known else ""
        lines.append(f"{name:<{width}}  {number(one['value'])}{spread}  n = {one['n']:,}")
    if lines:
        lines.append("In brackets: the 95 % interval.")
    return lines
