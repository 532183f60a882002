"""What models say: backbones, outputs, predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8

from headstart.core.words import Row

PUBLISHED = ("bundled wheel", "hub", "random", "installed with pip", "nothing to learn")
"""How the sources of such weights begin that no user has trained."""


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a backbone is and how it wants its input; from timm's metadata where it comes from timm."""

    name: str
    size: int
    """Of an input: the side of an image in pixels, the most tokens of a text, how many numbers."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    width: int
    licence: str
    parameters: int
    source: str
    """Where the weights came from, in words: "bundled wheel", "hub", "random", a path."""
    fixed_size: bool = False
    modality: str = "image"
    """The file in `modalities/` that makes its inputs. `mean`, `std`, `interpolation` and `crop_pct` are for images."""
    levels: tuple[tuple[int, int], ...] = ()
    """(channels, side) of the maps that lie one after another in its features, finest first; empty where features are one row."""

    @property
    def published(self) -> bool:
        """Whether its weights are as others published them, or drawn: no example of the user can have trained them."""
        return self.source.startswith(PUBLISHED)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What any model or posterior says of a batch: the mean of the head's outputs, and what is known of their spread.

    `mean` are logits for a classifier; `places` are the rows and columns of an image where something is said of each. `cov`,
    `samples` and `unlike` are filled by posteriors. On the CPU, float32 or float64.
    """

    mean: Float[Any, "batch outputs *places"]
    cov: Float[Any, "batch *places outputs outputs"] | None = None
    samples: Float[Any, "samples batch outputs *places"] | None = None
    unlike: Float[Any, " batch"] | None = None
    """How unlike what was learned from each example is: one minus a p-value."""

    def some(self, places: Any) -> "Outputs":
        """Those of the examples at these places (a slice, numbers, or a mask), in that order."""
        return Outputs(
            self.mean[places],
            None if self.cov is None else self.cov[places],
            None if self.samples is None else self.samples[:, places],
            None if self.unlike is None else self.unlike[places],
        )


@runtime_checkable
class Prediction(Protocol):
    """What is told of one example. `row()` is the machine-readable contract, `repr` speaks to people."""

    id: str

    @property
    def text(self) -> str:
        """What is said, in a few words."""
        ...

    @property
    def probability(self) -> float | None:
        """That what is said is right, where there are several answers of which one is right."""
        ...

    def row(self) -> Row: ...


@runtime_checkable
class Spread(Prediction, Protocol):
    """A prediction that says something of every place of an example."""

    def at(self, height: int, width: int) -> "Spread":
        """The same of so many places."""
        ...

    def saved(self, folder: Path) -> "Spread":
        """The same, with what does not fit in a row in a file there, which the row names."""
        ...

    def painted(self, pixels: UInt8[Any, "any_height any_width 3"], target: Any) -> UInt8[Any, "taller width 3"]:
        """A picture of the example with what is known and what is said laid over it."""
        ...


@runtime_checkable
class Predictive(Protocol):
    """Whatever answers `outputs(batch)`: a model, or a posterior."""

    def outputs(self, inputs: Any) -> Outputs: ...


@runtime_checkable
class Posterior(Protocol):
    """What is known of a head's weights once it is trained. Fitted by a file of `posteriors/`; all that it knows is tensors."""

    def outputs(self, given: Float[Any, "batch inputs"], said: Float[Any, "batch outputs *places"]) -> Outputs:
        """What is said of a batch, with what is not known of it.

        Args:
            given: what the last layer of the head is given.
            said: what the head says.
        """
        ...

    def together(
        self, given: Float[Any, "batch inputs"], said: Float[Any, "batch outputs *places"], count: int
    ) -> Float[Any, "draws batch outputs"] | None:
        """Outputs with about `count` draws of the weights, the same for all examples: what they have to do with each other. None where
        nothing is known of the weights."""
        ...

    def state(self) -> Mapping[str, Any]:
        """All of it as named tensors, from which `load` of its file makes an equal one."""
        ...

    @property
    def words(self) -> str:
        """What was fitted, in a sentence."""
        ...


@runtime_checkable
class Backbone(Protocol):
    """A pretrained body: an `nn.Module` that gives features, with its stages in depth order."""

    spec: BackboneSpec

    def features(self, x: Any) -> Any:
        """[batch, ...] -> [batch, features]."""
        ...

    def maps(self, x: Any) -> Any:
        """[batch, ...] -> the last spatial (or token) maps before pooling."""
        ...

    def stages(self) -> list[tuple[str, Any]]:
        """(name, module) from the input to the output; together they hold every parameter except those of the root itself."""
        ...
