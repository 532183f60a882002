import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import headstart as hs
from headstart import model as models
from headstart.backbones import from_transformers
from headstart.backbones.from_transformers import MeanOfTokens
from headstart.errors import BadSetting, MissingExtra, WeightsUnavailable
from written import sentences, tiny_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.slow
def test_features_are_the_mean_state_of_each_text_by_itself(folder: Path) -> None:
    backbone = from_transformers.build(str(folder))
    modality, (texts, _) = backbone.takes(), sentences(6)
    rows = [modality.prepared(text, "") for text in texts]
    together = backbone.features(modality.to_input(torch.from_numpy(modality.stacked(rows)))).detach()
    for row, found in zip(rows, together, strict=True):
        states = backbone.net.encoder(input_ids=torch.from_numpy(row).long()[None]).last_hidden_state[0]
        torch.testing.assert_close(found, states.mean(0), rtol=1e-4, atol=1e-5)
    wider = nn.functional.pad(torch.from_numpy(modality.stacked(rows)), (0, 5), value=-1)
    torch.testing.assert_close(backbone.features(wider.long()), together, rtol=1e-5, atol=1e-6)


def test_a_text_that_is_too_long_keeps_its_marks(folder: Path) -> None:
    modality = from_transformers.build(str(folder), size=16).takes()
    long, short = modality.prepared("fine " * 40, ""), modality.prepared("fine day", "")
    assert len(long) == 16 and long[0] == 2 and long[-1] == 3
    assert modality.remarks("fine " * 40, long) == ("cut",) and modality.remarks("fine day", short) == ()
    assert modality.remarks("fine " * 14, modality.prepared("fine " * 14, "")) == ()


def test_stages_are_in_depth_order_and_hold_every_parameter(folder: Path) -> None:
    backbone = from_transformers.build(str(folder))
    assert [name for name, _ in backbone.stages()] == ["encoder.embeddings", "encoder.encoder.layer.0", "encoder.encoder.layer.1"]
    held = {id(parameter) for _, stage in backbone.stages() for parameter in stage.parameters()}
    assert held == {id(parameter) for parameter in backbone.parameters()}


def test_what_stands_behind_the_layers_goes_with_the_last_of_them() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(3, 4)
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.final = nn.LayerNorm(4)

    with torch.random.fork_rng(devices=[]):
        net = MeanOfTokens(Late())
    assert from_transformers.stages_of(net) == [
        ["encoder.words"],
        ["encoder.layers.0"],
        ["encoder.layers.1", "encoder.final"],
    ]


def test_nothing_is_drawn_in_training(folder: Path) -> None:
    backbone = from_transformers.build(str(folder))
    assert all(module.p == 0 for module in backbone.modules() if isinstance(module, nn.Dropout))


@pytest.mark.slow
def test_a_bundle_holds_all_that_it_needs(folder: Path, tmp_path: Path) -> None:
    texts, labels = sentences(24)
    learn = hs.Learner(hs.from_arrays(texts, labels), backbone=folder, size=24, observer=Silent())
    learn.fine_tune(1)
    moved = learn.run.bundle.rename(tmp_path / "moved")
    again = hs.load(moved)
    for old, new in zip(learn.predict(texts), again.predict(texts), strict=True):
        np.testing.assert_allclose(new.values, old.values, rtol=0, atol=1e-6)
    assert again.modality.size == 24 and again.model.backbone.spec.modality == "text"
    assert [name for name, _ in again.model.stages()] == [name for name, _ in learn.model.stages()]


def test_random_weights_are_named_by_the_seed(folder: Path) -> None:
    one, two, other = (from_transformers.build(str(folder), pretrained=False, seed=seed) for seed in (1, 1, 2))
    key = "net.encoder.embeddings.word_embeddings.weight"
    assert torch.equal(one.state_dict()[key], two.state_dict()[key]) and not torch.equal(
        one.state_dict()[key], other.state_dict()[key]
    )


def test_weights_in_a_pickle_are_not_opened(folder: Path, tmp_path: Path) -> None:
    """State is data: only safetensors are read, although transformers would take the other file too."""
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    torch.save(safetensors.torch.load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"safetensors"):
        from_transformers.build(str(pickled))


def test_the_tokenizer_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = from_transformers.build(str(folder))
    monkeypatch.setattr(from_transformers, "Cutter", None)
    assert backbone.takes().tokenizer is backbone.takes(16).tokenizer


def test_what_cannot_be_had_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsUnavailable, match="the text encoder nobody/has-this could not be had"):
        from_transformers.build("nobody/has-this")
    with pytest.raises(BadSetting, match="reads 32 tokens at most, got size=64"):
        from_transformers.build(str(folder), size=64)
    data = hs.from_arrays(*sentences(8))
    with pytest.raises(BadSetting, match="takes images, but arrays holds texts"):
        models.build_backbone(models.build_backbone("tiny"), data=data)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "headstart\[text\]"'):
        from_transformers.build(str(folder))


class Silent:
    def show(self, event: object) -> None: ...

    def close(self) -> None: ...
