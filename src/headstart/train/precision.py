"""In which precision a model trains fastest without losing its gradients; measured once per machine, then remembered."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from headstart.core import Batch, Phase, Task
from headstart.engine import device as engine
from headstart.engine import memory
from headstart.errors import StoreError
from headstart.model import Model, norm_mode, set_trainable
from headstart.store import atomic, cache

PROBED_IMAGES = 32
RULE = 2
"""Counted up when a step is computed in another way, so that older measurements are not believed."""


def choose(model: Model, task: Task, batches: Iterator[Batch], phase: Phase, device: torch.device, remember: bool = True) -> str:
    """ "float32" or "bfloat16": the faster one whose gradients agree with float32 on the first images of the phase."""
    if engine.precisions(device) == ("float32",):
        return "float32"
    file = _file(model, phase, device)
    try:
        return str(atomic.read_json(file)["precision"])
    except (OSError, StoreError, KeyError, TypeError):
        pass
    batch = next(batches)
    set_trainable(model, phase.first_stage)
    norm_mode(model, phase.norms)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return task.loss(outputs.float(), targets, phase.label_smoothing).mean()

    def probe(images: int) -> dict[str, Any]:
        return engine.probe_precision(model, batch.inputs[:images], batch.targets[:images], loss)

    images, found = PROBED_IMAGES, memory.tried(lambda: probe(PROBED_IMAGES))
    while found is None and images > 2:
        images //= 2
        found = memory.tried(partial(probe, images))
    if found is None:
        return "float32"  # the first step tells what to do about the memory
    if not remember:
        return str(found["precision"])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(file, found)
    except (OSError, StoreError):
        pass  # a read-only cache costs a second of probing in the next run, nothing else
    return str(found["precision"])


def _file(model: Model, phase: Phase, device: torch.device) -> Path:
    spec = model.backbone.spec
    machine = (engine.fingerprint(device), torch.__version__, torch.get_num_threads())
    facts = (RULE, *machine, spec.name, spec.size, phase.first_stage, phase.norms)
    return cache.folder("engines") / f"precision-{hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()}.json"
