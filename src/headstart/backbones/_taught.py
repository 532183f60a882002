"""What a published network was taught: its classes, and how much each of its features speaks for each of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headstart import plugins
from headstart.backbones._wrapped import Wrapped

IMAGENET = 1000


@dataclass(frozen=True)
class Taught:
    """The classifier that was taken off a network."""

    names: tuple[str, ...]
    weights: Float[np.ndarray, "classes features"]

    def most(self, feature: int, count: int = 3) -> list[str]:
        """The classes that a feature speaks for most, the first one first."""
        return [self.names[number] for number in np.argsort(-self.weights[:, feature], kind="stable")[:count]]


def taught(backbone: Wrapped) -> Taught | None:
    """The classifier that the backbone was published with; None where it is not at hand, or not one of ImageNet's 1,000 classes."""
    read = getattr(plugins.find("backbones", backbone.kind), "classifier", None)
    weights = None if read is None else read(backbone)
    if weights is None or len(weights) != IMAGENET:
        return None
    from timm.data.imagenet_info import ImageNetInfo

    known = ImageNetInfo()
    names = (known.index_to_description(number).split(",")[0] for number in range(IMAGENET))
    return Taught(tuple(names), weights.double().numpy())
