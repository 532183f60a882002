"""`headstart choose`: which backbone suits the data, before anything is trained."""

from shlex import quote
from typing import Annotated

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
from headstart.core import Settings
from headstart.train.observers import choose as observer_for
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import printable


def choose(
    path: Annotated[str, typer.Argument(help="As for train: a folder with one subfolder per class, or a .csv or .tsv.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to choose from: names as train takes them; given several times, or as a,b,c.",
            show_default="those installed with headstart",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(metavar="PIXELS", help="Sides of the images, each with each backbone.", show_default="the backbone's own"),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="last|layers",
            help="What a head sees: the last layer, or all layers; given twice, or as last,layers, each with each backbone.",
            show_default="last",
        ),
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    json: Json = False,
) -> None:
    """Rank backbones for PATH by what their features promise. One pass over the images each; no validation part is needed.

    For each a head is solved on all labelled images; "loss left out" is its loss on images that it has not seen, "evidence" how
    probable the labels are under it.

      headstart choose photos/

      headstart choose photos/ --backbone small,medium,vit_small_patch16_224 --size 160 --size 224
    """
    settings = Settings(task=task, device=device)
    with results_on_stdout(json) as stdout:
        from headstart.data.sources import open_path
        from headstart.learner.choosing import choose as ranked

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
        observer = observer_for(json=json, stdout=stdout)
        try:
            found = ranked(data, listed(backbone), tuple(size or ()), settings, observer, listed(features) or ("last",))
        finally:
            observer.close()
    if json:
        for each in found.candidates:
            write_line(stdout, to_line(each.row()))
        best = {"best": found.best.backbone, "size": found.best.size, "features": found.best.features}
        write_line(stdout, to_line({**best, "notes": list(found.notes)}))
        return
    typer.echo(repr(found))
    best = found.best
    chosen = f"--backbone {quote(best.backbone)}{'' if best.size is None else f' --size {best.size}'}"
    chosen += f" --features {best.features}" if features else ""
    given = any((label, group_by, folder, image_column, label_column, text_column, masks, classes, void, task))
    typer.echo(f"headstart train {quote(path)} {chosen}{'   with what was said of the data here' if given else ''}")
