"""Which early stages are worth training when time is short: those through which the first steps would gain something.

The backward pass ends at the first stage that learns, and the early stages of a convolutional network, whose maps are large,
are the dearest (a third of a step for the first four of ten in EfficientNet-Lite0). Which of them a data set needs depends on
how it differs from what the weights were trained on (Lee et al. 2023, "Surgical fine-tuning"): so it is asked, not assumed.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from headstart.core import Batch, Phase, Task
from headstart.engine import memory
from headstart.model import Model, norm_mode, set_trainable, stage_of_parameters
from headstart.train.optim import stage_rates
from headstart.train.step import gradients

NEGLIGIBLE = 0.05
"""Of the first gain, that the stages which stay as they are may have had together."""
PROBED_BATCHES = 2
LAST_STAGES = 3
"""Always learn: the head and the two stages before it."""


def shares_of_gain(model: Model, task: Task, phase: Phase, batches: Iterator[Batch]) -> list[float] | None:
    """The share of each stage, from the input on, in what a first step at the phase's rates would gain; together one. None where no
    stage gains anything, or memory does not suffice: the first step will tell what to do about it.

    Adam's first step moves every weight by its rate against the sign of its gradient, so to first order a stage gains
    rate * |gradient|_1. The model keeps its weights; its gradients are cleared.
    """
    set_trainable(model, 0)
    norm_mode(model, phase.norms)
    sums: dict[str, torch.Tensor] = {}
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]  # norms that learn move with each forward
    for batch in islice(batches, PROBED_BATCHES):
        enough = memory.tried(lambda batch=batch: gradients(model, batch, task, phase)) is not None
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and enough:
                sums[name] = parameter.grad + sums[name] if name in sums else parameter.grad
    model.zero_grad(set_to_none=True)
    for buffer, kept in before:
        buffer.copy_(kept)
    depths, rates = stage_of_parameters(model), stage_rates(len(model.stages()), phase)
    gains = torch.zeros(len(rates), dtype=torch.float64)
    for name, total in sums.items():
        gains[depths[name]] += rates[depths[name]] * total.abs().sum().double().cpu()
    if model.head.solved_once:  # a part of it is new, and gains the most whatever the body does
        gains[-1] = 0.0
    return (gains / gains.sum()).tolist() if gains.sum() > 0 else None


def without_idle_stages(model: Model, task: Task, phase: Phase, batches: Iterator[Batch]) -> tuple[Phase, str | None]:
    """The phase with the longest row of first stages left out that would gain next to nothing together, and what to say of it."""
    shares = shares_of_gain(model, task, phase, batches)
    first = 0
    if shares is None:
        return phase, None
    while first < len(shares) - LAST_STAGES and sum(shares[: first + 1]) <= NEGLIGIBLE:
        first += 1
    if first == 0:
        return phase, None
    name = model.stages()[first][0]
    return replace(phase, first_stage=first), (
        f"To save time the layers before {name} stay as they are: {sum(shares[:first]):.1%} of what the first steps gain would come "
        "from them."
    )
