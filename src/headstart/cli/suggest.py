"""`headstart suggest`: which unlabelled examples to label next, with a file to fill in."""

from glob import has_magic
from itertools import chain, count
from pathlib import Path
from shlex import quote
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
    n: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="How many to label next.")] = 50,
    by: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="unsure, cover, epig, logdet, bald, batch_bald, or entropy.", show_default="unsure"),
    ] = None,
    posterior: PosteriorName = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The label file to fill in: a .csv.", show_default="suggestions.csv, or the next free"),
    ] = None,
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
    output = _free() if output is None else output
    if output.suffix.lower() != ".csv":
        raise UsageError(f'--output writes a .csv, not "{output.suffix or output.name}". Try: --output {output.stem}.csv')
    picture = output.with_suffix(".png") if sheet is None else sheet
    if picture.suffix.lower() != ".png":
        raise UsageError(f'--sheet writes a .png, not "{picture.suffix or picture.name}". Try: --sheet {picture.stem}.png')
    _require_outside(pool, output, picture)
    with results_on_stdout(json) as stdout:
        from headstart.learner import load
        from headstart.learner.suggesting import require_unfilled

        require_unfilled(output)
        observer = choose(json=json, stdout=stdout)
        try:
            learner = load(run, observer=observer)
            found = learner.suggest(pool, n, by, posterior)
            file, shown = _written(found, output, picture)
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
    typer.echo(_next_step(found, run, str(file)))


def _next_step(found: "Suggestions", run: str, file: str) -> str:
    """How to go on, once labels were made."""
    if found.of_places:
        return f"Make a mask for each, put both beside the others, and: headstart more {quote(run)} --data DATA --epochs 1"
    if any(each.path is None for each in found):
        return f"Put them into your table with their labels, and: headstart more {quote(run)} --data TABLE --epochs 1"
    return f"Then: headstart train DATA --from {quote(run)} --labels {quote(file)} --epochs 1"


def _free() -> Path:
    """The first name that is not taken, so that no label is lost that somebody has filled in."""
    numbers = chain([""], (f"-{place}" for place in count(2)))
    return next(file for number in numbers if not (file := Path(f"suggestions{number}.csv")).exists())


def _require_outside(pool: list[str], *targets: Path) -> None:
    """Raises `UsageError` for a target in a folder of the pool."""
    for given in pool:
        place = Path(given) if Path(given).is_dir() or not has_magic(given) else Path(given).parent
        if place.is_dir() and any(target.resolve().is_relative_to(place.resolve()) for target in targets):
            raise UsageError(
                f"{targets[0]} lies in {given}, which is never written to. Name a file elsewhere: --output ../{targets[0].name}"
            )


def _written(found: "Suggestions", output: Path, picture: Path) -> tuple[Path, Path | None]:
    """The label file and the picture."""
    from headstart.store.atomic import write_bytes

    file, drawn = found.save(output), found.png()
    if drawn is None:
        return file, None
    write_bytes(picture, drawn)
    return file, picture
