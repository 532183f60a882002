"""`headstart train`: from a folder of images to a model; the chain of calls that `demo` shares."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    DATA,
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
from headstart.cli.output import process_start, results_on_stdout, told_if_slow, write_line
from headstart.core import CHOICES, Dataset, Note, Observer, Settings
from headstart.errors import BadSetting, unknown_name
from headstart.train.observers import JsonLines, choose
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.rows import duration as in_words
from headstart.train.observers.rows import printable
from headstart.train.observers.stream import Stream

if TYPE_CHECKING:
    from headstart.learner import Learner

COURSE = "How to train"
MODEL = "Which model"
OUTPUT = "Where it goes"


def _option(panel: str, words: str, setting: str = "", metavar: str | None = None, default: str | bool = True) -> Any:
    """An option of the command line with its words; for a setting of few words these are its metavar."""
    few = "|".join(filter(None, CHOICES[setting])) if setting else metavar
    return typer.Option(help=words, rich_help_panel=panel, metavar=few, show_default=default)


def train(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder with one subfolder per class, or with images/ and masks/; or a .csv or .tsv (image,label)."
        ),
    ],
    epochs: Annotated[
        int | None, _option(COURSE, "Complete passes with all layers learning. 0, or nothing: the head alone.")
    ] = None,
    minutes: Annotated[
        float | None, _option(COURSE, "Instead of epochs: how long the whole command may take, its model saved within.")
    ] = None,
    method: Annotated[
        str, _option(COURSE, "fine_tune: first the head, then all layers. fit: all layers from the start.", "method")
    ] = "fine_tune",
    head: Annotated[
        str, _option(COURSE, "solve: the head is computed to its optimum. train: by gradient steps.", "head")
    ] = "solve",
    freeze_epochs: Annotated[int, _option(COURSE, "Epochs of the head alone, with --head train.")] = 1,
    base_lr: Annotated[float | None, _option(COURSE, "Peak learning rate; chosen for you if not given.")] = None,
    lr_mult: Annotated[
        float | None,
        _option(COURSE, "How many times faster the last layers learn than the first.", default="100; 10 for masks"),
    ] = None,
    norms: Annotated[
        str | None,
        _option(
            COURSE,
            "What normalisation layers do. adapt: take on the statistics of your images.",
            "norms",
            default="frozen if pretrained, else train",
        ),
    ] = None,
    keep: Annotated[str, _option(COURSE, "Which row's weights to keep.", "keep")] = "best",
    monitor: Annotated[str, _option(COURSE, "The column that tells which row is best.")] = "valid_loss",
    metrics: Annotated[
        list[str] | None,
        _option(COURSE, "Columns of the table, e.g. error_rate,f1,auroc.", default="those of the task: error_rate for classes"),
    ] = None,
    loss: Annotated[
        str | None,
        _option(
            COURSE,
            "How numbers lie around what is predicted. student: some are far off, and pull at nothing.",
            metavar="gaussian|student",
            default="that of the task: gaussian for numbers",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        _option(
            COURSE,
            "Share of the label spread over all classes in the training loss.",
            default="0.1 for texts after a solved head, else 0",
        ),
    ] = None,
    mixup: Annotated[
        float | None, _option(COURSE, "How much training images are mixed in pairs.", default="0.4 after a solved head, else 0")
    ] = None,
    cutmix: Annotated[
        float | None, _option(COURSE, "How much of another image is pasted into each; beside mixup, in turn.", default="0")
    ] = None,
    balance: Annotated[
        str,
        _option(
            COURSE,
            "Let small classes count as much as large ones: by weights, or by drawing every class alike (then an epoch is no "
            "complete pass).",
            "balance",
        ),
    ] = "none",
    weight_decay: Annotated[float, _option(COURSE, "How strongly weights are pulled towards zero.")] = 0.05,
    clip: Annotated[float, _option(COURSE, "Largest norm of the gradient; inf: no limit.")] = 1.0,
    dropout: Annotated[
        float | None,
        _option(
            COURSE, "Share of the numbers that each dropout layer sets to zero in training.", default="0.1 for texts, else 0"
        ),
    ] = None,
    ema: Annotated[
        float | None,
        _option(
            COURSE,
            "Keep an average of the weights, with this decay per step (0.99); 0: none.",
            default="0.998 for texts after a solved head, else 0",
        ),
    ] = None,
    adapters: Annotated[
        int, _option(COURSE, "Freeze the backbone and learn changes of this rank (8) to its layers. 0: all weights learn.")
    ] = 0,
    augment: Annotated[
        str | None,
        _option(
            COURSE,
            "How training images vary. dihedral: also turned and upside down.",
            "augment",
            default="flip; light for masks",
        ),
    ] = None,
    train_size: Annotated[
        int | None,
        _option(
            COURSE, "Side of the training images in pixels until the rate falls: faster epochs, coarser images.", default="size"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, _option(COURSE, "Images per step. Smaller needs less memory.", default="32; 8 for masks")
    ] = None,
    backbone: Annotated[str, _option(MODEL, "small, medium, large, any timm model, a weights file or a run.")] = "small",
    pretrained: Annotated[bool, _option(MODEL, "Start from pretrained weights, or from random ones.")] = True,
    head_kind: Annotated[
        str | None, _option(MODEL, "What is put on the backbone: linear, mlp, decoder.", default="what the task needs")
    ] = None,
    posterior: Annotated[
        str | None,
        _option(
            MODEL,
            "What tells how sure answers are. none: point estimates.",
            metavar="laplace|hmc|bootstrap|temperature|none",
            default="laplace; temperature for masks",
        ),
    ] = None,
    features: Annotated[
        str,
        _option(
            MODEL,
            "What the head sees of an image: what the last layer makes of it, all layers (textures, materials, fine detail), or auto: "
            "what the evidence prefers.",
            "features",
        ),
    ] = "auto",
    size: Annotated[int | None, _option(MODEL, "Side of the images in pixels; the backbone's own if not given.")] = None,
    device: Annotated[str, _option(MODEL, "auto, cpu, cuda, cuda:1, mps.")] = "auto",
    valid: Annotated[float, _option(DATA, "Share of the images kept for validation.")] = 0.2,
    test: Annotated[float, _option(DATA, "Share kept for a last test, untouched by training.")] = 0.0,
    seed: Annotated[int, _option(DATA, "Names the split and all randomness: equal seeds, equal runs.")] = 0,
    group_by: GroupBy = None,
    label: Label = None,
    folder: ImageFolder = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    masks: Masks = None,
    classes: Classes = None,
    void: Void = None,
    task: TaskName = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start from a finished run, its backbone and its head.",
            rich_help_panel=MODEL,
            show_default="a new head",
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        _option(
            DATA, "Corrections: a .csv of path,label,action(relabel|drop|move|add),part,reason.", metavar="FILE", default="none"
        ),
    ] = None,
    run: Annotated[Path | None, _option(OUTPUT, "The run folder.", metavar="FOLDER", default="runs/<data>-<n>")] = None,
    checkpoint_seconds: Annotated[
        float, _option(OUTPUT, "How often the training is saved so that resume can go on after a crash.")
    ] = 30.0,
    patience: Annotated[
        int | None,
        _option(COURSE, "End early after so many rows without a new best; the rate falls to zero first.", default="never"),
    ] = None,
    interrupt: Annotated[
        str,
        _option(COURSE, "What Ctrl-C does. save: stop, for resume. anneal: let the rate fall quickly and finish.", "interrupt"),
    ] = "save",
    track: Annotated[
        list[str] | None, _option(OUTPUT, "Where the numbers go beside the screen, e.g. tensorboard.", default="nowhere")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be done, and until when; train nothing.", rich_help_panel=COURSE)
    ] = False,
    json: Json = False,
) -> None:
    """Train on PATH: the head within seconds, then, with --epochs or --minutes, all layers.

    PATH is never written to. Each row of the table is one complete pass over the training images.
    Row 0 is the head alone on the frozen, pretrained backbone, and already a usable model.

      headstart train photos/ --epochs 3

      headstart train photos/ --minutes 10

      headstart train photos/ --minutes 10 --plan

      headstart train photos/ --from last --labels fixes.csv --epochs 1
    """
    settings = Settings(
        epochs=epochs,
        minutes=minutes,
        method=_word("method", method),
        head=_word("head", head),
        freeze_epochs=freeze_epochs,
        base_lr=base_lr,
        lr_mult=lr_mult,
        norms=_word("norms", norms),
        keep=_word("keep", keep),
        monitor=monitor,
        task=task,
        metrics=listed(metrics) or None,
        loss=loss,
        label_smoothing=label_smoothing,
        mixup=mixup,
        cutmix=cutmix,
        balance=_word("balance", balance),
        weight_decay=weight_decay,
        clip=clip,
        dropout=dropout,
        ema=ema,
        adapters=adapters,
        backbone=backbone,
        pretrained=pretrained,
        posterior=posterior,
        head_kind=head_kind,
        features=_word("features", features),
        size=size,
        train_size=train_size,
        batch_size=batch_size,
        augment=_word("augment", augment),
        seed=seed,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        patience=patience,
        interrupt=_word("interrupt", interrupt),
        track=listed(track),
    )
    check_course(settings)
    began = process_start()
    with results_on_stdout(json) as stdout:
        from headstart.data._paths import outside
        from headstart.data.sources import open_path

        with told_if_slow(f"Listing the files of {printable(path)} ..."):
            data = open_path(
                path,
                folder,
                image_column,
                listed(label_column) or None,
                valid,
                test,
                seed,
                label,
                group_by,
                text_column,
                masks,
                classes_in(classes),
                void,
            )
        if run is not None:
            outside(data, run)
        if plan:
            show_plan(data, settings, began, json, stdout, start, labels or ())
            return
        learner = train_dataset(data, settings, run, choose(json=json, stdout=stdout), began, start, labels or ())
    if learner.stopped:
        raise typer.Exit(130)


def check_course(settings: Settings) -> None:
    """Raises the lesson for `--method fit` without epochs, before anything is read."""
    if settings.method == "fit" and not settings.epochs and settings.minutes is None:
        raise BadSetting(
            "--method fit needs --epochs N (at least 1) or --minutes: without there is nothing to fit. The head alone: fine_tune."
        )


def train_dataset(
    data: Dataset,
    settings: Settings,
    run: Path | None,
    observer: Observer,
    began: float,
    start: str | None = None,
    labels: Sequence[Path] = (),
) -> "Learner":
    """A learner trained on `data` as `settings` say, shown by `observer`; JSON lines end with the summary."""
    try:
        learner = _trained(data, settings, run, observer, began, start, labels)
        if settings.epochs is None and settings.minutes is None and not learner.stopped:
            observer.show(Note(f"An epoch of all layers would take about {in_words(learner.seconds_per_epoch())} here."))
        tell(learner, observer, began)
        return learner
    finally:
        observer.close()


def show_plan(
    data: Dataset, settings: Settings, began: float, json: bool, stdout: Stream, start: str | None, labels: Sequence[Path]
) -> None:
    """Writes what the training would be: a small table, or one JSON object."""
    from headstart.learner import Learner

    epochs = settings.epochs if settings.minutes else settings.epochs or 0
    forecast = Learner(data, settings, from_run=start, labels=labels, started=began).plan(epochs, minutes=settings.minutes)
    write_line(stdout, to_line(forecast.json()) if json else repr(forecast))


def tell(learner: "Learner", observer: Observer, began: float) -> None:
    """Ends JSON lines with the summary."""
    if isinstance(observer, JsonLines):
        observer.write(summary(learner, time.perf_counter() - began))


def _trained(
    data: Dataset,
    settings: Settings,
    run: Path | None,
    observer: Observer,
    began: float,
    start: str | None,
    labels: Sequence[Path],
) -> "Learner":
    from headstart.learner import Learner

    learner = Learner(data, settings, from_run=start, labels=labels, run=run, observer=observer, started=began)
    if settings.method == "fit":
        return learner.fit(settings.epochs, minutes=settings.minutes)
    return learner.fine_tune(settings.epochs if settings.minutes else settings.epochs or 0, minutes=settings.minutes)


def summary(learner: "Learner", seconds: float) -> dict[str, Any]:
    """The last JSON object of a training: `{run, rows, best, kept, seconds}`."""
    rows = learner.history
    judged = [row for row in rows if row.get("valid_loss") is not None]
    best = min(judged, key=lambda row: row["valid_loss"], default=None)
    return {
        "run": str(learner.run.path.absolute()),
        "rows": rows,
        "best": best,
        "kept": learner.kept,
        "seconds": round(seconds, 3),
    }


def _word(setting: str, value: str | None) -> Any:
    """The value, if the setting knows it.

    Raises:
        UnknownName: with the nearest one.
    """
    if value not in CHOICES[setting]:
        raise unknown_name(f"choice for --{setting}", str(value), filter(None, CHOICES[setting]))
    return value
