"""What of a model goes into its bundle, and the model out of one."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from headstart import plugins
from headstart.backbones._wrapped import Wrapped, as_eval, fitting
from headstart.core import FORMAT, BackboneSpec, Modality
from headstart.errors import NewerFormat, StoreError
from headstart.model.bodies import dressed, named
from headstart.model.parts import Model, build
from headstart.store.bundle import Bundle
from headstart.store.codec import from_json


def bundle_tensors(model: Model) -> dict[str, Tensor]:
    """The model's tensors on the CPU: with timm's names for timm's models with a linear head, else `backbone.*` and `head.*`."""
    body, classifier = _prefixes(model)
    tensors = {f"{body}{name}": tensor for name, tensor in model.backbone.net.state_dict().items()}
    tensors |= {f"{classifier}{name}": tensor for name, tensor in model.head.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _prefixes(model: Model) -> tuple[str, str]:
    if model.backbone.classifier and model.head_kind == "linear":
        return "", f"{model.backbone.classifier}."
    return "backbone.", "head."


def bundle_config(model: Model, label_names: tuple[str, ...] | list[str], modality: Modality) -> dict[str, Any]:
    """What config.json says of the model: timm's format where timm can load it, and all that `load_bundle` needs."""
    backbone, spec = model.backbone, model.backbone.spec
    outputs = _outputs(model)
    config: dict[str, Any] = {
        "architecture": backbone.architecture if _prefixes(model)[0] == "" else None,
        "num_classes": outputs,
        "num_features": spec.width,
        "label_names": list(label_names),
        "pretrained_cfg": {
            **modality.published(),
            "fixed_input_size": spec.fixed_size,
            "num_classes": outputs,
            "classifier": backbone.classifier,
            "license": spec.licence,
        },
    }
    if spec.fixed_size:
        config["model_args"] = {"img_size": spec.size}
    config["headstart"] = {
        "format": FORMAT,
        "kind": backbone.kind,
        "architecture": backbone.architecture,
        "backbone": asdict(backbone.bare.spec),
        "modality": modality.state(),
        "head": {"kind": model.head_kind, "outputs": outputs},
        **({"layers": backbone.dress} if backbone.dress else {}),
    }
    return config


def _outputs(model: Model) -> int:
    with torch.no_grad(), as_eval(model.head):
        return model.head(next(model.head.parameters()).new_zeros(1, model.backbone.spec.width)).shape[1]


def load_bundle(bundle: Bundle, module: nn.Module | None = None) -> Model:
    """The model that was saved; `module` is the network itself where the backbone was your own `nn.Module`.

    Raises:
        NewerFormat: when a later version of headstart wrote it.
        StoreError: when something is missing.
    """
    ours = bundle.config.get("headstart")
    if not isinstance(ours, dict):
        raise StoreError('the bundle\'s config.json has no part "headstart": it was not written by headstart.')
    if ours["format"] > FORMAT:
        raise NewerFormat(
            f"the bundle has format {ours['format']}, this headstart reads up to {FORMAT}. Install a newer headstart."
        )
    spec, head = from_json(BackboneSpec, ours["backbone"], "config.json of the bundle, headstart.backbone"), ours["head"]
    prefix = "head."
    if bundle.config.get("architecture") is not None:
        prefix = f"{bundle.config['pretrained_cfg']['classifier']}."
    of_head = {name.removeprefix(prefix): value for name, value in bundle.tensors.items() if name.startswith(prefix)}
    of_body = {name.removeprefix("backbone."): value for name, value in bundle.tensors.items() if not name.startswith(prefix)}
    inputs = {"name": spec.modality, "size": spec.size} | ours.get("modality", {})
    dress = {"features": "layers", **ours["layers"]} if "layers" in ours else {}
    body = dressed(_rebuilt(ours, spec, of_body, module, bundle.files), inputs["name"], inputs["size"], **dress)
    model = build(body, head["outputs"], head["kind"])
    model.head.load_state_dict(
        fitting(model.head.filled(of_head), model.head, f"a {head['kind']} head with {head['outputs']} outputs")
    )
    return model.eval()


def _rebuilt(
    ours: dict[str, Any], spec: BackboneSpec, tensors: dict[str, Tensor], module: nn.Module | None, files: Mapping[str, str]
) -> Wrapped:
    maker = getattr(plugins.find("backbones", ours["kind"]), "rebuilt", None)
    if maker is not None:
        return maker(spec, tensors, ours, files, module)
    backbone = named(ours["architecture"] or spec.name, False, spec.size, 0, tensors)
    backbone.spec = spec
    return backbone
