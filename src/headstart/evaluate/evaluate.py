"""How good outputs are on labelled examples, each number with its interval."""

from collections.abc import Callable, Sequence
from typing import Any

from headstart.core import Outputs, Task
from headstart.errors import DataError
from headstart.metrics import Measured


def evaluate(
    outputs: Outputs,
    targets: Any,
    task: Task,
    metrics: Sequence[str | Callable[[Any, Any], Any]] = (),
    per_class: bool = False,
) -> dict[str, Measured]:
    """Each metric asked for, by name, after `nll`: the plain negative log-likelihood in nats (no smoothing, no weights).

    With `per_class` the figures of each class follow, named `recall.cat`.

    Raises:
        UnknownName: for a metric that does not exist.
        DataError: if there is nothing to measure on.
    """
    if len(outputs.mean) != len(targets):
        raise DataError(f"there are outputs for {len(outputs.mean)} examples but targets for {len(targets)}: give one each.")
    rules = task.metrics(("nll", *(metric for metric in metrics if metric != "nll")))  # pyright: ignore[reportArgumentType]
    measured = {name: rule(outputs, targets) for name, rule in rules.items()}
    return measured | dict(task.by_class(outputs, targets)) if per_class else measured
