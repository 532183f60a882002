"""Every script under examples/ runs, a little of it, and learns something."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SHORTENED = {
    "chain": {"epochs": 0},
    "masks": {"epochs": 0},
    "plain_numbers": {"epochs": 0},
    "texts": {"epochs": 0},
    "several_labels": {"epochs": 0},
    "defect_probability": {"epochs": 0, "count": 240},
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_are_known() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SHORTENED)


def test_none_hides_a_module_of_python() -> None:
    """Their folder comes first in the search path of a script that is run by its name."""
    assert not {path.stem for path in FOLDER.glob("*.py")} & set(sys.stdlib_module_names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric", "least", "most"),
    [
        ("chain", "mAP", 0.5, 1),
        ("plain_numbers", "r2", 0.9, 1),
        ("masks", "miou", 0.6, 1),
        ("texts", "error_rate", 0, 0.1),
        ("several_labels", "mAP", 0.8, 1),
        ("defect_probability", "r2", 0.05, 1),
    ],
)
def test_it_runs_and_learns(name: str, metric: str, least: float, most: float) -> None:
    learn = load(name).main(**SHORTENED[name])
    assert least <= learn.history[0][metric] <= most
