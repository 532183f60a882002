"""The contract of every backbone: stages cover all and are called in order, widths are true, nothing leaks, bundles come back."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from headstart.backbones import bundled, from_module, from_timm, tiny
from headstart.backbones._all_layers import AllLayers
from headstart.backbones._maps import Maps
from headstart.backbones._wrapped import Wrapped
from headstart.core import BackboneSpec

TIMM = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_efficientnet_ln", "test_nfnet", "test_mambaout")


def own_module() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2))


BUILDERS: dict[str, Callable[[], Wrapped]] = {
    "tiny": tiny.build,
    "bundled": lambda: bundled.build(pretrained=False),
    "from_module": lambda: from_module.build(own_module(), size=32),
    **{name: lambda name=name: from_timm.build(name, pretrained=False, seed=3) for name in TIMM},
    "layers of tiny": lambda: AllLayers(tiny.build()),
    "layers of test_vit": lambda: AllLayers(from_timm.build("test_vit", pretrained=False, seed=3)),
}


@pytest.fixture(scope="module", params=BUILDERS)
def backbone(request: pytest.FixtureRequest) -> Wrapped:
    return BUILDERS[request.param]()


def images(backbone: Wrapped, count: int = 2) -> torch.Tensor:
    side = backbone.spec.size if backbone.spec.fixed_size else 64
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def test_features_have_the_width_that_the_spec_promises(backbone: Wrapped) -> None:
    with torch.no_grad():
        features = backbone.features(images(backbone))
    assert features.shape == (2, backbone.spec.width)
    assert features.std() > 0


def test_spec_counts_parameters_and_says_how_pixels_are_wanted(backbone: Wrapped) -> None:
    spec = backbone.spec
    assert isinstance(spec, BackboneSpec)
    assert spec.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert len(spec.mean) == len(spec.std) == 3 and min(spec.std) > 0 and 0 < spec.crop_pct <= 1


def test_stages_hold_every_parameter_once_except_those_of_the_root(backbone: Wrapped) -> None:
    held = [id(parameter) for _, stage in backbone.stages() for parameter in stage.parameters()]
    assert len(held) == len(set(held))
    roots = {id(parameter) for parameter in backbone.net.parameters(recurse=False)}
    assert set(held) | roots == {id(parameter) for parameter in backbone.parameters()}


def test_stages_are_called_in_the_order_in_which_they_are_listed(backbone: Wrapped) -> None:
    stages = backbone.stages()
    assert len(stages) > 1 and len({name for name, _ in stages}) == len(stages)
    called: list[int] = []
    hooks = []
    for place, (_, stage) in enumerate(stages):
        for part in stage if isinstance(stage, nn.ModuleList) else [stage]:
            hooks.append(part.register_forward_pre_hook(lambda *_, place=place: called.append(place)))
    with torch.no_grad():
        backbone.features(images(backbone))
    for hook in hooks:
        hook.remove()
    assert list(dict.fromkeys(called)) == list(range(len(stages)))


def test_no_stage_is_a_norm_alone(backbone: Wrapped) -> None:
    for name, stage in backbone.stages():
        assert any(parameter.ndim > 1 for parameter in stage.parameters()), name


def test_maps_are_what_features_are_pooled_from(backbone: Wrapped) -> None:
    with torch.no_grad():
        maps = backbone.maps(images(backbone))
    assert maps.ndim in (3, 4) and len(maps) == 2


def test_built_in_evaluation_mode_and_asking_leaves_no_trace(backbone: Wrapped) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.stages()
    assert not any(module.training for module in backbone.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules())


def test_state_dict_names_each_tensor_once(backbone: Wrapped) -> None:
    own = {"scales"} if backbone.dress else set()
    assert all(name.startswith("net.") for name in backbone.state_dict().keys() - own)


def test_a_copy_computes_the_same_with_its_own_weights(backbone: Wrapped) -> None:
    twin, x = copy.deepcopy(backbone), images(backbone)
    with torch.no_grad():
        assert torch.equal(twin.features(x), backbone.features(x))
        for parameter in twin.parameters():
            parameter.zero_()
        assert not torch.equal(twin.maps(x), backbone.maps(x))


@pytest.mark.parametrize("name", ["tiny", "bundled", "test_resnet"])
def test_random_weights_are_a_function_of_the_seed_and_draw_from_nothing_global(name: str) -> None:
    state = torch.get_rng_state()
    builders: dict[str, Callable[[int], Wrapped]] = {
        "tiny": lambda seed: tiny.build(seed),
        "bundled": lambda seed: bundled.build(pretrained=False, seed=seed),
        "test_resnet": lambda seed: from_timm.build("test_resnet", False, seed=seed),
    }
    one, same, other = (torch.cat([p.flatten() for p in builders[name](seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["tiny", "bundled", *TIMM, "test_coatnet"])
def test_maps_are_those_of_the_stages(name: str) -> None:
    build = BUILDERS.get(name, lambda: from_timm.build(name, pretrained=False))
    whole = build()
    try:
        maps = Maps(build(), 64)
    except Exception as error:
        raise AssertionError(name) from error
    size, levels = maps.spec.size, maps.spec.levels
    assert [side for _, side in levels] == sorted({side for _, side in levels}, reverse=True) and levels[0][1] <= size // 4
    inputs = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        rows = maps.features(inputs)
        again = maps.features(inputs)
    assert rows.shape == (2, maps.spec.width) and maps.spec.width == sum(channels * side**2 for channels, side in levels)
    assert torch.equal(rows, again) and rows.std() > 0
    assert maps.state_dict().keys() == whole.state_dict().keys()
    assert [stage for stage, _ in maps.stages()] == [stage for stage, _ in whole.stages()]
    assert maps.whole.spec.width == whole.spec.width and not any(module._forward_hooks for module in maps.modules())
    if name == "bundled":
        assert levels == ((24, 16), (40, 8), (112, 4), (320, 2))
        x = inputs
        with torch.no_grad():
            for module in (maps.net.conv_stem, maps.net.bn1, torch.nn.ReLU6(), *maps.net.blocks[:2]):
                x = module(x)
        assert torch.allclose(rows[:, : 24 * 256].unflatten(1, (24, 16, 16)), x, atol=1e-4)
