"""What every backbone shares: a network without its classifier, its spec, its stages in depth order, seeded construction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.core import BackboneSpec
from headstart.seeds import derive

Stage = tuple[str, nn.Module]


class Wrapped(nn.Module):
    """A backbone: `net` without its classifier, how it wants its pixels, and how its depth is divided.

    `kind` names the file of `backbones/` that can build it again; `architecture` is timm's name of it, or None;
    `classifier` is the name that timm gives the linear layer taken off, or None when there is no such single layer.
    `order` names the modules of each stage; without it, a forward of one image tells.
    """

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

    def features(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """What the head sees of each image."""
        return pooled(self.net(x))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """The same as `features`, so that the backbone can be converted and hooked like any module."""
        return self.features(x)

    def maps(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch ..."]:
        """The last spatial or token maps, before pooling."""
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
        with torch.no_grad(), as_eval(net):
            output = net(example)
    finally:
        for hook in hooks:
            hook.remove()
    return output, list(dict.fromkeys(called))


def depth_order(net: nn.Module, size: int) -> list[list[str]]:
    """Names of the modules of each stage, in the order in which a forward calls them; norm layers join the stage before."""
    units = _units(net)
    order = {name: place for place, name in enumerate(dry_run(net, size, units)[1])}
    units = sorted(units, key=lambda unit: order.get(unit[0], len(order)))
    stages: list[list[str]] = []
    for name, module in units:
        if stages and all(parameter.ndim <= 1 for parameter in module.parameters()):
            stages[-1].append(name)
        else:
            stages.append([name])
    return stages


def _units(net: nn.Module, prefix: str = "", total: int | None = None) -> list[Stage]:
    """The modules with parameters that make up `net`: plain containers are opened while they hold most of the weights.

    A `ModuleList` is never called itself, so it is always opened; so is a wrapper without parameters of its own that holds all.
    """
    units = [(prefix + name, module) for name, module in net.named_children() if _size(module)]
    total = _size(net) if total is None else total
    opened: list[Stage] = []
    for name, module in units:
        plain = isinstance(module, nn.Sequential) and _size(module) > total / 2
        wrapper = len(units) == 1 and not list(module.parameters(recurse=False)) and len(list(module.children())) > 1
        if isinstance(module, nn.ModuleList | nn.ModuleDict) or plain or wrapper:
            opened += _units(module, f"{name}.", total)
        else:
            opened.append((name, module))
    return opened


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _gathered(modules: list[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.ModuleList(modules)
