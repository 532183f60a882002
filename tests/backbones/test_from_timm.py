"""Names, sizes, weights and classifiers of timm's models."""

from collections.abc import Iterator

import pytest
import timm
import torch

from headstart.backbones import from_timm
from headstart.errors import BadSetting, UnknownName, WeightsUnavailable


@pytest.fixture(autouse=True)
def own_randomness(untouched_randomness: None) -> Iterator[None]:
    """Networks that are built here by their plain constructors draw from a generator that is given back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("typed", "meant"), [("tinny", "tiny"), ("smal", "small"), ("medum", "medium")])
def test_the_short_names_are_among_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f'Did you mean "{meant}"'):
        from_timm.build(typed, pretrained=False)


def test_an_unknown_name_gets_the_nearest_and_the_other_ways() -> None:
    with pytest.raises(UnknownName, match=r'there is no backbone "resnet81"\. Did you mean .*"resnet18".*weight file') as caught:
        from_timm.build("resnet81", pretrained=False)
    assert caught.value.exit_code == 2


def test_an_unknown_tag_gets_the_tags_there_are() -> None:
    with pytest.raises(UnknownName, match=r'no weights "nowhere" for test_resnet\. There are: test_resnet\.r160_in1k\.'):
        from_timm.build("test_resnet.nowhere", pretrained=False)


def test_weights_that_exist_nowhere_are_told_from_weights_out_of_reach() -> None:
    name = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(WeightsUnavailable, match=r"has no pretrained weights .*pretrained=False"):
        from_timm.build(name, pretrained=True)


def test_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, pretrained: bool = False) -> torch.nn.Module:
        assert pretrained
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(WeightsUnavailable, match=r'no route to host second line.*use "small".*pretrained=False') as caught:
        from_timm.build("test_resnet")
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.slow
def test_offline_and_not_in_the_cache() -> None:
    """A process of its own, because the hub reads HF_HUB_OFFLINE when it is imported."""
    import os
    import subprocess
    import sys
    import tempfile

    program = (
        "from headstart.backbones import from_timm\nfrom headstart.errors import WeightsUnavailable\n"
        "try: from_timm.build('test_resnet')\nexcept WeightsUnavailable as error: print(error)"
    )
    with tempfile.TemporaryDirectory() as empty:
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": empty}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert "HF_HUB_OFFLINE is set and they are not on this machine yet" in done.stdout, done.stderr


def test_a_fixed_size_is_built_for_another_size_it_can_take() -> None:
    backbone = from_timm.build("test_vit", pretrained=False, size=96)
    assert backbone.spec.size == 96 and backbone.spec.fixed_size
    with torch.no_grad():
        assert backbone.features(torch.zeros(1, 3, 96, 96)).shape == (1, 64)


@pytest.mark.parametrize(("name", "size"), [("test_vit", 8), ("densenet121", 16), ("test_coatnet", 70)])
def test_a_size_it_cannot_take_is_a_setting_error(name: str, size: int) -> None:
    with pytest.raises(BadSetting, match=rf"{name} cannot take images of {size} pixels .*made for (160|224)"):
        from_timm.build(name, pretrained=False, size=size)


def test_a_convolutional_one_takes_other_sizes_and_remembers() -> None:
    assert from_timm.build("test_resnet", pretrained=False, size=64).spec.size == 64
    assert from_timm.build("test_resnet", pretrained=False).spec.size == 160


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet"])
def test_features_then_timm_s_classifier_are_timm_s_logits(name: str) -> None:
    whole = timm.create_model(name, num_classes=5).eval()
    backbone = from_timm.build(name, tensors=whole.state_dict())
    assert backbone.spec.source == "given tensors" and backbone.classifier is not None
    classifier = whole.get_submodule(backbone.classifier)
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(classifier(backbone.features(x)), whole(x), rtol=1e-6, atol=1e-6)


def test_a_classifier_of_several_layers_has_no_name_in_timm_s_bundle() -> None:
    backbone = from_timm.build("levit_128s", pretrained=False)
    assert backbone.classifier is None and backbone.spec.width == 384


def test_tensors_of_another_architecture_are_refused() -> None:
    with pytest.raises(WeightsUnavailable, match="not those of test_vit"):
        from_timm.build("test_vit", tensors=timm.create_model("test_resnet").state_dict())


def test_an_encoder_without_a_classifier_is_taken_as_it_is() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten())
    assert from_timm._remove_classifier(net, {"classifier": None}) == (None, None)
