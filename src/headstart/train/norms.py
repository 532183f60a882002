"""Batch norms moved to new images: their statistics estimated again, before anything else learns."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch

from headstart.backbones._wrapped import as_eval
from headstart.core import Event, Note, Progress
from headstart.data.batches import order
from headstart.model import BatchNorm, Model
from headstart.train.state import TrainState

IMAGES_AT_ONCE = 64
"""Of one estimate of mean and variance; all estimates count alike."""


def adapt(state: TrainState, first_stage: int) -> Generator[Event, None, int]:
    """How many batch norms, those from stage `first_stage` on, now have the statistics of the training images as they are.

    One pass, un-augmented, in an order that mixes the classes; every norm sees what the batch statistics of the norms before
    it make of the images, as it does in training. Nothing else of the model changes.
    """
    examples, model = state.parts["train"], state.model
    norms = _norms(model, first_stage)
    if not norms:
        yield Note("This backbone has no batch norms: there are no statistics to adapt.")
        return 0
    done = 0
    with _estimating(model, norms):
        # beware: images of one class after another would give the variance within classes
        for rows in order(len(examples), IMAGES_AT_ONCE, state.settings.seed, 0):
            stored = torch.from_numpy(examples.store.stored(examples.indices[rows].tolist())).to(state.device)
            with torch.no_grad(), torch.autocast(state.device.type, enabled=False):
                model.features(examples.store.modality.to_input(stored))
            done += len(rows)
            yield Progress("norms of the training images", done, len(examples))
    yield Note(f"The statistics of {len(norms)} batch norms were estimated on the training images.")
    return len(norms)


def _norms(model: Model, first_stage: int) -> list[BatchNorm]:
    stages = [stage for _, stage in model.stages()[first_stage:]]
    found = [module for stage in stages for module in stage.modules() if isinstance(module, BatchNorm)]
    return [norm for norm in found if norm.track_running_stats]


@contextmanager
def _estimating(model: Model, norms: list[BatchNorm]) -> Iterator[None]:
    """The norms forget their statistics and take the plain mean over the batches that come; the rest is in evaluation mode."""
    momenta = [norm.momentum for norm in norms]
    with as_eval(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
