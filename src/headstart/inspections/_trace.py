"""What inspections read: what a model says and sees of the user's examples, before and after it was trained, and what is known of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from headstart.backbones._taught import Taught
from headstart.core import Finding, Outputs, Picture, Row, Strip, Task
from headstart.inspections._shown import Shown
from headstart.model import Model
from headstart.train.judged import Judged
from headstart.train.summary import Summary

PRODUCTS = (
    "classes",
    "answers",
    "pictures",
    "layers",
    "before",
    "folds",
    "audit",
    "model",
    "says",
    "believed",
    "stages",
    "by_row",
)
"""What an inspection can need, besides what a model says of each example, which there always is."""
LOOKED_INTO = 12
"""Examples that are looked into one by one: half with the largest losses, half right ones, evenly over the classes."""


@dataclass(frozen=True)
class Layer:
    """What one layer of a network gave for each example: of every channel its mean over the places, its maximum, and where that was."""

    name: str
    side: tuple[int, int]
    """Rows and columns of its maps."""
    means: Float[np.ndarray, "examples channels"]
    highest: Float[np.ndarray, "examples channels"]
    places: Int[np.ndarray, "examples channels"]
    """The place of the maximum: row times columns, plus column."""


@dataclass(frozen=True)
class Look:
    """One pass of a model over the examples."""

    features: Float[np.ndarray, "examples features"]
    layers: tuple[Layer, ...]
    outputs: Float[np.ndarray, "examples outputs"] | None = None
    """None for a body without a head for these labels."""
    last: int | None = None
    """How many of the features, the first ones, are those of the last layer; None where all are."""


@dataclass(frozen=True)
class NotKept:
    """What a trained body that is not kept gave."""

    look: Look
    weights: Mapping[str, float]
    """As `Trace.weights`."""
    words: str
    """Of when it is: "after epoch 3"."""


@dataclass(frozen=True)
class Trace:
    """All that inspections see. Every array is in the order of `ids`."""

    task: Task
    ids: tuple[str, ...]
    valid: np.ndarray
    """Whether each is of the validation part, which trained nothing."""
    targets: Any
    after: Look
    before: Look | None = None
    """The model as it was before its layers were trained; the same look as `after` where they were not."""
    not_kept: "NotKept | None" = None
    """The body that was trained and is not kept, where the head alone was better."""
    classes: Int[np.ndarray, " examples"] | None = None
    """The number of the true class of each, for a task with classes."""
    folds: Int[np.ndarray, " examples"] | None = None
    """The fold of each, of five; copies and groups stay together."""
    copies: Int[np.ndarray, " examples"] | None = None
    """A number for each group of examples that show the same; None where copies are not looked for."""
    audit: Mapping[str, Any] | None = None
    """As `audit.json` has it."""
    weights: Mapping[str, float] | None = None
    """By how much each layer's weights, and the statistics of its norms, moved: the length of the change over that of what they were before."""
    pictures: Callable[[Sequence[int]], UInt8[np.ndarray, "batch size size 3"]] | None = None
    """Examples, by their place here, as the model sees them, in pixels."""
    inputs: Callable[[Sequence[int]], Tensor] | None = None
    """The same as the model's input."""
    believed: Outputs | None = None
    """What the model says of the validation examples, with its posterior: what `predict` tells."""
    says: Callable[[UInt8[np.ndarray, "batch size size 3"]], Float[np.ndarray, "batch outputs"]] | None = None
    """What the model says of pictures like these, by the same way from pixels to answers."""
    files: Mapping[str, Float[np.ndarray, " examples"]] | None = None
    """Facts of the files by their name in words; not a number where one is not known."""
    model: Model | None = None
    taught: Taught | None = None
    """What the network was published to tell, where its classifier is at hand."""
    stages: Summary | None = None
    """The stages of the model, with how fast each learns."""
    rows: Sequence[Row] = ()
    by_row: Sequence[Judged] | None = None
    """What each row of the table said of each validation example; there are at least the first row and the kept one."""
    kept: int = 0
    finished: bool = True
    """Whether the training came to its end."""
    trained: tuple[str, ...] = ()
    """The ids of training examples that there are besides those that are looked at."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a product is missing, in a sentence."""

    def lacks(self, needs: Sequence[str]) -> str | None:
        """Why an inspection with these needs cannot be made of it; None where it can."""
        for name in needs:
            if not self.has(name):
                return self.absent.get(name, f"{name} are not known here.")
        return None

    def has(self, name: str) -> bool:
        """Whether it holds this one of the `PRODUCTS`."""
        if name == "layers":
            return bool(self.after.layers)
        if name == "answers":
            return self.said.ndim == 2
        return getattr(self, name) is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.task.names

    @property
    def losses(self) -> Float[np.ndarray, " examples"]:
        """Negative log-likelihood of each label in nats, by what the model says now."""
        import torch

        return self.task.loss(torch.from_numpy(self.said), self.targets).double().numpy()

    @property
    def said(self) -> Float[np.ndarray, "examples outputs"]:
        """What the model says of each now."""
        assert self.after.outputs is not None, "the trained model has a head"
        return self.after.outputs

    def strip(self, title: str, places: Sequence[int], captions: Sequence[str]) -> tuple[Strip, ...]:
        """These examples side by side; nothing where they are no pictures, or there is none."""
        if self.pictures is None or not len(places):
            return ()
        return (Strip(title, self.captioned(places, captions)),)

    def captioned(self, places: Sequence[int], captions: Sequence[str]) -> tuple[Picture, ...]:
        """These examples, where they are pictures."""
        assert self.pictures is not None, "only pictures are shown"
        shown = zip(self.pictures(places), captions, places, strict=True)
        return tuple(Picture(pixels, caption, self.ids[place]) for pixels, caption, place in shown)

    @cached_property
    def chosen(self) -> tuple[Shown, ...]:
        """The validation pictures that are looked into one by one, the same for every question."""
        assert self.pictures is not None and self.inputs is not None and self.model is not None, "NEEDS says so"
        places = self._worst_and_right()
        labels = self.task.texts(self.targets[places])
        return tuple(
            Shown(self.ids[place], self.pictures([place])[0], self.inputs([place]), self.model, self.task, label)
            for place, label in zip(places, labels, strict=True)
        )

    def _worst_and_right(self) -> list[int]:
        """Those with the largest losses, and right ones of as many classes as there are places for; without classes the best."""
        judged = self.judged()
        order = judged[np.argsort(-self.losses[judged], kind="stable")].tolist()
        worst, others = order[: LOOKED_INTO // 2], order[LOOKED_INTO // 2 :]
        if self.classes is None:
            return [*worst, *others[::-1][: LOOKED_INTO - len(worst)]]
        said, taken, turns = self.said.argmax(1), Counter[int](), {}
        for place in sorted(place for place in others if said[place] == self.classes[place]):
            number = int(self.classes[place])  # the first of every class, then the second of every class, ...
            turns[place], taken[number] = taken[number], taken[number] + 1
        return [*worst, *sorted(turns, key=lambda place: (turns[place], place))[: LOOKED_INTO - len(worst)]]

    def judged(self) -> Int[np.ndarray, " validation"]:
        """The places of the examples that may judge the model: the validation part."""
        return np.flatnonzero(self.valid)


def missing(name: str, question: str, why: str) -> Finding:
    """The finding of an inspection that cannot be made."""
    return Finding(name, question, f"Not available: {why}", "unknown")
