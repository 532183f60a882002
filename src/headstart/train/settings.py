"""Settings from names as people give them: unknown ones get the nearest, fastai's get ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from headstart import model as models
from headstart.core import Settings
from headstart.errors import BadSetting, UnknownName, unknown_name

FROM_FASTAI = MappingProxyType(
    {
        "bs": "batch_size",
        "lr": "base_lr",
        "lr_max": "base_lr",
        "n_epoch": "epochs",
        "n_epochs": "epochs",
        "arch": "backbone",
        "item_tfms": "size (pixels) and augment (none, flip, dihedral, light, strong)",
        "batch_tfms": "augment (none, flip, dihedral, light, strong)",
        "valid_pct": "valid, where the data is made: image_folder(path, valid=0.2)",
        "wd": "weight_decay",
        "train_bn": 'norms ("frozen", "adapt" or "train")',
        "cbs": "named settings instead of callbacks: see Settings",
        "splitter": "lr_mult (how much faster the last layers learn than the first)",
        "num_workers": "nothing: images are decoded once, by threads",
    }
)
VERBS_OF_FASTAI = MappingProxyType(
    {
        "fit_one_cycle": "fit(epochs): its rate rises, then falls to zero",
        "get_preds": 'predictions(inputs), or evaluate(part="valid") for the metrics',
        "validate": "evaluate()",
        "dls": "data",
        "recorder": "history",
        "export": "save(folder); hs.load(folder) brings it back",
        "show_training_loop": "nothing yet: the loop is train/loop.py, one page",
        "tta": "predict(inputs, tta=4), and evaluate(tta=4) for the metrics",
        "to_fp16": "nothing: the precision is probed by itself",
        "freeze_to": "freeze() and unfreeze()",
        "show_batch": "data.show()",
        "plot_top_losses": "show_results(worst=True)",
    }
)
Metric = str | Callable[[Any, Any], Any]


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with some replaced, checked; a backbone that is a folder by its whole path.

    Raises:
        UnknownName: for a name that is no setting, with ours for fastai's and else the nearest.
        BadSetting: for a value out of range.
    """
    known = {field.name for field in fields(Settings)}
    for name in changes:
        if name in FROM_FASTAI:
            raise UnknownName(f'"{name}" is fastai\'s name. Here it is {FROM_FASTAI[name]}.')
        if name not in known:
            raise unknown_name("setting", name, known)
    if isinstance(track := changes.get("track"), str | list):
        changes = {**changes, "track": (track,) if isinstance(track, str) else tuple(track)}
    found = replace(settings, **changes)
    return replace(found, backbone=models.located(found.backbone))


def course_of(
    settings: Settings, epochs: int | None, minutes: float | None, verb: str, least: int
) -> tuple[int | None, float | None]:
    """The epochs or the minutes that end a training: those given, or else those of the settings.

    Raises:
        BadSetting: for both, for neither, and for what is no such number.
    """
    if epochs is not None and minutes is not None:
        raise BadSetting(f"epochs={epochs} and minutes={minutes} were both given: name the one that shall end the training.")
    if epochs is None and minutes is None:
        epochs, minutes = settings.epochs, settings.minutes
    example = f"{verb}(3), {verb}(minutes=10)" + (f" or {verb}(0) for the head alone" if least == 0 else "")
    if epochs is None and minutes is None:
        raise BadSetting(f"say for how long: {example}. An epoch is one complete pass over the training images.")
    if epochs is not None and (not isinstance(epochs, int) or epochs < least):
        raise BadSetting(f"epochs must be a whole number of at least {least}, got {epochs!r}: {example}.")
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float)):
        raise BadSetting(f"minutes must be a number, got {minutes!r}: {example}.")
    return epochs, minutes


def unknown_verb(name: str) -> str:
    """What to say when a learner is asked for something it does not have."""
    if name in VERBS_OF_FASTAI:
        return f'"{name}" is fastai\'s. Here it is {VERBS_OF_FASTAI[name]}.'
    verbs = "fine_tune, fit, more, resume, plan, freeze, unfreeze, predict, evaluate, lr_find, show_results, summary, save"
    return f"a Learner has no {name!r}. Its verbs are {verbs}."


def metric_names(metrics: Metric | Sequence[Metric]) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    """The metrics as given, in a tuple, and their names; a function is called by its own name."""
    listed: tuple[Metric, ...] = tuple(metrics) if isinstance(metrics, Sequence) and not isinstance(metrics, str) else (metrics,)
    return listed, tuple(metric if isinstance(metric, str) else getattr(metric, "__name__", "metric") for metric in listed)
