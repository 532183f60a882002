"""Weight files of other programs: checkpoints unwrapped, programs refused, damage named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from headstart.backbones import _files
from headstart.errors import WeightsUnavailable

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_what_was_saved_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_file(TENSORS, path) if path.suffix == ".safetensors" else torch.save(TENSORS, path)
    read = _files.read(path)
    assert read.keys() == TENSORS.keys() and all(torch.equal(read[key], TENSORS[key]) for key in read)


def test_a_training_checkpoint_is_unwrapped_averaged_weights_first(tmp_path: Path) -> None:
    averaged = {f"module.{key}": value + 1 for key, value in TENSORS.items()}
    torch.save({"epoch": 3, "state_dict": TENSORS, "state_dict_ema": averaged}, tmp_path / "w.pth")
    assert torch.equal(_files.read(tmp_path / "w.pth")["b"], torch.ones(2))


class Program:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this ran",)


def test_a_file_with_a_program_in_it_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": TENSORS, "extra": Program()}, tmp_path / "w.pth")
    with pytest.raises(WeightsUnavailable, match="can run any program"):
        _files.read(tmp_path / "w.pth")
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x00" * 64])
def test_damage_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsUnavailable, match=name.replace(".", r"\.")):
        _files.read(tmp_path / name)


def test_a_missing_file_and_a_file_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="there is no weight file"):
        _files.read(tmp_path / "nowhere.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsUnavailable, match="holds no tensors"):
        _files.read(tmp_path / "empty.pth")


def test_the_architecture_is_found_in_metadata_then_beside(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path)
    assert _files.architecture(path) is None
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    assert _files.architecture(path) == "resnet18"
    save_file(TENSORS, path, metadata={"architecture": "resnet34"})
    assert _files.architecture(path) == "resnet34"
    (tmp_path / "config.json").write_text("{broken")
    torch.save(TENSORS, tmp_path / "w.pth")
    assert _files.architecture(tmp_path / "w.pth") is None
