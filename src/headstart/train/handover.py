"""A finished model at the start of another training: its head with rows for the classes that it has not seen.

With z the inputs of the last layer, mu_c their mean over the training images of the new class c, mu over all training images,
w_k the K rows that are there and w their mean, the row of the class starts as its prototype on the scale of the others,
    w_c = w + s (mu_c - mu) / |mu_c - mu|,    s = 1/K sum_k |w_k - w|
and its bias so that the mean probability of c over the training images is its share of them (what maximum likelihood gives a bias).
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headstart.errors import BadSetting
from headstart.model import Model, build
from headstart.train.features import Features
from headstart.train.state import TrainState

UNSEEN_BIAS = -1e4
"""Of a class that has no row yet: its probability is zero."""
ROUNDS = 200


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
        last = last_layer(wide.head)
        last.bias[rows:] = UNSEEN_BIAS
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


def start_new_rows(state: TrainState, features: Features, known: int) -> None:
    """Gives the head's rows from `known` on their prototypes, from the features of the training images as the backbone is now."""
    train = state.parts["train"]
    last = last_layer(state.model.head)
    inputs = _inputs_of(state.model.head, last, torch.from_numpy(features.rows[train.indices]).to(last.weight.device))
    weight, bias = prototypes(
        inputs.numpy(),
        train.targets.numpy(),
        last.weight.detach().cpu().numpy()[:known],
        last.bias.detach().cpu().numpy()[:known],
    )
    with torch.no_grad():
        last.weight[known:] = torch.from_numpy(weight).to(last.weight)
        last.bias[known:] = torch.from_numpy(bias).to(last.bias)


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


def prototypes(
    inputs: Float[np.ndarray, "batch inputs"],
    targets: Int[np.ndarray, " batch"],
    weight: Float[np.ndarray, "known inputs"],
    bias: Float[np.ndarray, " known"],
) -> tuple[Float[np.ndarray, "new inputs"], Float[np.ndarray, " new"]]:
    """Weights and biases of the classes after the `known` ones: formula at the head of this file."""
    known = len(weight)
    new = range(known, int(targets.max(initial=known - 1)) + 1)
    middle = weight.mean(0)
    scale = float(np.linalg.norm(weight - middle, axis=1).mean())
    centre = inputs.mean(0)
    rows = []
    for label in new:
        away = inputs[targets == label].mean(0) - centre
        rows.append(middle + scale * away / max(float(np.linalg.norm(away)), 1e-12))
    rows = np.array(rows, np.float64).reshape(len(new), -1)
    fixed = inputs.astype(np.float64) @ weight.T.astype(np.float64) + bias
    return rows, _biases(fixed, inputs.astype(np.float64) @ rows.T, np.array([(targets == label).mean() for label in new]))


def _biases(
    known: Float[np.ndarray, "batch known"], new: Float[np.ndarray, "batch new"], shares: Float[np.ndarray, " new"]
) -> Float[np.ndarray, " new"]:
    """The biases with which the new classes are as probable, on average, as they are frequent; by Newton's steps, none too long."""
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    bias = known.max(1).mean() - new.mean(0)
    rest = np.logaddexp.reduce(known, axis=1)
    for _ in range(ROUNDS):
        logits = np.column_stack([rest, new + bias])
        probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[:, 1:]
        slope = np.diag(probs.mean(0)) - probs.T @ probs / len(probs)
        step = np.linalg.solve(slope + 1e-9 * np.eye(len(shares)), shares - probs.mean(0))
        bias = bias + np.clip(step, -1, 1)
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return bias
