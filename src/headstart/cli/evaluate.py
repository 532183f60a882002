"""`headstart evaluate`: how good a model is on labelled images, with error bars."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from headstart.cli.options import ImageColumn, ImageFolder, Label, LabelColumn, Masks, PosteriorName, TextColumn, Tta, listed
from headstart.cli.output import results_on_stdout, write_line
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import number, printable


def evaluate(
    run: Annotated[str, typer.Argument(help="A run or bundle folder, or last: the newest run under runs/.")],
    path: Annotated[
        str | None,
        typer.Argument(help="Labelled images: a folder, .csv or .tsv.", show_default="the run's validation images"),
    ] = None,
    per_class: Annotated[
        bool,
        typer.Option("--per-class", help="Also how many images of each class are recognised, and how many answers are right."),
    ] = False,
    tta: Tta = 1,
    posterior: PosteriorName = None,
    label: Label = None,
    folder: ImageFolder = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    masks: Masks = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout: {metric: {value, low, high, n}}.")] = False,
) -> None:
    """Measure a model on labelled examples, with 95 % intervals. They are read as the run has read its own, unless an option says more.

    headstart evaluate last photos/test
    """
    with results_on_stdout(json) as stdout:
        from headstart.learner import load

        learner = load(run)
        asked = {
            "folder": folder,
            "image_column": image_column,
            "label_column": listed(label_column) or None,
            "text_column": text_column,
            "label": label,
            "masks": masks,
        }
        reading = {name: value for name, value in asked.items() if value is not None}
        found = learner.evaluate(path, per_class=per_class, tta=tta, reading=reading, posterior=posterior)
        measured = {name: value.json() for name, value in found.items()}
    if json:
        write_line(stdout, to_line(measured))
        return
    for line in as_lines(measured):
        typer.echo(line)


def as_lines(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each metric, values below each other."""
    whole = {name: one for name, one in measured.items() if "." not in name}
    width = max(map(len, whole), default=0)
    lines = [f"{name:<{width}}  {_in_words(one)}  n = {one['n']:,}" for name, one in whole.items()]
    lines += _table({name: one for name, one in measured.items() if "." in name})
    if lines:
        lines.append("In brackets: the 95 % interval.")
    return lines


def _in_words(one: Mapping[str, Any]) -> str:
    if not one["n"]:
        return "-"
    known = one.get("low") is not None and one.get("high") is not None
    return number(one["value"]) + (f"  [{number(one['low'])}, {number(one['high'])}]" if known else "")


def _table(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The figures of each class, a line a class: `recall.cat` stands in the column recall of the line cat."""
    places = {name: name.partition(".")[::2] for name in measured}
    figures = list(dict.fromkeys(figure for figure, _ in places.values()))
    lines = {name: [printable(name)] for _, name in places.values()}
    for key, (_, name) in places.items():
        lines[name] += [_in_words(measured[key]), f"{measured[key]['n']:,}"]
    cells = [["", *(word for figure in figures for word in (figure, "of"))], *lines.values()] if measured else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
