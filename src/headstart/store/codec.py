"""Dataclasses to plain JSON and strictly back: an unknown key, a wrong type or a missing value is an error that says where."""

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from headstart.errors import StoreError, unknown_name

T = TypeVar("T")
PLAIN = frozenset({type(None), bool, int, str})
NOT_FINITE = {"Infinity": float("inf"), "-Infinity": -float("inf"), "NaN": float("nan")}


def to_json(value: Any, exact: bool = True) -> Any:
    """`value` as plain JSON: dataclasses become objects, tuples arrays, paths strings.

    A number that is not finite becomes its name, from which `from_json` makes it again, or null where not `exact`.
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return dict(zip(names, _each([getattr(value, name) for name in names], exact), strict=True))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if np.isfinite(value):
            return float(value)
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[str(float(value))] if exact else None
    if isinstance(value, np.generic | np.ndarray):
        return to_json(value.tolist(), exact)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(zip(map(_key, value), _each(value.values(), exact), strict=True))
    if isinstance(value, set | frozenset):
        return _each(sorted(value), exact)
    if isinstance(value, Sequence):
        return _each(value, exact)
    raise TypeError(f"a {type(value).__name__} cannot be kept as JSON: {value!r:.80}. This is a bug in headstart.")


def _each(items: Iterable[Any], exact: bool) -> list[Any]:
    return [item if type(item) in PLAIN else to_json(item, exact) for item in items]  # most are, and files can be long


def from_json(cls: type[T], data: Any, where: str) -> T:
    """The dataclass `cls` that `to_json` made `data` from. Keys that are missing take their defaults, so old files load.

    Raises:
        UnknownName: for a key that `cls` does not have, with the nearest one.
        StoreError: for a value of a wrong type, or a missing one; `where` names the file.
    """
    if not isinstance(data, Mapping):
        raise StoreError(f"{where} should hold an object with the fields of {cls.__name__}, but holds {_shown(data)}.")
    known = {field.name: field for field in fields(cls)}  # pyright: ignore[reportArgumentType]
    hints = get_type_hints(cls)
    for key in data:
        if key not in known:
            raise unknown_name("key", str(key), known, f" in {where}")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _read(hints[name], data[name], f"{where}: {name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise StoreError(f'{where} lacks the key "{name}". The file was changed or damaged: restore it from a copy.')
    return cls(**values)


def _read(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments and type(value) in {type(allowed) for allowed in arguments}:
            return value
        raise _wrong(where, "one of " + ", ".join(map(repr, arguments)), value)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is not None and issubclass(origin, Mapping):
        return _read_mapping(arguments, value, where)
    if origin is not None and issubclass(origin, Sequence):
        return [_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(_listed(value, where))]
    return _read_plain(hint, value, where)


def _read_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [choice for choice in arguments if choice is not type(None)]
    for choice in choices[:-1]:
        try:
            return _read(choice, value, where)
        except StoreError:
            continue
    return _read(choices[-1], value, where)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    items = _listed(value, where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if len(items) != len(arguments):
        raise _wrong(where, f"a list of {len(arguments)}", value)
    return tuple(_read(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(arguments, items, strict=True)))


def _read_mapping(arguments: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object", value)
    hint = arguments[1] if len(arguments) == 2 else Any
    return {key: _read(hint, item, f"{where}: {key}") for key, item in value.items()}


def _read_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float:
        if isinstance(value, str) and value in NOT_FINITE:
            return NOT_FINITE[value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise _wrong(where, "a number", value)
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _wrong(where, "a whole number", value)
    if hint in (str, bool):
        if isinstance(value, hint):
            return value
        raise _wrong(where, "a text" if hint is str else "true or false", value)
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return Path(_read_plain(str, value, where))
    if hint in (dict, list, Mapping, Sequence) and isinstance(value, hint):
        return value
    raise _wrong(where, getattr(hint, "__name__", str(hint)), value)


def _listed(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise _wrong(where, "a list", value)


def _wrong(where: str, wanted: str, value: Any) -> StoreError:
    return StoreError(f"{where} should be {wanted}, but is {_shown(value)}. Mend the file, or restore a copy.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of a JSON object are texts, got {key!r}. This is a bug in headstart.")
    return key
