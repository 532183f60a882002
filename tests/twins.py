"""Slow twins that several tests compare with."""

import numpy as np


def left_out(rows: np.ndarray, target: np.ndarray, rho: float, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """What each example is off by where all others are solved for, at the same penalty and weights, with a free intercept."""
    weights, off = np.broadcast_to(weights, len(rows)), []
    for out in range(len(rows)):
        others = np.arange(len(rows)) != out
        ones = np.hstack([np.ones((others.sum(), 1)), rows[others]])
        scaled = ones * weights[others, None]
        penalty = np.diag([0.0, *[rho] * rows.shape[1]])
        found = np.linalg.solve(ones.T @ scaled + penalty, scaled.T @ target[others])
        off.append(target[out] - np.array([1.0, *rows[out]]) @ found)
    return np.array(off)
