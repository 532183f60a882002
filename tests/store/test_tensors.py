import errno
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headstart.errors import StoreError
from headstart.store import tensors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_any_layout_type_and_sharing_comes_back_bit_equal(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    given = {
        "channels_last": weight.contiguous(memory_format=torch.channels_last),
        "weight": weight,
        "tied": weight,
        "view": weight[1:3],
        "turned": weight[:, :, 0, 0].t(),
        "number": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "grad": torch.ones(2, requires_grad=True),
        "bf16": weight.bfloat16(),
        "yes": torch.tensor([True, False]),
    }
    tensors.save(tmp_path / "deep" / "m.safetensors", given, {"what": "test"})
    back = tensors.load(tmp_path / "deep" / "m.safetensors")
    assert set(back) == set(given)
    for name, tensor in given.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor.detach()), name
    assert tensors.metadata(tmp_path / "deep" / "m.safetensors") == {"format": "pt", "what": "test"}
    assert names(tmp_path / "deep") == ["m.safetensors"]


def test_what_was_loaded_is_writable_and_independent_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensors.save(path, {"a": torch.zeros(3)})
    loaded: dict[str, Tensor] = tensors.load(path)
    loaded["a"] += 1
    tensors.save(path, {"a": torch.full((3,), 5.0)})
    assert loaded["a"].tolist() == [1, 1, 1] and tensors.load(path)["a"].tolist() == [5, 5, 5]


@pytest.mark.parametrize("damage", [b"", b"no tensors at all", "cut", "head"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes | str) -> None:
    path = tmp_path / "m.safetensors"
    tensors.save(path, {"a": torch.zeros(30)})
    whole = path.read_bytes()
    path.write_bytes(damage if isinstance(damage, bytes) else whole[:-8] if damage == "cut" else b"\xff" * 8 + whole[8:])
    with pytest.raises(StoreError, match=r"m\.safetensors"):
        tensors.load(path)


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    tensors.save(path, {"a": torch.zeros(3)})

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        tensors.save(path, {"a": torch.ones(3)})
    assert tensors.load(path)["a"].sum() == 0 and names(tmp_path) == ["m.safetensors"]


def test_a_refusal_that_the_library_wraps_in_words_keeps_its_code() -> None:
    assert tensors._as_os_error(ValueError("I/O error: No space left on device (os error 28)")).errno == 28
