"""Some of many examples by their places, where chance has no part in it."""

import numpy as np
from jaxtyping import Int


def evenly(count: int, most: int) -> Int[np.ndarray, " some"]:
    """Places of at most so many of `count` in a row, from the first to the last at even steps, in order."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
