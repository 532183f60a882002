"""`headstart predict`: what a model says of images, streamed to the screen, as JSON lines, or into a file."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.options import PosteriorName, Tta
from headstart.cli.output import results_on_stdout, write_line
from headstart.core import Prediction, Row, Spread
from headstart.errors import UsageError
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import printable


def predict(
    run: Annotated[str, typer.Argument(help="A run or bundle folder, or last: the newest run under runs/.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Image files and folders of images; texts or .txt files; tables of numbers.")
    ],
    tta: Tta = 1,
    posterior: PosteriorName = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout: one object per image.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a table with every probability: .csv, or .jsonl for JSON lines.")
    ] = None,
    masks: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where masks go, for a model that tells the class of every place.")
    ] = Path("predicted_masks"),
) -> None:
    """Say what images show, what texts say, what numbers mean.

    An input that cannot be read gets a line that says why, and the rest goes on. The exit code is 1 only when none could be read.

      headstart predict last photo.jpg more_photos/ --output answers.csv
    """
    _check_output(output)
    rows: list[Row] = []
    n_read = n_seen = 0
    with results_on_stdout(json) as stdout:
        from headstart.data._paths import outside
        from headstart.learner import load

        learner = load(run)
        for prediction in learner.predictions(inputs, tta, posterior):
            if isinstance(prediction, Spread):
                prediction = prediction.saved(outside(learner.data, masks))
            row = prediction.row()
            n_seen += 1
            n_read += row.get("error") is None
            if output is not None:
                rows.append(row)
            if json or output is None:
                write_line(stdout, to_line(row) if json else in_words(prediction, row))
    if output is not None:
        _write(rows, output)
        typer.echo(f"{n_seen:,} inputs, {n_read:,} answers: {printable(str(output))}", err=json)
    if not n_read:
        typer.echo(
            "headstart: none of the inputs could be read." if n_seen else "headstart: there was nothing to predict on.", err=True
        )
        raise typer.Exit(1)


def in_words(prediction: Prediction, row: Row) -> str:
    """One line for people: `cats/1.jpg: cat 93 %`, or why the image could not be read."""
    name = printable(str(row["id"])).replace("\n", "\\n")
    if row.get("error") is not None:
        return f"{name}: not read: {printable(str(row['error']))}"
    return f"{name}: {repr(prediction).removeprefix('Prediction(').removesuffix(')')}"


def as_csv(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as lines of CSV with a heading; each probability has a column `probs.<class>`.

    Rows before the first one that could be read are held back, because only that one knows the columns.
    """
    waiting: list[Row] = []
    headings: list[str] | None = None
    for row in rows:
        waiting.append(row)
        if row.get("error") is not None and headings is None:
            continue
        if headings is None:
            headings = list(_flat(row))
            yield _csv_line(headings)
        yield from (_csv_line([_flat(one).get(heading) for heading in headings]) for one in waiting)
        waiting = []
    if waiting:
        headings = list(_flat(waiting[0]))
        yield _csv_line(headings)
        yield from (_csv_line([_flat(one).get(heading) for heading in headings]) for one in waiting)


def _flat(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": part for name, part in value.items()})
        else:
            flat[key] = to_line(value) if isinstance(value, list | tuple) else value
    return flat


def _csv_line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow("" if value is None else value for value in values)
    return buffer.getvalue()


def _check_output(output: Path | None) -> None:
    """Refuses before the work what could only fail after it."""
    if output is None:
        return
    if output.suffix.lower() not in (".csv", ".jsonl"):
        ending = output.suffix or output.name
        raise UsageError(f'--output writes .csv or .jsonl, not "{ending}". Try: --output {output.stem}.csv')
    if output.is_dir():
        raise UsageError(f"--output {output}: that is a folder. Name a file in it.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.absolute().parent}. Make it first.")


def _write(rows: list[Row], output: Path) -> None:
    from headstart.store.atomic import write_text

    lines = (to_line(row) + "\n" for row in rows) if output.suffix.lower() == ".jsonl" else as_csv(rows)
    write_text(output, "".join(lines))
