"""Options that several commands share: which images, which labels."""

from typing import Annotated

import typer

DATA = "Which images, which labels"

Label = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Take labels from file names: the first group of the expression.", rich_help_panel=DATA),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX|COLUMN",
        help="Images whose names agree in the first group (or rows that agree in the column) stay together in the split.",
        rich_help_panel=DATA,
    ),
]
ImageFolder = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="For a table: where its image paths start, if not beside it.", rich_help_panel=DATA),
]
ImageColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="For a table: the column with the image paths.", rich_help_panel=DATA)
]
TextColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="For a table of texts: the column with the texts.", rich_help_panel=DATA)
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="For a table: the column with the labels; given several times, or as a,b,c: one for each label or number.",
        rich_help_panel=DATA,
        show_default=False,
    ),
]
Masks = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Where the masks of the images are, if not in folders called so beside them.", rich_help_panel=DATA
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES|FILE",
        help="For masks: the names of the numbers 0, 1, 2, ... as sky,road,car; or a text file with a name in each line.",
        rich_help_panel=DATA,
    ),
]
Void = Annotated[
    list[int] | None,
    typer.Option(metavar="NUMBER", help="For masks: a number of pixels of which nobody knows the class.", rich_help_panel=DATA),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="What the labels are for: single_label, regression, ... (a file in tasks/, or of another package).",
        rich_help_panel=DATA,
        show_default="the labels tell",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable: JSON lines on stdout, words on stderr.")]
Tta = Annotated[
    int,
    typer.Option(
        "--tta", metavar="N", min=1, help="Look at N views of each image (mirrored, moved) and average. N times as slow."
    ),
]


PosteriorName = Annotated[
    str | None,
    typer.Option(
        "--posterior",
        metavar="NAME",
        help="Who answers: laplace, hmc, bootstrap, temperature, or none for point estimates; one that the run lacks is fitted first.",
        show_default="that of the run",
    ),
]


def classes_in(given: str | None) -> str | tuple[str, ...] | None:
    """Names, where there are commas between them, else a file."""
    return listed([given]) if given is not None and "," in given else given


def listed(values: list[str] | None) -> tuple[str, ...]:
    """Names given one by one, or several with commas between them."""
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())
