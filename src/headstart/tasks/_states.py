"""What tasks ask of a state read back from `task.json`, of names and of settings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.core import Settings
from headstart.errors import BadSetting, DataError, StoreError, unknown_name


def require_state(state: Mapping[str, Any], task: str, lists: Sequence[str], others: Sequence[str] = ()) -> None:
    """Nothing, where the state is one of the task: these lists, and perhaps these other keys.

    Raises:
        UnknownName: for another key, with the nearest.
        StoreError: for another task, or a list that is missing or none.
    """
    known = ("name", *lists, *others)
    for key in state:
        if key not in known:
            raise unknown_name("key", key, known, f" in the state of the task {task}")
    if state.get("name") != task or not all(isinstance(state.get(key), list | tuple) for key in lists):
        raise StoreError(f"this is no state of the task {task}: {dict(state)!s:.100}. Restore task.json from a copy.")


def require_different(names: Sequence[str], what: str) -> None:
    """Raises `DataError` where a name of a class or label comes twice."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{what} names must differ, got {', '.join(map(repr, repeated))} more than once.")


def require_no_loss(settings: Settings, what: str) -> None:
    """Raises `BadSetting` where a likelihood is named for what has only one."""
    if settings.loss is not None:
        raise BadSetting(
            f"loss says how numbers lie around what is predicted, and {what} have one loss, got {settings.loss!r}. Leave it out."
        )
