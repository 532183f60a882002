"""The frozen forward: pixels to features in the fastest engine that agrees with torch float32 on the first images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Shaped

from headstart.backbones._wrapped import Wrapped, as_eval, one_thread
from headstart.core import Modality
from headstart.engine import openvino

AGREE = 0.9999
"""Least cosine of each row with torch float32."""
COMPARED = 8
"""How many of the first images are compared."""
BATCH = 64


class FrozenForward:
    """`features(stored)` of a backbone that is not being trained; `name` says which engine, `agreement` how it was checked.

    `forwards` counts the images that went through it, `notes` are sentences about engines that were passed over.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Shaped[np.ndarray, "batch ..."]], Float32[np.ndarray, "batch features"]],
        agreement: dict[str, Any],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.agreement = agreement
        self.notes = notes
        self.forwards = 0
        self.run = run

    def features(self, stored: Shaped[np.ndarray, "batch ..."]) -> Float32[np.ndarray, "batch features"]:
        """Features of each image, from its pixels as they are stored: normalisation is inside."""
        self.forwards += len(stored)
        return self.run(stored)


def choose_frozen(
    backbone: Wrapped,
    modality: Modality,
    stored: Shaped[np.ndarray, "batch ..."],
    device: torch.device | str = "cpu",
    keep: bool = True,
) -> FrozenForward:
    """The fastest engine for this backbone on this device whose features of the first images agree with torch's.

    What was compiled is kept in the cache if `keep` says so.

    OpenVINO computes with a copy of the weights as they are now: choose again when they have changed.
    """
    device = torch.device(device)
    reference = torch_features(backbone, modality, device)
    plain = {"engine": "torch f32", "rows": 0, "cosine": 1.0, "largest_difference": 0.0}
    if device.type != "cpu" or not modality.compiles or openvino.version() is None or len(stored) == 0:
        return FrozenForward("torch f32", reference, plain)
    first = stored[:COMPARED]
    with one_thread():
        wanted = reference(first)
    reason = ""
    for fresh in (False, True):
        try:
            with as_eval(backbone):
                compiled = openvino.load(backbone, modality, wanted.shape[1], fresh, keep)
        except Exception as error:
            # beware: a converter may fail in any way on a network it does not know, and torch can always do the work
            reason = f"it cannot take this network ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
            break
        agreement = {"engine": "openvino f32", **_compare(compiled.features(first), wanted), "cached": compiled.cached}
        if agreement["cosine"] > AGREE:
            return FrozenForward("openvino f32", compiled.features, agreement)
        reason = f"its features differ from torch's (cosine {agreement['cosine']:.5f})"
        if not compiled.cached:
            break
    return FrozenForward("torch f32", reference, plain, (f"OpenVINO was passed over: {reason}.",))


def torch_features(
    backbone: Wrapped, modality: Modality, device: torch.device
) -> Callable[[Shaped[np.ndarray, "batch ..."]], Float32[np.ndarray, "batch features"]]:
    """The frozen forward in torch float32; modes, statistics and gradients of the backbone stay as they are."""

    def run(stored: Shaped[np.ndarray, "batch ..."]) -> Float32[np.ndarray, "batch features"]:
        rows = []
        with torch.inference_mode(), as_eval(backbone), torch.autocast(device.type, enabled=False):
            for start in range(0, len(stored), BATCH):
                chunk = torch.from_numpy(np.ascontiguousarray(stored[start : start + BATCH])).to(device)
                rows.append(backbone.features(modality.to_input(chunk)).float().cpu().numpy())
        return np.concatenate(rows) if rows else np.empty((0, backbone.spec.width), np.float32)

    return run


def _compare(
    rows: Float32[np.ndarray, "batch features"], wanted: Float32[np.ndarray, "batch features"]
) -> dict[str, float | int]:
    """The least cosine of a row with its twin, and the largest difference of a single feature."""
    a, b = rows.astype(np.float64), wanted.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.where(norms > 0, (a * b).sum(1) / np.maximum(norms, 1e-300), np.all(a == b, axis=1))
    return {"rows": len(rows), "cosine": float(cosines.min()), "largest_difference": float(np.abs(a - b).max())}
