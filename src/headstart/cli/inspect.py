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
            help="Only these, with commas: duplicates,labels,shortcuts,confusion,losses,drift,evidence,calibration.",
        ),
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

      headstart inspect last --fixes fixes.csv    then look at it, and: headstart train photos/ --from last --labels fixes.csv
    """
    from headstart.errors import UsageError

    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f'--output writes a .html, not "{output.suffix or output.name}". Try: --output {output.stem}.html')
    names = [name.strip() for name in (only or "").split(",") if name.strip()]
    with results_on_stdout(json) as stdout:
        from headstart.learner import load
        from headstart.report.page import require_new

        if fixes is not None:
            require_new(fixes)  # told now, and not after minutes
        observer = choose(json=json, stdout=stdout)
        try:
            report = load(run, data=data, observer=observer).inspect(*names)
        finally:
            observer.close()
    page = None if report.folder is None else report.folder / "report.html"
    if output is not None or page is None:
        page = report.save(output or Path("report.html"))
    mended = None if fixes is None else report.fixes(fixes)
    if json:
        write_line(stdout, to_line({**report.json(), "page": str(page.absolute()), "fixes": mended and str(mended.absolute())}))
        return
    for found in report.findings:
        typer.echo(f"{found.question}\n  {printable(found.headline)}")
    typer.echo(f"The page: {printable(str(page))}")
    if mended is not None:
        typer.echo(
            f"Look through it and strike out what you know better: {printable(str(mended))}\n"
            f"Then: headstart train DATA --from {quote(run)} --labels {quote(str(mended))} --epochs 1"
        )
