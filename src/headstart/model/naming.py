"""Backbones as people name them: by a word, a name of timm, a file of weights, a run, a network of their own."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from headstart import plugins
from headstart.backbones import _files, choices, from_module
from headstart.backbones._wrapped import Wrapped
from headstart.core import Dataset
from headstart.errors import BadSetting
from headstart.model import saving
from headstart.model.bodies import at_size, dressed, named
from headstart.store import atomic, bundle


def build_backbone(
    backbone: str | Path | nn.Module,
    pretrained: bool = True,
    size: int | None = None,
    seed: int = 0,
    data: Dataset | None = None,
    features: str = "last",
) -> Wrapped:
    """A backbone from "small|medium|large", a timm name, "tiny", a weight file, a finished run or bundle, or an `nn.Module`.

    For texts also the name or folder of an encoder of transformers, for numbers "identity". `data` tells what the examples are.

    A weight file is `PATH`, when its metadata, a config.json beside it or its name tells the architecture, or `NAME=PATH`.
    `size` is the side of the images in pixels where it is not to be the backbone's own; `features` as in `Settings`.

    Raises:
        UnknownName, WeightsUnavailable, BadSetting, StoreError: with what to do.
    """
    modality = "image" if data is None else data.modality
    found = dressed(_built(backbone, pretrained, size, seed, data, modality), modality, size, features)
    if data is not None:
        found.require(data)
    return found


def _built(
    backbone: str | Path | nn.Module, pretrained: bool, size: int | None, seed: int, data: Dataset | None, modality: str
) -> Wrapped:
    if isinstance(backbone, Wrapped):
        return at_size(backbone, size)
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
    return named(name, pretrained, size, seed)


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
    backbone = named(architecture, False, size, 0, tensors)
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
    config = folder / "config.json"
    if config.is_file() and "headstart" not in atomic.read_json(config):
        return _from_file(None, folder / "model.safetensors", size)
    backbone = saving.load_bundle(bundle.load(folder)).backbone
    for each in (backbone.bare, backbone):
        each.spec = replace(each.spec, source=str(folder))
    return at_size(backbone, size)
