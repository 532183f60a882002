"""The features of every image under a frozen backbone: one forward each, read while images are still being decoded, kept in the cache."""

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Note, Progress
from headstart.data.batches import by_length
from headstart.data.stores import Store
from headstart.engine.frozen import FrozenForward
from headstart.errors import StoreError
from headstart.store import cache, tensors

CHUNK = 64
CACHE_BYTES = 4 << 30
HELD_BYTES = 3 << 30
"""Of features that are held in memory at most."""


@dataclass(frozen=True)
class Features:
    """One row per image of the store, in its order; rows of quarantined images are zero. `forwards` images went through the backbone.

    `agreement` says how the engine was compared with torch before it was chosen.
    """

    rows: Float[np.ndarray, "images features"]
    forwards: int
    engine: str
    agreement: Mapping[str, Any] = field(default_factory=dict)

    def first(self, width: int) -> "Features":
        """The first `width` of them, which lie in memory by themselves."""
        return replace(self, rows=np.ascontiguousarray(self.rows[:, :width]))


def can_be_held(images: int, width: int) -> bool:
    """Whether the features of so many images fit into memory."""
    return 4 * images * width <= HELD_BYTES


def cache_file(store: Store, backbone_digest: str) -> Path:
    """Where the features of what is stored under these weights lie."""
    name = hashlib.blake2b(f"{store.key}|{backbone_digest}|{store.modality.state()}".encode(), digest_size=16).hexdigest()
    return cache.folder("features") / name / "features.safetensors"


def digest(weights: dict[str, Tensor]) -> str:
    """A name for exactly these weights."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(weights.items()):
        found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def stored(file: Path, images: int) -> Features | None:
    """The features in the cache, None when they are not there or cannot be read."""
    if not file.is_file():
        return None
    try:
        rows, told = tensors.load(file)["features"].numpy(), tensors.metadata(file)
        return Features(rows, 0, told["engine"], json.loads(told["agreement"])) if len(rows) == images else None
    except (StoreError, KeyError, ValueError):
        return None


def compute(store: Store, frozen: FrozenForward, width: int, file: Path) -> Generator[Progress | Note, None, Features]:
    """Runs every usable image through the frozen backbone once and writes `file`; returns the `Features`."""
    rows = np.zeros((len(store), width), np.float32)
    before = frozen.forwards
    order = by_length(store.lengths(np.arange(len(store))), len(store)).tolist()
    for first in range(0, len(store), CHUNK):
        usable = [index for index in order[first : first + CHUNK] if store.wait(index)]
        if usable:
            rows[usable] = frozen.features(store.stored(usable))
        yield Progress("features", min(first + CHUNK, len(store)), len(store))
    try:
        tensors.save(
            file, {"features": torch.from_numpy(rows)}, {"engine": frozen.name, "agreement": json.dumps(frozen.agreement)}
        )
        cache.bound("features", CACHE_BYTES)
    except (StoreError, OSError) as error:
        yield Note(f"The features could not be kept for the next run: {error}")
    return Features(rows, frozen.forwards - before, frozen.name, frozen.agreement)
