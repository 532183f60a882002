"""Your own `nn.Module` as a backbone: images in, features or maps out; a classifier at its end is taken off a copy."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.backbones._wrapped import Wrapped, as_eval, dry_run, pooled
from headstart.core import BackboneSpec
from headstart.errors import BadSetting, StoreError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(module: nn.Module, size: int | None = None, spec: BackboneSpec | None = None) -> Wrapped:
    """A copy of `module` as a backbone; yours is not touched.

    When the last layer that a forward calls is an `nn.Linear`, it is taken for a classifier and left out: end with
    `nn.Identity()` to keep it. Without `spec`, pixels are normalised by ImageNet's mean and deviation, or as
    `module.pretrained_cfg` says where there is one (timm's models).

    Raises:
        BadSetting: when the module cannot take a batch of images of `size` pixels.
    """
    net = copy.deepcopy(module)
    cfg = dict(getattr(module, "pretrained_cfg", None) or {})
    size = size or (spec.size if spec else int(cfg.get("input_size", (3, 224, 224))[-1]))
    notes = _drop_last_linear(net, size)
    width = int(pooled(_forward(net, size)).shape[-1])
    made = BackboneSpec(
        name=type(module).__name__,
        size=size,
        mean=tuple(cfg.get("mean", IMAGENET_MEAN)),
        std=tuple(cfg.get("std", IMAGENET_STD)),
        interpolation=str(cfg.get("interpolation", "bicubic")),
        crop_pct=float(cfg.get("crop_pct", 0.875)),
        width=width,
        licence=str(cfg.get("license") or "yours"),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        source="your module",
    )
    return Wrapped(net.eval(), spec or made, "from_module", notes=notes)


def rebuilt(
    spec: BackboneSpec, tensors: dict[str, Tensor], ours: Mapping[str, Any], files: Mapping[str, str], module: nn.Module | None
) -> Wrapped:
    """Your module with the weights of a bundle.

    Raises:
        StoreError: when it is not given.
    """
    if module is None:
        raise StoreError(
            f"the backbone of this bundle is your own module {spec.name}. Give it too, in Python: hs.load takes it as `backbone`."
        )
    backbone = build(module, spec=spec)
    backbone.net.load_state_dict(tensors)
    return backbone


def _forward(net: nn.Module, size: int) -> torch.Tensor:
    try:
        output, _ = dry_run(net, size, [])
    except Exception as error:
        raise BadSetting(
            f"your module {type(net).__name__} cannot take a batch of images [1, 3, {size}, {size}]: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}. Give size= the side in pixels that it was made for."
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4):
        raise BadSetting(
            f"your module {type(net).__name__} must give one tensor of [batch, features], [batch, tokens, features] or "
            f"[batch, channels, height, width], got {_described(output)}."
        )
    return output


def _described(output: object) -> str:
    return f"a tensor of shape {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__


def _drop_last_linear(net: nn.Module, size: int) -> tuple[str, ...]:
    """Replaces the linear layer that a forward calls last by the identity; a sentence that says so, or nothing."""
    leaves = [(name, module) for name, module in net.named_modules() if name and not list(module.children())]
    called: list[str] = []
    hooks = [module.register_forward_hook(lambda *_, name=name: called.append(name)) for name, module in leaves]
    try:
        with as_eval(net):
            _forward(net, size)
    finally:
        for hook in hooks:
            hook.remove()
    last = net.get_submodule(called[-1]) if called else net
    if not isinstance(last, nn.Linear):
        return ()
    net.set_submodule(called[-1], nn.Identity())
    return (
        f"The last linear layer of your module ({called[-1]}: {last.in_features} -> {last.out_features}) was taken for a "
        f"classifier and left out.",
    )
