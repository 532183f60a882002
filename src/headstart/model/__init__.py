"""A model is a backbone and a head: what it is made of (`parts`, `bodies`), how its backbone is named (`naming`), its bundle (`saving`)."""

from headstart.model.naming import build_backbone, located
from headstart.model.parts import (
    BatchNorm,
    Model,
    NormMode,
    build,
    learns_statistics,
    norm_mode,
    set_trainable,
    stage_of_parameters,
)
from headstart.model.saving import bundle_config, bundle_tensors, load_bundle

__all__ = [
    "BatchNorm",
    "Model",
    "NormMode",
    "build",
    "build_backbone",
    "bundle_config",
    "bundle_tensors",
    "learns_statistics",
    "load_bundle",
    "located",
    "norm_mode",
    "set_trainable",
    "stage_of_parameters",
]
