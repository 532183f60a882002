"""A finished model at the start of another training: its head with rows for the classes or labels that it has not seen."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.errors import BadSetting
from headstart.model import Model, build
from headstart.train.features import Features
from headstart.train.state import TrainState

UNSEEN_BIAS = -1e4
"""Of a class that has no row yet: its probability is zero."""


def widened(model: Model, outputs: int, seed: int) -> Model:
    """The model with a head of `outputs` rows: those that were there, and rows that never win for the rest.

    Raises:
        BadSetting: when the head does not end in a linear layer.
    """
    old = last_layer(model.head)
    if old.out_features == outputs:
        return model
    wide = build(model.backbone, outputs, model.head_kind, seed)
    wide.head.to(old.weight.device)
    state = wide.head.state_dict()
    rows = old.out_features
    with torch.no_grad():
        for name, tensor in model.head.state_dict().items():
            fresh = state[name]
            if fresh.shape == tensor.shape:
                fresh.copy_(tensor)
            else:  # of the last layer alone
                fresh.zero_()
                fresh[:rows].copy_(tensor)
        for layer in layers_of(wide.head):
            layer.bias[rows:] = UNSEEN_BIAS
    return wide


def last_layer(head: nn.Module) -> nn.Linear:
    """The linear layer that gives the head's outputs.

    Raises:
        BadSetting: when it ends otherwise.
    """
    last = head if isinstance(head, nn.Linear) else list(head.children())[-1:] and list(head.children())[-1]
    if not isinstance(last, nn.Linear) or last.bias is None:
        raise BadSetting(f"a {type(head).__name__} does not end in a linear layer with a bias, so it cannot take a new class.")
    return last


def layers_of(head: Any) -> list[nn.Linear]:
    """Its last layer, and the one that guides it where there is one."""
    return [last_layer(head), *([] if head.guide is None else [head.guide])]


def start_new_rows(state: TrainState, features: Features, known: int) -> None:
    """Starts the head's rows from `known` on as the task says, from the features of the training images as the backbone is now."""
    train = state.parts["train"]
    last, *guides = layers_of(state.model.head)
    inputs = _inputs_of(state.model.head, last, torch.from_numpy(features.rows[train.indices]).to(last.weight.device))
    for layer in (last, *guides):
        kept = layer.weight.detach().cpu().numpy()[:known], layer.bias.detach().cpu().numpy()[:known]
        weight, bias = state.task.new_rows(inputs[:, : layer.in_features].numpy(), train.targets, *kept)
        with torch.no_grad():
            layer.weight[known:] = torch.from_numpy(weight).to(layer.weight)
            layer.bias[known:] = torch.from_numpy(bias).to(layer.bias)


def _inputs_of(head: nn.Module, last: nn.Linear, rows: Float[Tensor, "batch features"]) -> Float[Tensor, "batch inputs"]:
    """What the last layer of the head is given."""
    if head is last:
        return rows.cpu()
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    training = head.training
    try:
        with torch.inference_mode():
            head.eval()(rows)
    finally:
        handle.remove()
        head.train(training)
    return seen[0].float().cpu()
