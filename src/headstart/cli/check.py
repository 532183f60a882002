"""`headstart check`: what is in a folder of images and what is wrong with it, without training."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import (
    Classes,
    GroupBy,
    ImageColumn,
    ImageFolder,
    Json,
    Label,
    LabelColumn,
    Masks,
    TaskName,
    TextColumn,
    Void,
    classes_in,
    listed,
)
from headstart.cli.output import results_on_stdout, told_if_slow, write_line
from headstart.core import Dataset
from headstart.errors import UsageError
from headstart.modalities._scan import counted
from headstart.train.observers import choose
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import printable

if TYPE_CHECKING:
    from headstart.report.check import Checked


def check(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder with one subfolder per class, or with images/ and masks/; or a .csv or .tsv (image,label)."
        ),
    ],
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the sample sheet goes: a .png.", show_default="check-<data>.png")
    ] = None,
    label: Label = None,
    group_by: GroupBy = None,
    folder: ImageFolder = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    masks: Masks = None,
    classes: Classes = None,
    void: Void = None,
    task: TaskName = None,
    json: Json = False,
) -> None:
    """Look at images before training: broken files, duplicates, labels that contradict each other, small classes.

    PATH is never written to. A sample sheet shows some images of every class. What was decoded is kept for training.

      headstart check photos/
    """
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f'--sheet writes a .png, not "{sheet.suffix or sheet.name}". Try: --sheet {sheet.stem}.png')
    with results_on_stdout(json) as stdout:
        from headstart.data._paths import outside
        from headstart.data.sheet import png
        from headstart.data.sources import open_path
        from headstart.report.check import check as check_dataset
        from headstart.store.atomic import write_bytes

        with told_if_slow(f"Listing the files of {printable(path)} ..."):
            data = open_path(
                path,
                folder,
                image_column,
                listed(label_column) or None,
                label=label,
                group_by=group_by,
                text_column=text_column,
                mask_folder=masks,
                classes=classes_in(classes),
                void=void,
            )
        target = default_sheet(data) if sheet is None else outside(data, sheet)
        observer = choose(json=json, stdout=stdout)
        try:
            found = check_dataset(data, on_progress=observer.show, task=task)
        finally:
            observer.close()
        if found.sheet is not None:
            write_bytes(target, png(found.sheet))
    shown = None if found.sheet is None else target
    if json:
        write_line(stdout, to_line({**found.audit.json(), "notes": list(data.notes), "sheet": shown and str(shown.absolute())}))
        return
    for line in as_lines(found, shown):
        typer.echo(line)


def as_lines(found: "Checked", sheet: Path | None) -> list[str]:
    """What was found, for people: how many examples of which class, what is wrong, where the picture is."""
    classes = sorted(found.audit.classes.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{name} {count:,}" for name, count in classes[:12]).replace("\n", "\\n")
    more = f", and {len(classes) - 12:,} more classes" if len(classes) > 12 else ""
    usable = counted(len(found.audit.usable()), f"usable {found.dataset.item}")
    lines = [f"{usable} with {found.learned}{': ' if told else ''}{told}{more}.", *found.lines]
    return [*map(printable, lines), *([] if sheet is None else [f"Sample sheet: {printable(str(sheet))}"])]


def default_sheet(data: Dataset) -> Path:
    """`check-<data>.png` in the current folder, or in the one for temporary files when this folder is the data."""
    name = "".join(one if one.isalnum() or one in "-_." else "_" for one in data.name)[:60] or "data"
    here = Path.cwd()
    if data.root is not None and here.resolve().is_relative_to(Path(data.root).resolve()):
        here = Path(tempfile.gettempdir())
    return here / f"check-{name}.png"
