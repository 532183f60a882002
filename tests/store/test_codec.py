import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.core import BackboneSpec, Phase, Plan, Settings, Split
from headstart.errors import BadSetting, StoreError, UnknownName
from headstart.modalities.image import Images
from headstart.store.codec import from_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Everything:
    number: float
    whole: int
    yes: bool
    kind: Literal["a", "b", 3]
    pair: tuple[int, str]
    place: Path
    maybe: Inner | None = None
    either: int | str = 0
    inner: tuple[Inner, ...] = ()
    table: Mapping[str, Inner] = field(default_factory=dict)
    anything: Any = None
    names: list[str] = field(default_factory=list)


numbers = st.floats(allow_nan=False)
inners = st.builds(Inner, st.text(), st.lists(numbers).map(tuple))
plain = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inside: st.lists(inside), max_leaves=4)
everything = st.builds(
    Everything,
    numbers,
    st.integers(),
    st.booleans(),
    st.sampled_from(["a", "b", 3]),
    st.tuples(st.integers(), st.text()),
    st.sampled_from([Path("a/b"), Path("/x")]),
    st.none() | inners,
    st.integers() | st.text(),
    st.lists(inners, max_size=2).map(tuple),
    st.dictionaries(st.text(), inners, max_size=2),
    plain,
    st.lists(st.text(), max_size=2),
)


@given(everything)
def test_whatever_is_written_comes_back_equal(value: Everything) -> None:
    text = json.dumps(to_json(value), allow_nan=False)
    assert from_json(Everything, json.loads(text), "x.json") == value


def test_the_types_of_the_package_come_back_equal() -> None:
    modality = Images(224, 256, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).state()
    plan = Plan(
        {"kind": "folder"},
        {"name": "x"},
        Settings(epochs=3, metrics=("f1",)),
        modality,
        (Phase("all", 3, 1e-3, clip=float("inf")),),
    )
    spec = BackboneSpec("tiny", 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", 1.0, 16, "Apache-2.0", 9, "random")
    for value in (plan, spec, Split(("a",), (), (), 0, "by hand")):
        assert from_json(type(value), json.loads(json.dumps(to_json(value), allow_nan=False)), "x") == value


def test_numbers_of_numpy_become_plain() -> None:
    data = to_json({"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1.0, np.inf]), "d": np.bool_(True)})
    assert json.dumps(data) == '{"a": 0.5, "b": 3, "c": [1.0, "Infinity"], "d": true}'
    assert to_json([np.nan, -np.inf, 1.0], exact=False) == [None, None, 1.0]


def test_an_old_file_without_later_keys_takes_their_defaults() -> None:
    assert from_json(Settings, {"epochs": 2}, "plan.json") == Settings(epochs=2)


def test_an_unknown_key_is_answered_with_the_nearest_and_the_file() -> None:
    with pytest.raises(UnknownName, match=r'"epoch" in plan\.json: settings.*Did you mean "epochs"'):
        from_json(Plan, {"data": {}, "task": {}, "settings": {"epoch": 3}}, "plan.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"whole": 1.5}, "whole should be a whole number, but is 1.5"),
        ({"whole": True}, "whole should be a whole number"),
        ({"number": "1"}, "number should be a number, but is '1'"),
        ({"number": False}, "number should be a number"),
        ({"yes": 1}, "yes should be true or false"),
        ({"kind": "c"}, "kind should be one of 'a', 'b', 3"),
        ({"kind": 3.0}, "kind should be one of"),
        ({"pair": [1]}, "pair should be a list of 2"),
        ({"pair": [1, 2]}, r"pair\[1\] should be a text"),
        ({"inner": [{"name": 3}]}, r"inner\[0\]: name should be a text"),
        ({"inner": "ab"}, "inner should be a list"),
        ({"table": []}, "table should be an object"),
        ({"table": {"k": 1}}, "table: k should hold an object"),
        ({"maybe": 3}, "maybe should hold an object with the fields of Inner"),
        ({"place": 3}, "place should be a text"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(change: dict[str, Any], words: str) -> None:
    good = {"number": 1, "whole": 1, "yes": True, "kind": "a", "pair": [1, "x"], "place": "a"}
    assert from_json(Everything, good, "x.json").number == 1.0
    with pytest.raises(StoreError, match=f"x.json: {words}"):
        from_json(Everything, {**good, **change}, "x.json")


def test_a_missing_key_and_a_value_out_of_range_are_told() -> None:
    with pytest.raises(StoreError, match='lacks the key "name"'):
        from_json(Inner, {}, "x.json")
    with pytest.raises(BadSetting, match="epochs must be"):
        from_json(Settings, {"epochs": -1}, "plan.json")


def test_what_cannot_be_kept_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match="cannot be kept as JSON"):
        to_json({"a": object()})
    with pytest.raises(TypeError, match="keys"):
        to_json({1: "a"})
