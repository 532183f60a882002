"""A model is a backbone and a head: its stages in depth order, what of it trains, how its norm layers behave, its bundle."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from headstart import plugins
from headstart.backbones import _files, bundled, choices, from_module, tiny
from headstart.backbones._maps import Maps
from headstart.backbones._wrapped import Wrapped, as_eval, fitting
from headstart.core import FORMAT, BackboneSpec, Dataset, Modality, Outputs
from headstart.errors import BadSetting, NewerFormat, StoreError
from headstart.store import atomic
from headstart.store.bundle import Bundle
from headstart.store.codec import from_json

NormMode = Literal["frozen", "adapt", "train"]
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class Model(nn.Module):
    """A backbone that gives features and a head that turns them into outputs."""

    def __init__(self, backbone: Wrapped, head: nn.Module, head_kind: str = "linear") -> None:
        super().__init__()
        self.backbone = backbone
        self.head: Any = head
        """A file of `heads/` has made it (`heads._head.Head`)."""
        self.head_kind = head_kind

    def features(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """What the head sees."""
        return self.backbone.features(x)

    def forward(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs *places"]:
        """The head's outputs: logits for a classifier."""
        return self.head(self.backbone.features(x))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The backbone's stages from the input on, then ("head", head)."""
        return [*self.backbone.stages(), ("head", self.head)]

    def outputs(self, inputs: Shaped[Tensor, "batch ..."]) -> Outputs:
        """The outputs in evaluation mode, on the CPU in float32; each module's mode is given back."""
        device = next(self.head.parameters()).device
        with torch.inference_mode(), as_eval(self):
            return Outputs(self(inputs.to(device)).float().cpu())


def build(backbone: Wrapped, outputs: int, head_kind: str = "linear", seed: int = 0) -> Model:
    """A model of this backbone with a new, seeded head of the kind asked for."""
    spec = backbone.spec
    return Model(backbone, plugins.find("heads", head_kind).make(spec.width, outputs, seed, spec.levels), head_kind)


# ------------------------------------------------------------------------------------------- what trains, and how


def stage_of_parameters(model: Model) -> dict[str, int]:
    """The depth of the stage of each parameter by name; parameters of the backbone itself (class token, positions) are at 0."""
    depth = {id(parameter): place for place, (_, stage) in enumerate(model.stages()) for parameter in stage.parameters()}
    return {name: depth.get(id(parameter), 0) for name, parameter in model.named_parameters()}


def set_trainable(model: Model, first_stage: int) -> None:
    """Stages before `first_stage` take no gradient, the others do; `len(model.stages()) - 1` is the head alone.

    Raises:
        BadSetting: when there is no such stage.
    """
    last = len(model.stages()) - 1
    if not 0 <= first_stage <= last:
        raise BadSetting(f"first_stage must be between 0 (everything) and {last} (the head alone), got {first_stage}.")
    depths = stage_of_parameters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(depths[name] >= first_stage)


def norm_mode(model: Model, mode: NormMode) -> None:
    """Training mode, with batch norms as asked: call it after `set_trainable`, at the start of every epoch.

    "frozen": every batch norm is fixed: stored statistics, scale and shift stay as they are. "adapt": those of trainable stages use
    and store the statistics of the batch. "train": those of all stages do, and their scale and shift learn, also where the
    stage is frozen. Frozen stages are in evaluation mode otherwise (no dropout). Layer norms have no statistics.
    """
    model.train()
    for _, stage in model.stages():
        norms = [module for module in stage.modules() if isinstance(module, BatchNorm)]
        own = {id(parameter) for norm in norms for parameter in norm.parameters()}
        trainable = any(parameter.requires_grad for parameter in stage.parameters() if id(parameter) not in own)
        stage.train(trainable)
        for norm in norms:
            norm.train(mode == "train" or (mode == "adapt" and trainable))
            if mode != "adapt":
                norm.requires_grad_(mode == "train")


def learns_statistics(model: Model) -> bool:
    """Whether there are norm layers that can use the statistics of a batch."""
    return any(isinstance(module, BatchNorm) for module in model.modules())


# ------------------------------------------------------------------------------------------------ naming a backbone


def build_backbone(
    backbone: str | Path | nn.Module,
    pretrained: bool = True,
    size: int | None = None,
    seed: int = 0,
    data: Dataset | None = None,
) -> Wrapped:
    """A backbone from "small|medium|large", a timm name, "tiny", a weight file, a finished run or bundle, or an `nn.Module`.

    For texts also the name or folder of an encoder of transformers, for numbers "identity". `data` tells what the examples are.

    A weight file is `PATH`, when its metadata, a config.json beside it or its name tells the architecture, or `NAME=PATH`.
    `size` is the side of the images in pixels where it is not to be the backbone's own.

    Raises:
        UnknownName, WeightsUnavailable, BadSetting, StoreError: with what to do.
    """
    modality = "image" if data is None else data.modality
    found = _dressed(_built(backbone, pretrained, size, seed, data, modality), modality, size)
    if data is not None:
        found.require(data)
    return found


def _built(
    backbone: str | Path | nn.Module, pretrained: bool, size: int | None, seed: int, data: Dataset | None, modality: str
) -> Wrapped:
    if isinstance(backbone, Wrapped):
        return _at_size(backbone, size)
    if isinstance(backbone, nn.Module):
        return from_module.build(backbone, size)
    name = choices.backbone_name(str(backbone), modality)
    if data is not None and modality in choices.MAKERS and not _means_folder_of_ours(name):
        return plugins.find("backbones", choices.MAKERS[modality]).for_data(name, pretrained, size, seed, data)
    given, _, file = name.partition("=")
    if file or Path(name).suffix in _files.SUFFIXES:
        return _from_file(given if file else None, Path(file or name).expanduser(), size)
    if _means_folder(name):
        return _from_folder(Path(name).expanduser(), size)
    return _named(name, pretrained, size, seed)


def _dressed(backbone: Wrapped, modality: str, size: int | None = None) -> Wrapped:
    """The backbone as examples of the modality need it: with maps in place of features, or the other way round."""
    if modality not in choices.MAPS:
        return backbone.whole
    return backbone if backbone.spec.levels else Maps(backbone, size)


def _named(name: str, pretrained: bool, size: int | None, seed: int, tensors: dict[str, Tensor] | None = None) -> Wrapped:
    if name == "tiny":
        return _at_size(tiny.build(seed, tensors), size)
    plain = name.removesuffix(choices.TAG)
    if plain in choices.BUNDLED and (tensors is not None or not pretrained or bundled.weights_file(plain) is not None):
        return _at_size(bundled.build(plain, pretrained, seed, tensors), size)
    from headstart.backbones import from_timm

    return from_timm.build(name, pretrained, size, seed, tensors)


def _at_size(backbone: Wrapped, size: int | None) -> Wrapped:
    """The backbone for images of `size` pixels, where it can take others than it was built for."""
    spec = backbone.spec
    if size is None or size == spec.size:
        return backbone
    if spec.fixed_size or spec.levels:
        raise BadSetting(f"the backbone {spec.name} was built for images of {spec.size} pixels, got size={size}. Leave size out.")
    backbone.spec = replace(spec, size=size)
    return backbone


def _means_folder_of_ours(name: str) -> bool:
    """Whether a name is a folder that headstart wrote: a run, or a bundle."""
    path = Path(name).expanduser()
    if (path / "plan.json").is_file():
        return True
    config = path / "config.json"
    return config.is_file() and "headstart" in atomic.read_json(config)


def _from_file(name: str | None, path: Path, size: int | None) -> Wrapped:
    tensors = _files.read(path)
    architecture = name or _files.architecture(path)
    if architecture is None:
        raise BadSetting(
            f'{path} does not tell which architecture its weights are for. Name it: backbone="resnet18={path}" '
            f'(with the right name of timm in place of resnet18), or put a config.json with {{"architecture": ...}} beside it.'
        )
    backbone = _named(architecture, False, size, 0, tensors)
    backbone.spec = replace(backbone.spec, source=str(path))
    return backbone


def _means_folder(name: str) -> bool:
    """True for a path; a plain word only when that folder holds a model, so that no folder hides a backbone's name."""
    path = Path(name).expanduser()
    return "/" in name or "\\" in name or any((path / file).is_file() for file in ("plan.json", "config.json"))


def located(backbone: str) -> str:
    """The name of the backbone; that of a folder which is there by its whole path, so that a run knows it from everywhere."""
    folder = Path(backbone).expanduser()
    return str(folder.absolute()) if _means_folder(backbone) and folder.is_dir() else backbone


def _from_folder(folder: Path, size: int | None) -> Wrapped:
    from headstart.store import bundle

    config = folder / "config.json"
    if config.is_file() and "headstart" not in atomic.read_json(config):
        return _from_file(None, folder / "model.safetensors", size)
    backbone = load_bundle(bundle.load(folder)).backbone
    backbone.spec = replace(backbone.spec, source=str(folder))
    return _at_size(backbone, size)


# ------------------------------------------------------------------------------------------------------- the bundle


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
        "backbone": asdict(backbone.whole.spec),
        "modality": modality.state(),
        "head": {"kind": model.head_kind, "outputs": outputs},
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
    body = _dressed(_rebuilt(ours, spec, of_body, module, bundle.files), inputs["name"], inputs["size"])
    model = build(body, head["outputs"], head["kind"])
    model.head.load_state_dict(fitting(of_head, model.head, f"a {head['kind']} head with {head['outputs']} outputs"))
    return model.eval()


def _rebuilt(
    ours: dict[str, Any], spec: BackboneSpec, tensors: dict[str, Tensor], module: nn.Module | None, files: Mapping[str, str]
) -> Wrapped:
    maker = getattr(plugins.find("backbones", ours["kind"]), "rebuilt", None)
    if maker is not None:
        return maker(spec, tensors, ours, files, module)
    backbone = _named(ours["architecture"] or spec.name, False, spec.size, 0, tensors)
    backbone.spec = spec
    return backbone
