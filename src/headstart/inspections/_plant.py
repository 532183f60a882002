"""Traces with a known answer, drawn by a seed: what inspections are judged by."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from headstart.core import Finding
from headstart.inspections._trace import Layer, Look, Trace
from headstart.seeds import numpy_generator
from headstart.tasks.single_label import SingleLabel


@dataclass(frozen=True)
class Plant:
    """A trace with a fault that the inspection must find, and the same without it, of which it must not complain."""

    faulty: Trace
    clean: Trace
    found: Callable[[Finding], bool]
    """Whether the finding of the faulty trace names what was planted."""


def trace(
    said: Float[np.ndarray, "examples classes"],
    truth: Int[np.ndarray, " examples"],
    valid: np.ndarray | None = None,
    **known: object,
) -> Trace:
    """Of a model that says this of examples of these classes; every second is for validation, if nothing else is said."""
    count, classes = said.shape
    task = SingleLabel(tuple(f"class {number}" for number in range(classes)))
    valid = np.arange(count) % 2 == 0 if valid is None else valid
    look = Look(said.astype(np.float32), (), said.astype(np.float32))
    known = {"after": look, "classes": truth, **known}
    return Trace(task, tuple(f"{number}.jpg" for number in range(count)), valid, torch.from_numpy(truth), **known)  # pyright: ignore[reportArgumentType]


def logits(
    truth: Int[np.ndarray, " examples"], classes: int, seed: int, margin: float = 4.0
) -> Float[np.ndarray, "examples classes"]:
    """What a good model says of examples of these classes: the true one ahead by `margin` nats, and noise of deviation one."""
    noise = numpy_generator(seed, "plant", "logits").standard_normal((len(truth), classes))
    return noise + margin * np.eye(classes)[truth]


def layer(name: str, values: Float[np.ndarray, "examples channels"]) -> Layer:
    """Whose channels have these means and maxima, all at the first of four places."""
    values = values.astype(np.float32)
    return Layer(name, (2, 2), values, values, np.zeros(values.shape, np.int32))
