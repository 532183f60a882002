"""What every backbone shares: a network without its classifier, its spec, its stages in depth order, seeded construction."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from headstart import plugins
from headstart.core import BackboneSpec, Dataset, Defaults, Modality
from headstart.errors import BadSetting, WeightsUnavailable
from headstart.modalities import image
from headstart.seeds import derive

Stage = tuple[str, nn.Module]


class Wrapped(nn.Module):
    """A backbone: `net` without its classifier, how it wants its pixels, and how its depth is divided.

    `kind` names the file of `backbones/` that can build it again; `architecture` is timm's name of it, or None;
    `classifier` is the name that timm gives the linear layer taken off, or None when there is no such single layer.
    `order` names the modules of each stage; without it, a forward of one image tells.
    """

    defaults = Defaults()
    """What it is trained with, where nobody says."""
    settles = False
    """Whether it must be shown the training examples, by `settle`, before it can give features."""

    def __init__(
        self,
        net: nn.Module,
        spec: BackboneSpec,
        kind: str,
        architecture: str | None = None,
        classifier: str | None = None,
        maps: Callable[[Tensor], Tensor] | None = None,
        order: list[list[str]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.spec = spec
        self.kind = kind
        self.architecture = architecture
        self.classifier = classifier
        self.notes = notes
        self._maps = maps
        self._order = order
        self.training = net.training

    @property
    def whole(self) -> "Wrapped":
        """The backbone that gives one row of features for an example."""
        return self

    @property
    def bare(self) -> "Wrapped":
        """The backbone as it was published, whatever is made of its layers here."""
        return self

    @property
    def dress(self) -> dict[str, list[float]]:
        """What is made of its layers, for a bundle; empty where nothing is."""
        return {}

    @property
    def has_maps(self) -> bool:
        """Whether its maps are those before the last layers of the network, and not what the network gives."""
        return self._maps is not None

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Takes from the inputs of the training examples what it must know of them."""

    def resettled(
        self, rows: Float[np.ndarray, "batch features"], some: Bool[np.ndarray, " batch"]
    ) -> Float[np.ndarray, "batch features"]:
        """Features of training examples as they would be, had it been shown `some` of these alone: the same where it knows none of them."""
        return rows

    def files(self) -> dict[str, str]:
        """What `rebuilt` needs beside the spec and the tensors: texts by the names of their files."""
        return {}

    def takes(self, size: int | None = None) -> Modality:
        """How examples become its inputs, at its own size or at another."""
        return image.of(self.spec, size)

    def require(self, data: Dataset) -> None:
        """Raises `BadSetting` where the examples are not what it takes."""
        if data.modality == self.spec.modality:
            return
        takes, given = (plugins.find("modalities", each).plain().words.items for each in (self.spec.modality, data.modality))
        raise BadSetting(
            f"the backbone {self.spec.name} takes {takes}, but {data.name} holds {given}. Leave backbone out, or name one for {given}."
        )

    def features(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """What the head sees of each example."""
        return pooled(self.net(x))

    def forward(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """The same as `features`, so that the backbone can be converted and hooked like any module."""
        return self.features(x)

    def maps(self, x: Shaped[Tensor, "batch ..."]) -> Any:
        """The last spatial or token maps, before pooling: [batch, ...]; of some networks several at once, in a list."""
        return self.net(x) if self._maps is None else self._maps(x)

    def stages(self) -> list[Stage]:
        """(name, module) from the input to the output; a stage of several modules is a `ModuleList` of them."""
        if self._order is None:
            self._order = depth_order(self.net, self.spec.size)
        return [(names[0], _gathered([self.net.get_submodule(name) for name in names])) for names in self._order]


def pooled(maps: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
    """One row per example: [batch, channels, height, width] and [batch, tokens, features] are averaged, rows stay."""
    if maps.ndim == 4:
        return maps.mean((2, 3))
    return maps.mean(1) if maps.ndim == 3 else maps


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Torch's CPU generator as a function of the place, and given back as it was: for constructors that draw from it."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive(seed, *path))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def fitting(tensors: Mapping[str, Tensor], net: nn.Module, name: str) -> dict[str, Tensor]:
    """Those of `tensors` that `net` has, all of them.

    Raises:
        WeightsUnavailable: when one is missing or of another shape.
    """
    wanted = net.state_dict()
    wrong = [key for key, value in wanted.items() if key not in tensors or tensors[key].shape != value.shape]
    if wrong:
        found = f"is of shape {list(tensors[wrong[0]].shape)}" if wrong[0] in tensors else "is missing"
        raise WeightsUnavailable(
            f"the given weights are not those of {name} as it is built here: {len(wrong)} of its {len(wanted)} tensors are "
            f'missing or of another shape; "{wrong[0]}" {found}, needed is {list(wanted[wrong[0]].shape)}. '
            f"Name the architecture they were made for, and leave size out if it was given."
        )
    return {key: tensors[key] for key in wanted}


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: on a busy machine, waking others for a small forward costs more than the forward."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def as_eval(net: nn.Module) -> Iterator[None]:
    """`net` in evaluation mode; each module's own mode is given back."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def dry_run(net: nn.Module, size: int, watched: Sequence[Stage]) -> tuple[Tensor, list[str]]:
    """What `net` gives for one grey image, and the names of the watched modules in the order of their first call."""
    called: list[str] = []
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: called.append(name)) for name, module in watched]
    example = next(net.parameters(), torch.zeros(())).new_zeros(1, 3, size, size)
    try:
        with torch.no_grad(), as_eval(net), one_thread():
            output = net(example)
    finally:
        for hook in hooks:
            hook.remove()
    return output, list(dict.fromkeys(called))


def depth_order(net: nn.Module, size: int) -> list[list[str]]:
    """Names of the modules of each stage, in the order in which a forward calls them.

    Norm layers, and what has no parameters, join the stage before. A network of a single layer is one stage, with an empty name.
    """
    units = _units(net) or [("", net)]
    order = {name: place for place, name in enumerate(dry_run(net, size, units)[1])}
    units = sorted(units, key=lambda unit: order.get(unit[0], len(order)))
    stages: list[list[str]] = []
    begun = False
    for name, module in units:
        weighty = any(parameter.ndim > 1 for parameter in module.parameters())
        if stages and not (weighty and begun):
            stages[-1].append(name)
        else:
            stages.append([name])
        begun = begun or weighty
    return stages


def _units(net: nn.Module, prefix: str = "", total: int | None = None) -> list[Stage]:
    """The modules that make up `net`, large containers opened.

    A `Sequential` is opened when it holds more than a quarter of the weights, further down more than half. A `ModuleList` is
    never called itself, so it is always opened; so is a wrapper that holds nearly all weights but none of its own.
    """
    units = [(prefix + name, module) for name, module in net.named_children()]
    total = max(1, _size(net)) if total is None else total
    opened: list[Stage] = []
    for name, module in units:
        share = _size(module) / total
        plain = isinstance(module, nn.Sequential) and share > (0.5 if prefix else 0.25)
        wrapper = share > 0.9 and not list(module.parameters(recurse=False)) and len(list(module.children())) > 1
        if type(module) in (nn.ModuleList, nn.ModuleDict) or plain or wrapper:
            opened += _units(module, f"{name}.", total)
        else:
            opened.append((name, module))
    return opened


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _gathered(modules: list[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.ModuleList(modules)
