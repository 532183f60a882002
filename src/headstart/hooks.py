"""What modules of a network gave in a forward, while somebody looks: the hooks are there only inside the `with`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn


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
