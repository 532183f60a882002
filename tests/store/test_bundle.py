import json
from pathlib import Path

import pytest
import torch

from headstart.core import FORMAT, Plan, Settings
from headstart.errors import NewerFormat, NotARun, StoreError
from headstart.store import bundle
from headstart.store.bundle import Bundle
from headstart.store.runs import Run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sample(value: float = 1.0) -> Bundle:
    config = {"architecture": "tiny", "num_classes": 2, "headstart": {"geometry": {"size": 32}}}
    task = {"name": "single_label", "classes": ["a", "b"]}
    return Bundle({"head.weight": torch.full((2, 4), value)}, config, task, f"# a model of {value} ü", {"words.json": '["ü"]'})


def test_it_comes_back_equal_from_the_bundle_and_from_the_run(tmp_path: Path) -> None:
    run = Run.create(Plan({}, {}, Settings()), tmp_path / "run")
    bundle.save(run.bundle, sample())
    for path in (run.bundle, run.path, str(run.path)):
        back = bundle.load(path)
        assert torch.equal(back.tensors["head.weight"], sample().tensors["head.weight"])
        assert back.task == sample().task and back.card == sample().card
        ours = {"geometry": {"size": 32}, "format": FORMAT, "files": ["words.json"]}
        assert back.config["architecture"] == "tiny" and back.config["headstart"] == ours
        assert back.files == sample().files
    assert names(run.bundle) == ["README.md", "config.json", "model.safetensors", "task.json", "words.json"]


def test_saving_replaces_the_whole_bundle_while_its_tensors_are_in_use(tmp_path: Path) -> None:
    bundle.save(tmp_path / "b", sample(1))
    in_use = bundle.load(tmp_path / "b")
    (tmp_path / "b" / "posterior").mkdir()
    bundle.save(tmp_path / "b", sample(2))
    assert in_use.tensors["head.weight"].sum() == 8 and bundle.load(tmp_path / "b").tensors["head.weight"].sum() == 16
    assert not (tmp_path / "b" / "posterior").exists() and names(tmp_path) == ["b"]


def test_a_bundle_that_was_caught_between_two_renames_is_found(tmp_path: Path) -> None:
    from headstart.store._leftover import beside

    bundle.save(tmp_path / "b", sample(1))
    (tmp_path / "b").rename(beside(tmp_path / "b", "ready"))
    assert bundle.load(tmp_path / "b").tensors["head.weight"].sum() == 8 and names(tmp_path) == ["b"]


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotARun, match="does not exist"):
        bundle.load(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    with pytest.raises(NotARun, match="neither a bundle"):
        bundle.load(tmp_path / "photos")
    run = Run.create(Plan({}, {}, Settings()), tmp_path / "run")
    with pytest.raises(NotARun, match="has no bundle yet"):
        bundle.load(run.path)
    bundle.save(tmp_path / "b", sample())
    (tmp_path / "b" / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(NotARun, match="headstart did not write"):
        bundle.load(tmp_path / "b")


def test_a_later_format_and_damage_are_told(tmp_path: Path) -> None:
    bundle.save(tmp_path / "b", sample())
    config = tmp_path / "b" / "config.json"
    good = json.loads(config.read_text())
    config.write_text(json.dumps({**good, "headstart": {"format": FORMAT + 1}}))
    with pytest.raises(NewerFormat):
        bundle.load(tmp_path / "b")
    config.write_text(json.dumps(good))
    (tmp_path / "b" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(StoreError, match=r"model\.safetensors"):
        bundle.load(tmp_path / "b")
