"""What modules of a network take and give in a forward, while somebody looks: the hooks are there only inside the `with`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def captured(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """A list that holds, after a forward, what each of the modules gave last, in the order of the list; None where it was not called."""
    found: list[Any] = [None] * len(modules)

    def keeper(place: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            found[place] = output

        return keep

    handles = [module.register_forward_hook(keeper(place)) for place, module in enumerate(modules)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def entering(module: nn.Module) -> Iterator[list[Any]]:
    """A list that holds, after a forward, the first thing that the module was given; empty where it was not called."""
    found: list[Any] = []

    def keep(module: nn.Module, given: Any) -> None:
        found[:] = given[:1]

    handle = module.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def replaced(module: nn.Module, tensor: Tensor, gradients: bool) -> Iterator[None]:
    """In a forward the module is given this tensor first; from there on, and not before, gradients are kept if they are wanted."""

    def give(module: nn.Module, given: Any) -> tuple[Any, ...]:
        torch.set_grad_enabled(gradients)
        return (tensor, *given[1:])

    handle = module.register_forward_pre_hook(give)
    try:
        with torch.no_grad():
            yield
    finally:
        handle.remove()
