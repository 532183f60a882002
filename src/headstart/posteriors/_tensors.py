"""What a posterior knows, as named tensors: the fields of its dataclass that are some."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor


def tensors_of(one: Any) -> Mapping[str, Tensor]:
    """The tensors among the fields of a dataclass, by name; with the task they make an equal one."""
    return {each.name: value for each in fields(one) if isinstance(value := getattr(one, each.name), Tensor)}
