"""How good what a model says is, as numbers with 95 % intervals: array arithmetic, no model and no torch.

`classes` measures probabilities of classes, `labels` those of labels of which each example has any number, `values` numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headstart.errors import unknown_name
from headstart.metrics.measured import Measured, Metric, from_function

__all__ = ["HIGHER_IS_BETTER", "Measured", "Metric", "chosen", "from_function"]

HIGHER_IS_BETTER = frozenset({"accuracy", "f1", "auroc", "balanced_accuracy", "mAP", "f1_micro", "exact_match", "r2"})


def chosen(
    names: Sequence[str | Callable[[Any, Any], Any]],
    known: Mapping[str, Metric],
    fastai: Mapping[str, str],
    said: str = "probs [batch, classes]",
) -> dict[str, Metric]:
    """The metrics of these names among those that a task knows, and those made from functions, in the order given.

    Raises:
        UnknownName: with the nearest names; a fastai name is answered with ours.
        BadSetting: for a function without a usable name.
    """
    found = [_by_name(name, known, fastai) if isinstance(name, str) else from_function(name, said) for name in names]
    return {metric.__name__: metric for metric in found}  # pyright: ignore[reportFunctionMemberAccess]


def _by_name(name: str, known: Mapping[str, Metric], fastai: Mapping[str, str]) -> Metric:
    if name in known:
        return known[name]
    raise unknown_name("metric", name, known, f'; here it is called "{fastai[name]}"' if name in fastai else "")
