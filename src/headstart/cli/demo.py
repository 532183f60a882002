"""`headstart demo`: find the broken solar cells; what a training does and why, told while it happens."""

import csv
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import Json
from headstart.cli.output import process_start, results_on_stdout
from headstart.cli.train import train_dataset
from headstart.core import Dataset, Settings
from headstart.errors import MissingExtra
from headstart.train.observers import choose

if TYPE_CHECKING:
    from headstart.learner import Learner

WIDTH = 100
TABLE = Path(__file__).parent / "solar_cells.csv"
DOUBTFUL = {0.3333333333333333: "one third", 0.6666666666666666: "two thirds"}


def demo(
    epochs: Annotated[int, typer.Option(help="Complete passes with all layers learning, after the head. 0: the head alone.")] = 3,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run folder.", show_default="runs/solar_cells-<n>")
    ] = None,
    json: Json = False,
) -> None:
    """See a whole training: a model learns to find broken solar cells, in a few minutes, without images of your own.

    Needs the package elpv-dataset: pip install "headstart\\[demo]"
    """
    settings = Settings(epochs=epochs)
    began = process_start()
    with results_on_stdout(json) as stdout:
        pictures = cells_folder()
        data = solar_cells(pictures)
        typer.echo(introduction(data, epochs))
        learner = train_dataset(data, settings, run, choose(json=json, stdout=stdout), began)
        if learner.stopped:
            raise typer.Exit(130)
        typer.echo(predictions(learner, data, doubtful_cells(pictures)))
        typer.echo(closing(learner))


def cells_folder() -> Path:
    """The folder of the installed package elpv-dataset that holds its pictures.

    Raises:
        MissingExtra: with the pip command.
    """
    spec = find_spec("elpv_dataset")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    if not places or not (Path(places[0]) / "data" / "images").is_dir():
        raise MissingExtra(
            "the demo needs the pictures of the package elpv-dataset. "
            'Install it with: pip install "headstart[demo]"  (or: pip install elpv-dataset)'
        )
    return Path(places[0]) / "data"


def solar_cells(pictures: Path) -> Dataset:
    """The cells of which the experts were certain, with the split that every headstart has: a table in this package."""
    from headstart.data.sources import image_csv

    return image_csv(TABLE, folder=pictures)


def doubtful_cells(pictures: Path) -> list[tuple[Path, str]]:
    """One cell for each degree of doubt: the experts' probability that it is broken was one or two thirds."""
    found: dict[float, Path] = {}
    with (pictures / "labels.csv").open(encoding="utf-8") as file:
        for line in csv.reader(file, delimiter=" ", skipinitialspace=True):
            found.setdefault(float(line[1]), pictures / line[0])
    return [(found[value], words) for value, words in DOUBTFUL.items() if value in found]


def introduction(data: Dataset, epochs: int) -> str:
    """What is about to happen and why."""
    parts = Counter(record.part for record in data.records)
    labels = Counter(record.target for record in data.records)
    task = f"""{len(data.records):,} cells were photographed in the dark while a current made them glow; cracks stay dark.
        Experts called {labels["functional"]:,} of them functional and {labels["defective"]:,} defective.
        {parts["train"]:,} of the pictures are for training. The other {parts["valid"]:,} are the validation set: the model
        never learns from them, so the columns valid_loss and error_rate tell how it does on cells that it has not seen."""
    first = """Step 1, row 0: the head. The backbone has already learned, from a million everyday photographs, to turn a picture
        into numbers that describe it. It stays frozen; only a new last layer, the head, is fitted to these numbers. That takes
        seconds, and is a usable model."""
    second = (
        f"""Step 2, rows 1 to {epochs}: all layers. The whole model is trained, later layers faster than earlier ones, in {epochs}
        complete passes over the training pictures, each time mirrored or not and mixed in pairs. This takes minutes.
        The row with the lowest valid_loss is kept."""
        if epochs
        else "Step 2 would train all layers; with --epochs 0 it is left out."
    )
    paragraphs = ["The task: find the broken solar cells.", task, first, second]
    return "\n\n".join(fill(" ".join(text.split()), WIDTH) for text in paragraphs) + "\n"


def predictions(learner: "Learner", data: Dataset, doubtful: list[tuple[Path, str]]) -> str:
    """What the model says of four validation cells and of two doubtful ones; a picture of it goes into the run folder."""
    from headstart.modalities.image import decode
    from headstart.report.results import Shown, percent, png
    from headstart.store.atomic import write_bytes

    cells = [(Path(str(record.source)), record.target) for record in _chosen(data)]
    inputs = [path for path, _ in cells] + [path for path, _ in doubtful]
    truths = [truth for _, truth in cells] + [None] * len(doubtful)
    doubts = [""] * len(cells) + [words for _, words in doubtful]
    lines, shown = (
        ["", "Four cells of the validation set, and two that the model has never met because even the experts were not sure:"],
        [],
    )
    for path, truth, doubt, prediction in zip(inputs, truths, doubts, learner.predictions(inputs), strict=True):
        row = prediction.row()
        probability = row["probs"][row["label"]]
        known = f"truly {truth}" if truth else f"experts: broken with probability {doubt}"
        lines.append(f"  {path.name}  {row['label']:<10} {percent(probability):>6}   ({known})")
        shown.append(Shown(path.name, decode(path).pixels, row["label"], probability, truth))
    picture = learner.run.path / "predictions.png"
    write_bytes(picture, png(shown, columns=3, title="What the model says of six solar cells"))
    return "\n".join([*lines, f"The same as a picture: {picture}"])


def closing(learner: "Learner") -> str:
    """Where everything is, and what to do next."""
    return f"""
All files are in {learner.run.path}:
  bundle/         the model and its card (README.md); this folder is all that predict needs
  history.jsonl   the table; curve.svg is its picture
  plan.json       how the model was made; audit.json, what was found in the pictures

Now with your own pictures, one folder for each class:  headstart train photos/ --epochs 3

The pictures: elpv-dataset, Buerhop-Lutz et al. 2018, for non-commercial use (licence CC BY-NC-SA 4.0)."""


def _chosen(data: Dataset) -> list:
    """Two validation cells of each class, spread over the set."""
    chosen = []
    for label in data.classes:
        of_class = [record for record in data.records if record.target == label and record.part == "valid"]
        chosen += [of_class[len(of_class) // 3], of_class[2 * len(of_class) // 3]]
    return chosen
