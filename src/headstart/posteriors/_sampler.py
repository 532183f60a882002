"""Hamiltonian Monte Carlo of many chains at once, and how far its draws can be trusted.

Neal 2011, "MCMC using Hamiltonian dynamics", with the step found by dual averaging in the first part of the chains (Hoffman and Gelman 2014,
algorithm 5) and lengths drawn anew for each trajectory, so that none comes back to where it started. `rhat` and `effective` are the split R-hat
and the bulk effective sample size of Vehtari et al. 2021, "Rank-normalization, folding, and localization", without the ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Target = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of positions [numbers, chains]: the potential energy of each chain and its gradient."""
ACCEPTED = 0.8
"""The share of trajectories that is aimed at."""
LENGTH = (1.2, 2.0)
"""Of trajectories, in units in which the curvature is about one: after a quarter of a turn, 1.57, a draw of a Gaussian has forgotten the last."""
MOST_STEPS = 40
DIVERGED = 1000.0
"""Nats of energy that a trajectory has won or lost where its steps were too long for the place."""


@dataclass(frozen=True)
class Draws:
    """Positions [draws, numbers, chains] after the first part of the chains, with what became of them."""

    positions: Float[Tensor, "draws numbers chains"]
    accepted: float
    divergences: int
    gradients: int


def sample(target: Target, start: Float[Tensor, "numbers chains"], draw: np.random.Generator, warm: int, count: int) -> Draws:
    """`count` draws of each chain after `warm` trajectories that find the step. The target should have a curvature of about one."""
    chains = start.shape[1]
    position, (energy, slope) = start, target(start)
    step, search = 0.3, _Step(0.3)
    kept, accepted, divergences, gradients = list[Tensor](), 0.0, 0, 1
    for place in range(warm + count):
        momentum = torch.from_numpy(draw.standard_normal(start.shape)).to(start)
        turns = int(np.clip(round(draw.uniform(*LENGTH) / step), 1, MOST_STEPS))
        there, force, spin, potential = position, slope, momentum, energy
        for _ in range(turns):
            spin = spin - 0.5 * step * force
            there = there + step * spin
            potential, force = target(there)
            spin = spin - 0.5 * step * force
        gradients += turns
        lost = potential - energy + 0.5 * (spin.double().square() - momentum.double().square()).sum(0)
        lost = torch.where(torch.isfinite(lost), lost, float("inf"))
        probability = torch.exp(-lost.clamp(min=0.0))
        moves = torch.from_numpy(draw.random(chains)) < probability
        position, slope = torch.where(moves, there, position), torch.where(moves, force, slope)
        energy = torch.where(moves, potential, energy)
        if place < warm:
            step = search.next(float(probability.mean()), last=place == warm - 1)
            continue
        kept.append(position)
        accepted += float(probability.mean()) / count
        divergences += int((lost.abs() > DIVERGED).sum())
    return Draws(torch.stack(kept), accepted, divergences, gradients)


class _Step:
    """The step by dual averaging: what is accepted more often than is aimed at makes it longer, with ever less weight."""

    def __init__(self, start: float) -> None:
        self.middle, self.mean_error, self.log_mean, self.count = np.log(10 * start), 0.0, 0.0, 0

    def next(self, accepted: float, last: bool) -> float:
        """The step to try next; at last the one that they tend to."""
        self.count += 1
        share = 1.0 / (self.count + 10)
        self.mean_error += share * (ACCEPTED - accepted - self.mean_error)
        log_step = self.middle - np.sqrt(self.count) / 0.05 * self.mean_error
        weight = self.count**-0.75
        self.log_mean += weight * (log_step - self.log_mean)
        return float(np.exp(self.log_mean if last else np.clip(log_step, -10, 1)))


def rhat(draws: Float[np.ndarray, "draws chains *values"]) -> Float[np.ndarray, "*values"]:
    """How much wider all halves of the chains together are than each by itself: 1 where they say the same."""
    half = len(draws) // 2
    parts = np.concatenate([draws[:half], draws[half : 2 * half]], axis=1)
    within, between = parts.var(0, ddof=1).mean(0), half * parts.mean(0).var(0, ddof=1)
    return np.sqrt(((half - 1) / half * within + between / half) / np.maximum(within, 1e-300))


def effective(draws: Float[np.ndarray, "draws chains *values"]) -> Float[np.ndarray, "*values"]:
    """As many independent draws as these are worth: by autocorrelations, summed in pairs until one is negative (Geyer 1992)."""
    count, chains = draws.shape[:2]
    centred = draws - draws.mean(0)
    size = 2 ** int(np.ceil(np.log2(2 * count)))
    power = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    covariance = np.fft.irfft(power, size, axis=0)[:count].mean(1) / count
    within = covariance[0] * count / (count - 1)
    total = (count - 1) / count * within + (draws.mean(0).var(0, ddof=1) if chains > 1 else 0.0)
    correlation = 1 - (within - covariance * count / (count - 1)) / np.maximum(total, 1e-300)
    correlation[0] = 1.0
    pairs = correlation[: count // 2 * 2].reshape(count // 2, 2, *draws.shape[2:]).sum(1)
    pairs = np.minimum.accumulate(np.where(np.cumprod(pairs > 0, axis=0).astype(bool), pairs, 0.0), axis=0)
    return count * chains / np.maximum(2 * pairs.sum(0) - 1, 1 / np.log10(max(10, count * chains)))
