"""`headstart suggest`: which unlabelled examples to label next, with a file to fill in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import Json, PosteriorName
from headstart.cli.output import results_on_stdout, write_line
from headstart.errors import UsageError
from headstart.train.observers import choose
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import printable

if TYPE_CHECKING:
    from headstart.learner.suggesting import Suggestions


def suggest(
    run: Annotated[str, typer.Argument(help="A run or bundle folder, or last: the newest run under runs/.")],
    pool: Annotated[
        list[str], typer.Argument(help="Unlabelled images and folders of them; texts or .txt files; tables of numbers.")
    ],
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="How many to label next.")] = 50,
    by: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="unsure, cover, epig, logdet, bald, batch_bald, or entropy.", show_default="unsure"),
    ] = None,
    posterior: PosteriorName = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The label file to fill in: a .csv.")] = Path("suggestions.csv"),
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A picture of them: a .png.", show_default="beside the label file")
    ] = None,
    json: Json = False,
) -> None:
    """Say which of many unlabelled images are worth a label, and write a file in which labels are filled in.

    Images that cannot be read, that the model knows, and copies are left out, with a count. POOL is never written to.

      headstart suggest last unlabelled/ -n 50

    Then fill in the column label, and train on:

      headstart train photos/ --from last --labels suggestions.csv --epochs 1
    """
    if output.suffix.lower() != ".csv":
        raise UsageError(f'--output writes a .csv, not "{output.suffix or output.name}". Try: --output {output.stem}.csv')
    picture = output.with_suffix(".png") if sheet is None else sheet
    if picture.suffix.lower() != ".png":
        raise UsageError(f'--sheet writes a .png, not "{picture.suffix or picture.name}". Try: --sheet {picture.stem}.png')
    with results_on_stdout(json) as stdout:
        from headstart.learner import load

        observer = choose(json=json, stdout=stdout)
        try:
            learner = load(run, observer=observer)
            found = learner.suggest(pool, count, by, posterior)
            file, shown = _written(found, output, picture, pool)
        finally:
            observer.close()
    if json:
        for each in found:
            write_line(stdout, to_line(each.row()))
        write_line(
            stdout,
            to_line({"labels": str(file.absolute()), "sheet": shown and str(shown.absolute()), "notes": list(found.notes)}),
        )
        return
    for note in found.notes:
        typer.echo(printable(note))
    for each in list(found)[:10]:
        typer.echo(f"{printable(each.path or each.id)}: {printable(each.reason)}")
    if len(found) > 10:
        typer.echo(f"... and {len(found) - 10:,} more")
    typer.echo(
        f"Fill in the column label: {printable(str(file))}{'' if shown is None else f'   What they look like: {printable(str(shown))}'}"
    )
    typer.echo(f"Then: headstart train DATA --from {printable(run)} --labels {printable(str(file))} --epochs 1")


def _written(found: "Suggestions", output: Path, picture: Path, pool: list[str]) -> tuple[Path, Path | None]:
    """The label file and the picture, outside the pool."""
    from headstart.store.atomic import write_bytes

    for given in pool:
        inside = Path(given).absolute()
        if inside.is_dir() and any(target.absolute().is_relative_to(inside) for target in (output, picture)):
            raise UsageError(
                f"{output} lies in {given}, which is never written to. Name a file elsewhere: --output ../{output.name}"
            )
    file, drawn = found.save(output), found.png()
    if drawn is None:
        return file, None
    write_bytes(picture, drawn)
    return file, picture
