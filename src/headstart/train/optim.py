"""AdamW with one group of parameters per stage, so that later layers learn faster than earlier ones."""

from collections.abc import Sequence

from torch import nn, optim

from headstart.core import Phase
from headstart.model import Model, stage_of_parameters
from headstart.train.adapters import Adapter


def stage_rates(n_stages: int, phase: Phase) -> list[float]:
    """Peak learning rate of each stage from the input on; the last is the head.

    The stage before the head learns at `lr`, each earlier one at `layer_decay` of the next, the head at `head_lr_scale * lr`.
    """
    body = [phase.lr * phase.layer_decay ** (n_stages - 2 - place) for place in range(n_stages - 1)]
    return [*body, phase.lr * phase.head_lr_scale]


def make_optimizer(model: Model, phase: Phase, adapters: Sequence[Adapter] = ()) -> optim.AdamW:
    """AdamW over what takes gradients, for an adapted weight over its factors.

    Biases and norm parameters are not decayed; each group keeps its peak rate in "peak".
    """
    rates = stage_rates(len(model.stages()), phase)
    depths = stage_of_parameters(model)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    factors = {each.name: list(each.factors().values()) for each in adapters}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((depths[name], parameter.ndim > 1), []).extend(factors.get(name, [parameter]))
    described = [
        {"params": parameters, "peak": rates[depth], "lr": 0.0, "weight_decay": phase.weight_decay if decayed else 0.0}
        for (depth, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return optim.AdamW(described, lr=0.0, betas=(0.9, 0.99), fused=fused)


def set_rates(optimizer: optim.Optimizer, share: float) -> float:
    """Sets every group to `share` of its peak; returns the largest rate, which is what the table shows."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return max(group["lr"] for group in optimizer.param_groups)
