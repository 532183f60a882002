"""Backbones ranked before any of them is trained: by what a head solved on their features would say of images that it has not seen.

For each, one pass over the images, a head solved on all labelled ones, and two figures that need no validation part: the evidence (the
probability of the labels, weights integrated out; MacKay 1992) and the loss on each example by a head that was solved without it, in folds
(`crossed`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from headstart.backbones import choices
from headstart.core import CHOICES, Dataset, Event, Note, Observer, Outputs, Settings
from headstart.data import sources
from headstart.data._steps import exhausted
from headstart.engine import device as engine
from headstart.errors import BadSetting, HeadstartError, unknown_name
from headstart.learner import believing, crossed, verbs
from headstart.learner.facade import Learner
from headstart.report.ranking import Candidate, Ranking, ranked
from headstart.train.begin import Begun
from headstart.train.solved import solver_of

SEEN = tuple(word for word in CHOICES["features"] if word not in (None, "auto"))
"""What the head can see of a candidate; which of them is better is what is asked here."""


def choose(
    data: Dataset | str | Path,
    backbones: Sequence[str] = (),
    sizes: Sequence[int] = (),
    settings: Settings | None = None,
    observer: Observer | None = None,
    features: Sequence[str] = ("last",),
) -> Ranking:
    """Backbones ranked for these labelled examples, the best first; nothing is trained but heads, and no run is made.

    Args:
        backbones: names as `Learner` takes them; those that are installed with headstart if none is named.
        sizes: of the images, each with each backbone; the backbone's own if none is given.
        features: what the head sees of each, "last" or "layers", as in `Settings`.

    Raises:
        UnknownName: for features that there are not, with the nearest.
        BadSetting: where nothing is to be chosen between, or none can be looked at.
    """
    settings = settings or Settings()
    if isinstance(backbones, str) or not all(isinstance(name, str) for name in backbones):
        raise BadSetting(f'backbones must be names in a list, as in ["small", "medium"], got {backbones!r}.')
    if isinstance(sizes, int):
        raise BadSetting(f"sizes must be in a list, as in [160, 224], got {sizes!r}.")
    if isinstance(features, str):
        raise BadSetting(f'features must be words in a list, as in ["last", "layers"], got {features!r}.')
    for word in features:
        if word not in SEEN:
            raise unknown_name("choice for features", word, SEEN)
    dataset = sources.open_path(data) if isinstance(data, str | Path) else data
    names = tuple(backbones) or installed(dataset.modality)
    if not names:
        raise BadSetting("no backbone has its weights installed. Name some: --backbone small, or a model of timm.")
    asked = list(
        dict.fromkeys(
            replace(settings, backbone=name, size=size, features=seen)  # type: ignore[arg-type]  # checked above
            for name in names
            for size in sizes or (settings.size,)
            for seen in features or ("last",)
        )
    )
    found, show = list[Candidate](), verbs.screen_of(observer).show
    for each in asked:
        learner = Learner(dataset, each, observer=observer)
        candidate = Candidate(each.backbone, each.size, features=each.features)
        show(Note(f"{len(found) + 1} of {len(asked)}: {candidate.name}"))
        found.append(_looked_at(learner, candidate, show, first=not found))
        dataset = replace(learner.data, notes=())
    if all(each.error for each in found):
        raise BadSetting(f"none of the {len(found)} could be looked at. {found[0].name}: {found[0].error}")
    return ranked(found)


def installed(modality: str = "image") -> tuple[str, ...]:
    """The backbones whose weights are installed: headstart's own, and those of its extra `backbones` where that is there; for what is no
    image, the one there is."""
    if modality in choices.ONLY:
        return (choices.ONLY[modality],)
    from headstart.backbones.bundled import weights_file

    return tuple(name for name in choices.BUNDLED if weights_file(name) is not None)


def _looked_at(learner: Learner, candidate: Candidate, show: Callable[[Event], None], first: bool) -> Candidate:
    started = time.perf_counter()
    try:
        with engine.tuned_run(learner._session.device):
            begun = exhausted(learner._session._beginning(True), show if first else None)
            try:
                found = _judged(begun, candidate)
            finally:
                begun.store.close()
    except (HeadstartError, MemoryError, *believing.UNSOLVABLE) as error:
        return replace(candidate, seconds=time.perf_counter() - started, error=" ".join(str(error).split()))
    spec = learner.model.backbone.spec
    seconds = time.perf_counter() - started
    return replace(found, width=spec.width, parameters=spec.parameters, licence=spec.licence, seconds=seconds)


def _judged(begun: Begun, candidate: Candidate) -> Candidate:
    """With the figures of a head solved on all examples that are not for the last test."""
    state, features = begun.state, begun.features
    if features is None or state.model.head.solvable is None:
        return replace(candidate, error="its features cannot be held in memory, so no head is solved on them.")
    parts = [state.parts[name] for name in ("train", "valid") if len(state.parts[name])]
    ids = [name for part in parts for name in part.ids]
    order = np.argsort(ids, kind="stable")
    rows = np.concatenate([features.rows[part.indices] for part in parts])[order]
    targets = torch.cat([torch.as_tensor(part.targets) for part in parts])[torch.from_numpy(order)]
    given, known = state.model.head.as_rows(rows, targets.numpy())
    solved = solver_of(state)(given, known)
    candidate = replace(candidate, evidence=float(solved.log_evidence) / len(rows))
    if state.model.head.final is None:
        return candidate
    outputs = crossed.outputs(state, rows, targets, crossed.dealt(begun, [ids[place] for place in order]))
    losses = state.task.loss(outputs, targets).double().numpy()
    figures = {name: metric(Outputs(outputs), targets) for name, metric in state.task.metrics(state.metrics).items()}
    return replace(candidate, left_out=float(losses.mean()), losses=losses, figures=figures)
