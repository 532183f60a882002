"""Any model of timm by its name: weights through timm's own hub code, preprocessing from timm's metadata."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from headstart.backbones import choices
from headstart.backbones._wrapped import Wrapped, dry_run, fitting, pooled, seeded
from headstart.core import BackboneSpec
from headstart.errors import BadSetting, UnknownName, WeightsUnavailable

DEFAULTS = {
    "input_size": (3, 224, 224),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
}


def build(
    name: str,
    pretrained: bool = True,
    size: int | None = None,
    seed: int = 0,
    tensors: Mapping[str, Tensor] | None = None,
) -> Wrapped:
    """timm's model `name` without its classifier, at its own image size or built for `size` pixels.

    `tensors` are a checkpoint of the same architecture, with or without a classifier, used in place of timm's weights.

    Raises:
        UnknownName: with the nearest names.
        WeightsUnavailable: when the weights exist nowhere, or cannot be reached.
        BadSetting: when the network cannot take images of `size` pixels.
    """
    check_name(name)
    cfg = _config(name)
    native = int(cfg["input_size"][-1])
    side = native if size is None else size
    download = pretrained and tensors is None
    if download:
        _check_weights(name)
    with seeded(seed, "backbone"):
        net = _create(name, download, side if side != native and cfg.get("fixed_input_size") else None)
    _check_three_channels(net, name)
    classifier, width = _remove_classifier(net, cfg)
    if tensors is not None:
        net.load_state_dict(fitting(tensors, net, name))
    if width is None or side != native:
        width = _width(net, name, native, side)
    source = "random" if not download else f"hub: {cfg.get('hf_hub_id') or cfg.get('url')}"
    spec = _spec(name, cfg, side, width, net, source if tensors is None else "given tensors")
    return Wrapped(net.eval(), spec, "from_timm", name.partition(".")[0], classifier, getattr(net, "forward_features", None))


def _spec(name: str, cfg: dict[str, Any], side: int, width: int, net: nn.Module, source: str) -> BackboneSpec:
    red, green, blue = (float(value) for value in cfg["mean"])
    std_red, std_green, std_blue = (float(value) for value in cfg["std"])
    return BackboneSpec(
        name=name,
        size=side,
        mean=(red, green, blue),
        std=(std_red, std_green, std_blue),
        interpolation=str(cfg["interpolation"]),
        crop_pct=float(cfg["crop_pct"]),
        width=width,
        licence=str(cfg.get("license") or "not stated: ask where the weights come from"),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        source=source,
        fixed_size=bool(cfg.get("fixed_input_size")),
    )


def check_name(name: str) -> None:
    """Nothing when timm knows `name`, its tag included; otherwise the error.

    Raises:
        UnknownName: with the nearest names.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture):
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        if not tag or name in tagged:
            return
        raise UnknownName(f'timm has no weights "{tag}" for {architecture}. There are: {", ".join(tagged) or "none"}.')
    names = timm.list_models()
    known = ["tiny", *(size.name for size in choices.SIZES), *names]
    close = get_close_matches(architecture, known, n=3, cutoff=0.5)
    hint = " Did you mean " + " or ".join(f'"{each}"' for each in close) + "?" if close else ""
    raise UnknownName(
        f'there is no backbone "{name}".{hint} A backbone is "small", "medium", "large", one of timm\'s {len(names)} names '
        f"(timm.list_models() in Python), a weight file, a finished run, or your own nn.Module."
    )


def _config(name: str) -> dict[str, Any]:
    import timm

    found = timm.get_pretrained_cfg(name)
    return DEFAULTS if found is None else DEFAULTS | found.to_dict()


def _check_weights(name: str) -> None:
    import timm

    if not timm.is_model_pretrained(name):
        near = get_close_matches(name.partition(".")[0], timm.list_pretrained(), n=3, cutoff=0.5)
        raise WeightsUnavailable(
            f"timm has no pretrained weights for {name}. Near it, with weights: {', '.join(near) or 'none'}. "
            f"To train {name} from random weights: pretrained=False."
        )


def _create(name: str, download: bool, img_size: int | None) -> nn.Module:
    import timm

    if img_size is not None:
        try:
            random = timm.create_model(name, img_size=img_size)
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            raise _bad_size(name, img_size, error) from error
        if not download:
            return random
    elif not download:
        return timm.create_model(name)
    try:
        if img_size is None:
            return timm.create_model(name, pretrained=True)
        return timm.create_model(name, pretrained=True, img_size=img_size)
    except Exception as error:
        # beware: hub, httpx and urllib each have their own errors for "not reachable", some of them built-in ones
        raise _unavailable(name, error) from error


def _unavailable(name: str, error: Exception) -> WeightsUnavailable:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    cause = "HF_HUB_OFFLINE is set and they are not on this machine yet" if offline else f"{type(error).__name__}: {error}"
    return WeightsUnavailable(
        f"the pretrained weights of {name} could not be loaded ({' '.join(cause.split())[:300]}). "
        f'Without a network: use "small", whose weights are installed with headstart; or fetch them once on a machine with a '
        f"network and copy its Hugging Face cache; or give a local .safetensors file; or start from random weights with "
        f"pretrained=False."
    )


def _bad_size(name: str, size: int, error: Exception) -> BadSetting:
    native = int(_config(name)["input_size"][-1])
    return BadSetting(
        f"{name} cannot take images of {size} pixels ({' '.join(str(error).split())[:200]}). It was made for {native}: "
        f"leave size out, or try a multiple of 32 near it."
    )


def _check_three_channels(net: nn.Module, name: str) -> None:
    channels = getattr(net, "in_chans", 3)
    if channels != 3:
        raise BadSetting(f"{name} takes images of {channels} channels, but photographs have 3. Choose another backbone.")


def _remove_classifier(net: Any, cfg: dict[str, Any]) -> tuple[str | None, int | None]:
    """Takes the classifier off; its name and width of input where it is one linear layer, which a bundle can put back."""
    name, before = cfg.get("classifier"), set(net.state_dict())
    layer = dict(net.named_modules()).get(name) if isinstance(name, str) else None
    if hasattr(net, "reset_classifier"):  # encoders have no classifier to take off
        net.reset_classifier(0)
    left = set(net.state_dict())
    if isinstance(layer, nn.Linear) and before - left == {f"{name}.weight", f"{name}.bias"} and left <= before:
        return name, layer.in_features
    return None, None


def _width(net: nn.Module, name: str, native: int, side: int) -> int:
    """Features per image, from a forward of one image of `side` pixels."""
    try:
        return int(pooled(dry_run(net, side, [])[0]).shape[-1])
    except (AssertionError, RuntimeError, ValueError) as error:
        if side == native:
            raise
        raise _bad_size(name, side, error) from error
