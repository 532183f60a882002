"""Classes of unequal size: what each example must weigh, or how often it must be drawn, so that all classes count alike."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from headstart.errors import BadSetting
from headstart.seeds import numpy_generator

UNEQUAL = 3
"""From this ratio of the largest class to the smallest on, the user is told."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a word of `Settings.balance` does in training."""

    weighs: bool = False
    """Every example enters the loss with its weight."""
    draws: bool = False
    """An epoch draws every class equally often."""
    words: str = ""


RULES = MappingProxyType(
    {
        "none": Rule(),
        "weights": Rule(weighs=True, words="each image weighs as much as its class is rare"),
        "sample": Rule(
            draws=True,
            words="each epoch draws every class equally often, so it is no complete pass: images of small classes come several "
            "times, and not all of large ones come",
        ),
    }
)


def weights(groups: Int[np.ndarray, " examples"] | None) -> Float[np.ndarray, " examples"]:
    """n / (classes * n_class) of each example: every class that has examples gets the same sum, and their mean is one.

    Raises:
        BadSetting: where there are no groups.
    """
    _, places, counts = np.unique(_required(groups), return_inverse=True, return_counts=True)
    return (len(places) / (len(counts) * counts))[places]


def drawn(groups: Int[np.ndarray, " examples"] | None, seed: int, epoch: int) -> Int[np.ndarray, " examples"]:
    """As many draws as there are examples, in shuffled order, every group equally often (give or take one): of (seed, epoch) alone.

    The draw `row + repeat * n` is the example `row`, drawn for the time number `repeat` from 0 on. Within a group the examples
    come equally often (give or take one), which is less noise than drawing them independently.

    Raises:
        BadSetting: where there are no groups.
    """
    generator, known = numpy_generator(seed, "balanced order", epoch), _required(groups)
    present, n = np.unique(known), len(known)
    quotas = np.full(len(present), n // len(present))
    quotas[generator.permutation(len(present))[: n % len(present)]] += 1
    found = []
    for group, quota in zip(present, quotas, strict=True):
        rows = np.flatnonzero(known == group)
        passes = [generator.permutation(rows) + repeat * n for repeat in range(-(-quota // len(rows)))]
        found += [np.concatenate(passes)[:quota]] if passes else []
    return generator.permutation(np.concatenate(found))


def in_words(labels: Sequence[str], balance: str, items: str = "images") -> str | None:
    """What the user should know of the sizes of the classes: that they differ much and what handles it, or what was chosen."""
    sizes = Counter(map(str, labels)).most_common()
    (largest, most), (smallest, least) = sizes[0], sizes[-1]
    counts = f"the largest, {largest}, has {most:,} training {items} and the smallest, {smallest}, {least:,}"
    if balance != "none":
        return f"Classes are balanced ({balance}): {counts}; {RULES[balance].words}. valid_loss stays as it is, unweighted."
    if most < UNEQUAL * least:
        return None
    return (
        f"Classes differ much in size: {counts}. To let them count alike in training: --balance weights (or sample); "
        "how each is recognised: headstart evaluate RUN --per-class."
    )


def _required(groups: Int[np.ndarray, " examples"] | None) -> Int[np.ndarray, " examples"]:
    if groups is None:
        raise BadSetting("balance evens out the sizes of classes, and these examples have none. Leave it at none.")
    return groups
