"""Any model of timm by its name: weights through timm's own hub code, preprocessing from timm's metadata."""

import os
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from headstart.backbones._wrapped import Wrapped, dry_run, pooled, seeded
from headstart.core import BackboneSpec
from headstart.errors import BadSetting, UnknownName, WeightsUnavailable


def build(
    name: str, pretrained: bool = True, size: int | None = None, seed: int = 0, tensors: dict[str, Tensor] | None = None
) -> Wrapped:
    """timm's model `name` without its classifier, at its own image size or built for `size` pixels.

    `tensors` are a checkpoint of the same architecture, with or without a classifier, used in place of timm's weights.

    Raises:
        UnknownName: with the nearest names.
        WeightsUnavailable: when the weights exist nowhere, or cannot be reached.
        BadSetting: when the network cannot take images of `size` pixels.
    """
    known(name)
    cfg = _config(name)
    native = int(cfg["input_size"][-1])
    resized = size is not None and size != native
    with seeded(seed, "backbone"):
        net = _create(name, pretrained and tensors is None, size if resized and cfg.get("fixed_input_size") else None)
    classifier, width = _remove_classifier(net, cfg)
    if tensors is not None:
        _load(net, tensors, name)
    if resized:
        _try_size(net, name, native, size or native)
    licence = str(cfg.get("license") or "unknown: ask where the weights come from")
    parameters = sum(parameter.numel() for parameter in net.parameters())
    source = (
        "given tensors" if tensors is not None else f"hub: {cfg.get('hf_hub_id') or cfg.get('url')}" if pretrained else "random"
    )
    spec = BackboneSpec(
        name=name,
        size=size if resized else native,
        mean=tuple(float(value) for value in cfg["mean"]),
        std=tuple(float(value) for value in cfg["std"]),
        interpolation=str(cfg["interpolation"]),
        crop_pct=float(cfg["crop_pct"]),
        width=width or int(pooled(dry_run(net, size or native, [])[0]).shape[-1]),
        licence=licence,
        parameters=parameters,
        source=source,
        fixed_size=bool(cfg.get("fixed_input_size")),
    )
    return Wrapped(net.eval(), spec, "from_timm", name.split(".")[0], classifier, net.forward_features)


def known(name: str) -> None:
    """Nothing when timm knows `name`, tag included; otherwise the error.

    Raises:
        UnknownName: with the nearest names.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture) and (not tag or name in timm.list_models(f"{architecture}.*", pretrained=True)):
        return
    if timm.is_model(architecture):
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        raise UnknownName(f'timm has no weights "{tag}" for {architecture}. There are: {", ".join(tags) or "none"}.')
    names = timm.list_models()
    close = get_close_matches(architecture, names, n=3, cutoff=0.5)
    hint = " Did you mean " + " or ".join(f'"{each}"' for each in close) + "?" if close else ""
    raise UnknownName(
        f'there is no backbone "{name}".{hint} A backbone is "small", "medium", "large", one of timm\'s {len(names)} names '
        f"(timm.list_models() in Python), a weights file, a finished run, or your own nn.Module."
    )


def _config(name: str) -> dict[str, Any]:
    import timm

    found = timm.get_pretrained_cfg(name)
    defaults = {"input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    defaults |= {"interpolation": "bicubic", "crop_pct": 0.875}
    return defaults | ({} if found is None else found.to_dict())


def _create(name: str, pretrained: bool, img_size: int | None) -> nn.Module:
    import timm

    try:
        if img_size is None:
            return timm.create_model(name, pretrained=pretrained)
        return timm.create_model(name, pretrained=pretrained, img_size=img_size)
    except (AssertionError, ValueError, TypeError) as error:
        if img_size is None:
            raise
        raise BadSetting(f"{name} cannot take images of {img_size} pixels: {error}") from error
    except Exception as error:
        # beware: hub, requests, urllib and timm each have their own errors for "not reachable" and "no such weights"
        if not pretrained:
            raise
        raise _unavailable(name, error) from error


def _unavailable(name: str, error: Exception) -> WeightsUnavailable:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    cause = "HF_HUB_OFFLINE is set and they are not on this machine yet" if offline else f"{type(error).__name__}: {error}"
    return WeightsUnavailable(
        f"the pretrained weights of {name} could not be loaded ({' '.join(cause.split())[:300]}). "
        f'Without a network: use "small", whose weights are installed with headstart; or fetch them once on a machine with a network '
        f"and copy its Hugging Face cache; or give a local .safetensors file; or start from random weights with pretrained=False."
    )


def _remove_classifier(net: nn.Module, cfg: dict[str, Any]) -> tuple[str | None, int | None]:
    """The classifier's name and width of input, where it is one linear layer under one name; it is taken off either way."""
    name, before = cfg.get("classifier"), set(net.state_dict())
    layer = net.get_submodule(name) if isinstance(name, str) and name in dict(net.named_modules()) else None
    net.reset_classifier(0)
    single = {f"{name}.weight", f"{name}.bias"}
    if isinstance(layer, nn.Linear) and before - set(net.state_dict()) == single and set(net.state_dict()) <= before:
        return name, layer.in_features
    return None, None


def _load(net: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    wanted = net.state_dict()
    missing = sorted(key for key in wanted if key not in tensors or tensors[key].shape != wanted[key].shape)
    if missing:
        raise WeightsUnavailable(
            f"the given weights are not those of {name}: {len(missing)} of its {len(wanted)} tensors are missing or of another shape, "
            f'the first is "{missing[0]}". Name the architecture they were made for.'
        )
    net.load_state_dict({key: tensors[key] for key in wanted})


def _try_size(net: nn.Module, name: str, native: int, size: int) -> None:
    try:
        dry_run(net, size, [])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise BadSetting(
            f"{name} cannot take images of {size} pixels: {' '.join(str(error).split())[:200]}. It was made for {native}; "
            f"sizes that are multiples of 32 usually work."
        ) from error
