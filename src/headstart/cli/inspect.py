"""`headstart inspect`: what a model learned, what is wrong with its data, and how far to trust it, as one page."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from headstart.cli.options import Json
from headstart.cli.output import results_on_stdout, write_line
from headstart.train.observers import choose
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import printable


def inspect(
    run: Annotated[str, typer.Argument(help="A run folder, or last: the newest run under runs/.")],
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Only these, with commas: duplicates,labels,shortcuts,confusion,slices,losses,drift,evidence,occlusion,neighbours,influence,"
            "dynamics,calibration,summary.",
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Look into this image alone: why does the model say that of it? May be given again."),
    ] = None,
    beside: Annotated[
        str | None, typer.Option(metavar="RUN", help="Inspect this run too, and write a page with both, answer by answer.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Where the data is now, if it has moved.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the page there: a .html.", show_default="RUN/report.html")
    ] = None,
    fixes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what would mend the data into a label file: a .csv, for train --labels."),
    ] = None,
    json: Json = False,
) -> None:
    """Look into a model: what its layers look at before and after training, which labels look wrong, where it errs and why.

    Writes one page that opens anywhere, RUN/report.html, and the same as JSON in RUN/findings/.

      headstart inspect last

      headstart inspect last --only labels,drift

      headstart inspect last --image photos/cat/1.jpg

      headstart inspect last --fixes fixes.csv    then look at it, and: headstart train photos/ --from last --labels fixes.csv
    """
    _require_writable(output, fixes)
    with results_on_stdout(json) as stdout:
        from headstart.learner import load
        from headstart.store.runs import Run

        observer = choose(json=json, stdout=stdout)
        try:
            if beside is not None:
                Run.open(beside)  # told now, and not after minutes
            report = load(run, data=data, observer=observer).inspect(only or (), image or None)
            other = None if beside is None else load(beside, observer=observer).inspect(only or (), image or None)
        finally:
            observer.close()
    page = report.page
    if other is not None:
        page = report.save(output or _free((page.parent if page else Path()) / "beside.html", page is not None), other)
    elif output is not None or page is None:
        page = report.save(output or _free(Path("report.html"), False))
    mended = report.fixes(fixes) if fixes is not None and report.mends else None
    if json:
        both = {} if other is None else {"beside": other.json()}
        write_line(
            stdout, to_line({**report.json(), **both, "page": str(page.absolute()), "fixes": mended and str(mended.absolute())})
        )
        return
    for found in report.findings:
        typer.echo(f"{found.question}\n  {printable(found.headline)}")
    typer.echo(f"The page: {printable(str(page))}")
    if fixes is not None and mended is None:
        typer.echo(f"There is nothing to mend, so {printable(str(fixes))} is not written.")
    if mended is not None:
        typer.echo(
            f"Look through it and strike out what you know better: {printable(str(mended))}\n"
            f"Then: headstart train DATA --from {quote(run)} --labels {quote(str(mended))} --epochs 1"
        )


def _require_writable(output: Path | None, fixes: Path | None) -> None:
    """Raises `UsageError` or `BadSetting` for files that cannot be written: told now, and not after minutes."""
    from headstart.errors import UsageError
    from headstart.report.page import require_new

    if output is not None and (output.suffix.lower() not in (".html", ".htm") or output.is_dir()):
        raise UsageError(
            f'--output writes a .html, not "{output.suffix or output.name}". Try: --output {output.stem or "report"}.html'
        )
    if fixes is None:
        return
    if fixes.suffix.lower() != ".csv":
        raise UsageError(f'--fixes writes a .csv, not "{fixes.suffix or fixes.name}". Try: --fixes {fixes.stem or "fixes"}.csv')
    require_new(fixes)


def _free(page: Path, ours: bool) -> Path:
    """The page, or the next free name where there may be one that is not ours."""
    names = (page.with_stem(f"{page.stem}-{number}") for number in range(2, 1000))
    return page if ours or not page.exists() else next(name for name in names if not name.exists())
