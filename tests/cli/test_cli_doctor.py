"""What will hurt on a machine, and what doctor says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from headstart.cli import doctor as command
from headstart.cli.hurts import LITTLE_DISK, allows, engine_hurts, place_hurts, torch_hurts, version_hurts
from headstart.cli.main import main

GOOD = {"works": True, "version": "2.15.0", "cuda_build": None, "cuda": False, "mps": False, "torchvision_error": None}
CHOICE = {
    "engine": "openvino f32",
    "images_per_second": 88.0,
    "precision": "float32",
    "training_images_per_second": 30.0,
    "notes": [],
}


@pytest.mark.parametrize(
    ("specifier", "version", "good"),
    [
        ("==2.11.0", "2.11.0", True),
        ("==2.11.0", "2.11.0+cpu", True),
        ("==2.11", "2.11.0", True),
        ("==2.11.0", "2.12.0", False),
        ("==2.11.*", "2.11.3", True),
        ("==2.11.*", "2.110.0", False),
        (">=2.14.0", "2.15.0", True),
        (">=2.14.0", "2.9.1", False),
        (">=2.14.0,<3", "3.0", False),
        ("!=2.15.1, >=2", "2.15.1", False),
        ("~=2.14.1", "2.14.9", True),
        ("~=2.14.1", "2.15.0", False),
        ("<=2.14", "2.14.0", True),
        (">2.14", "2.14.0", False),
        ("", "2.0", True),
        ("===odd", "2.0", True),
    ],
)
def test_versions_inside_a_specifier(specifier: str, version: str, good: bool):
    assert allows(specifier, version) is good


@pytest.mark.parametrize(
    ("requirement", "torch", "hurts"),
    [
        ("torch==2.11.0", "2.11.0+cu128", False),
        ("torch==2.11.0", "2.12.1", True),
        ("torch (>=2.14.0)", "2.15.0", False),
        ("torch (==2.10.0) ; extra == 'x'", "2.15.0", True),
        ("torchdata==0.1", "2.15.0", False),
        ("numpy", "2.15.0", False),
    ],
)
def test_a_torchvision_that_wants_another_torch_hurts(requirement: str, torch: str, hurts: bool):
    found = version_hurts({"torch": torch, "torchvision": "0.26.0"}.get, lambda package: [requirement])
    assert bool(found) is hurts
    assert not version_hurts({"torch": torch}.get, lambda package: [requirement])


def test_a_card_that_torch_cannot_use_hurts():
    assert torch_hurts(GOOD, nvidia=False) == []
    (hurt,) = torch_hurts(GOOD, nvidia=True)
    assert "without CUDA" in hurt.what and "pytorch.org" in hurt.remedy
    (hurt,) = torch_hurts({**GOOD, "cuda_build": "13.2"}, nvidia=True)
    assert "cannot use it" in hurt.what and "driver" in hurt.remedy
    assert torch_hurts({**GOOD, "cuda_build": "13.2", "cuda": True}, nvidia=True) == []


def test_broken_installations_hurt():
    (hurt,) = torch_hurts({"works": False, "error": "OSError: libc10.so"}, nvidia=False)
    assert "libc10" in hurt.what and "reinstall" in hurt.remedy.lower()
    (hurt,) = torch_hurts({**GOOD, "torchvision_error": "operator torchvision::nms does not exist"}, nvidia=False)
    assert "nms" in hurt.what


def test_places_that_hurt():
    assert place_hurts(Path("c"), LITTLE_DISK, {"pixels": True}) == []
    assert place_hurts(Path("c"), None, {"pixels": True}) == []
    (hurt,) = place_hurts(Path("c"), LITTLE_DISK - 1, {"pixels": True})
    assert "only 5.0 GB" in hurt.what
    (hurt,) = place_hurts(Path("c"), LITTLE_DISK, {"pixels": True, "features": False})
    assert "HEADSTART_CACHE" in hurt.remedy


def test_engines_that_hurt():
    assert engine_hurts(GOOD, True, CHOICE) == []
    (hurt,) = engine_hurts(GOOD, False, CHOICE)
    assert hurt.remedy == "pip install openvino"
    assert engine_hurts({**GOOD, "cuda": True}, False, CHOICE) == []
    assert "passed over" in engine_hurts(GOOD, True, {**CHOICE, "notes": ["OpenVINO was passed over: why."]})[0].what
    assert "why" in engine_hurts(GOOD, True, {"error": "why"})[0].what


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Doctor without the measurements, on an own cache."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setattr(command, "_choice", lambda: CHOICE)
    return tmp_path


def test_doctor_for_people_and_for_programs(quick: Path, capsys: pytest.CaptureFixture):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for words in (
        "versions   headstart",
        "processor  ",
        "engine     openvino f32",
        "precision  float32",
        "caches     pixels 0 B",
        str(quick),
    ):
        assert words in out
    assert main(["doctor", "--json"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["choice"]["engine"] == "openvino f32" and found["torch"]["works"] and isinstance(found["will_hurt"], list)
    assert list(quick.iterdir()) == [], "looking creates nothing"


def test_clearing_the_cache_says_what_it_freed(quick: Path, capsys: pytest.CaptureFixture):
    from headstart.store import cache

    (cache.make("pixels") / "x").write_bytes(bytes(2_000_000))
    assert main(["doctor", "--clear-cache"]) == 0
    assert "cleared    2.0 MB of caches" in capsys.readouterr().out
    assert cache.usage()["pixels"] == 0


def test_a_torch_that_does_not_start_is_told_and_is_exit_1(quick: Path, monkeypatch, capsys: pytest.CaptureFixture):
    broken: dict[str, Any] = {"works": False, "error": "OSError: libc10.so", "cuda": False, "mps": False, "cuda_build": None}
    monkeypatch.setattr(command, "_torch", lambda: broken)
    assert main(["doctor"]) == 1
    assert "What will hurt:" in (out := capsys.readouterr().out) and "libc10.so" in out


def test_an_error_while_trying_the_engine_is_told(quick: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.undo()
    monkeypatch.setenv("HEADSTART_CACHE", str(quick))

    def broken() -> dict[str, Any]:
        raise RuntimeError("weights are gone")

    monkeypatch.setattr(command, "_measured_choice", broken)
    assert main(["doctor"]) == 0
    assert "weights are gone" in capsys.readouterr().out


@pytest.mark.slow
def test_doctor_measures_what_a_run_would_use(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    choice = json.loads(capsys.readouterr().out)["choice"]
    assert choice["images_per_second"] > 0 and choice["precision"] in ("float32", "bfloat16")
