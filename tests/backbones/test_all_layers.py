"""Features of all layers: the numbers that the formula says, at scales that are the same everywhere, through a whole life of a model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart import hooks
from headstart import model as models
from headstart.backbones import _cuts, bundled, from_timm, tiny
from headstart.backbones._all_layers import BESIDE, DRAWN, AllLayers, _drawn
from headstart.cli.main import main
from headstart.errors import BadSetting
from headstart.inspections import evidence
from headstart.inspections._shown import asked
from headstart.learner import tracing
from headstart.store import bundle as bundles
from watched import Notes

Learn = Callable[..., Any]


def noise(side: int = 32, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_they_are_the_last_features_then_mean_and_maximum_of_each_earlier_layer_at_its_scale() -> None:
    inner = tiny.build(3)
    several, x = AllLayers(inner), noise()
    with torch.no_grad():
        first, second = inner.net.blocks[0](x), inner.net.blocks[:2](x)
        parts = [first.mean((2, 3)), first.flatten(2).max(2).values, second.mean((2, 3)), second.flatten(2).max(2).values]
        scaled = [scale * part for scale, part in zip(several.scales.tolist(), parts, strict=True)]
        wanted = torch.cat([inner.features(x), *scaled], 1)
        found = several.features(x)
    torch.testing.assert_close(found, wanted)
    assert several.spec.width == 32 + 2 * 16 + 2 * 24 == found.shape[1]


def test_scales_are_powers_of_two_that_bring_each_block_near_half_the_spread_of_the_features() -> None:
    inner = bundled.build(pretrained=False)
    one, other = AllLayers(inner), AllLayers(bundled.build(pretrained=False))
    assert torch.equal(one.scales, other.scales) and len(one.scales) == 2 * 8
    assert (one.scales.log2() == one.scales.log2().round()).all()
    with torch.no_grad():
        first, *blocks = one.blocks(_drawn(inner.spec.size, DRAWN))
    unit = first.std(0, correction=0).mean() * np.sqrt(first.shape[1])
    for block, scale in zip(blocks, one.scales, strict=True):
        share = scale * block.std(0, correction=0).mean() * np.sqrt(block.shape[1]) / unit
        assert BESIDE / np.sqrt(2) <= share * 1.001 and share <= BESIDE * np.sqrt(2) * 1.001


def test_scales_that_are_given_are_taken_and_nothing_is_measured() -> None:
    scales = [1.0, 2.0, 4.0, 8.0]
    assert AllLayers(tiny.build(), scales).dress == {"scales": scales}


def test_a_network_without_maps_is_refused_with_the_way_out() -> None:
    from headstart.backbones import from_module

    with torch.random.fork_rng(devices=[]):
        flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    with pytest.raises(BadSetting, match='Leave features="layers" out'):
        AllLayers(from_module.build(flat, size=32))


def test_a_run_is_saved_loaded_resumed_and_prolonged_with_its_layers(train_shapes: Learn, shapes: Path, tmp_path: Path) -> None:
    learn = train_shapes(1, features="layers")
    inputs = sorted(str(file) for file in (shapes / "disc").iterdir())[:4]
    told = [one.values for one in learn.predict(inputs)]
    learn.save(tmp_path / "saved")
    for folder in (tmp_path / "saved", learn.run.path):
        again = hs.load(folder)
        np.testing.assert_allclose([one.values for one in again.predict(inputs)], told, atol=1e-6)
    assert isinstance(again.model.backbone, AllLayers)
    assert torch.equal(again.model.backbone.scales, learn.model.backbone.scales)
    assert len(again.more(1).history) == len(learn.history) + 1


def test_layers_learn_and_scales_do_not(train_shapes: Learn) -> None:
    learn = train_shapes(2, features="layers", keep="last")
    fresh = AllLayers(tiny.build()).state_dict()
    moved = [name for name, value in learn.model.backbone.state_dict().items() if not torch.equal(value, fresh[name])]
    assert any(name.startswith("net.blocks.0") for name in moved) and "scales" not in moved


def test_the_body_learns_as_under_a_head_that_sees_the_last_layer(train_shapes: Learn) -> None:
    """And the head on all layers follows: it is not where it was, nor where the solver would put it on published features."""
    same: dict[str, Any] = {"clip": float("inf"), "keep": "last", "posterior": "none"}
    alone, layered = (train_shapes(2, features=features, **same) for features in ("last", "layers"))
    published, wanted = tiny.build().net.state_dict(), alone.model.backbone.net.state_dict()
    for name, value in layered.model.backbone.net.state_dict().items():
        moved, off = (wanted[name] - published[name]).float().norm(), (value - wanted[name]).float().norm()
        assert off <= 0.02 * moved, name
    rows = [learn.history[1]["train_loss"] for learn in (alone, layered)]
    assert rows[0] != pytest.approx(rows[1], rel=1e-3)  # what is told is the loss of what the head says


def test_another_run_starts_from_its_body_with_or_without_the_layers(train_shapes: Learn, shapes: Path, tmp_path: Path) -> None:
    first = train_shapes(1, features="layers", keep="last")
    for features, kind in (("last", False), ("layers", True)):
        learn = hs.Learner(
            hs.image_folder(shapes), backbone=str(first.run.path), features=features, observer=Notes(), run=tmp_path / features
        )
        assert isinstance(learn.model.backbone, AllLayers) == kind
        wanted = first.model.backbone.net.state_dict()
        assert all(torch.equal(value, wanted[name]) for name, value in learn.model.backbone.net.state_dict().items())


def test_a_head_that_goes_on_sees_what_it_saw(train_shapes: Learn, shapes: Path) -> None:
    first, layered = train_shapes(0, features="last"), train_shapes(0, features="layers")
    with pytest.raises(BadSetting, match=r'sees what features="last" gives.*Leave it out'):
        hs.Learner(hs.image_folder(shapes), from_run=first.run.path, features="layers", observer=Notes())
    onward = hs.Learner(hs.image_folder(shapes), from_run=layered.run.path, observer=Notes())
    assert isinstance(onward.model.backbone, AllLayers) and onward.settings.features == "layers"


def test_a_bundle_of_before_there_were_guides_is_read(train_shapes: Learn) -> None:
    learn = train_shapes(0, features="layers")
    bundle = bundles.load(learn.run.bundle)
    old = replace(bundle, tensors={name: value for name, value in bundle.tensors.items() if ".through." not in name})
    assert len(old.tensors) == len(bundle.tensors) - 2
    again, width = models.load_bundle(old), learn.model.backbone.bare.spec.width
    assert torch.equal(again.head.weight, learn.model.head.weight)
    assert torch.equal(again.head.guide.weight, learn.model.head.weight[:, :width])


def test_it_cannot_be_changed_once_something_was_trained(train_shapes: Learn) -> None:
    with pytest.raises(BadSetting, match="features='layers' makes another model"):
        train_shapes(0, features="last").fine_tune(1, features="layers")


def test_a_typo_gets_the_nearest_word(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(shapes), "--features", "layer"]) == 2
    assert 'Did you mean "layers"' in capsys.readouterr().err


def test_texts_have_one_layer_that_the_head_sees() -> None:
    data = hs.from_arrays(np.zeros((8, 3), np.float32) + np.arange(8)[:, None], [0, 1] * 4)
    with pytest.raises(BadSetting, match="images that get one answer each"):
        models.build_backbone("identity", data=data, features="layers")


@pytest.mark.parametrize("name", ["tiny", "resnet18", "test_vit"])
def test_evidence_adds_up_over_all_layers(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = tiny.build() if name == "tiny" else from_timm.build(name, pretrained=False)
        model = models.build(AllLayers(inner), 4).eval()
        with torch.no_grad():
            model.head.bias.add_(torch.randn(4))
        x = torch.randn(1, 3, inner.spec.size, inner.spec.size)
    place = evidence.where(model, torch.cat([x, x]))
    assert not isinstance(place, str), place
    cut, asks = place(x), asked(1, 4, True)
    with torch.no_grad():
        torch.testing.assert_close(cut.features(cut.maps), model.backbone.features(x), rtol=1e-4, atol=1e-5)
        logits = model(x)[0]
    places, left, elsewhere = evidence.evidence(model, cut, asks)
    empty = float(evidence._contrast(model, cut, torch.zeros_like(cut.maps), asks).detach())
    whole = float((logits @ asks.float()).detach())
    assert left < (1e-3 if name != "test_vit" else 0.05)
    in_places = places.sum() + elsewhere * (whole - empty)
    assert abs(in_places - (whole - empty)) <= 1.1 * left * abs(whole - empty) + 1e-4
    assert places.shape[0] == places.shape[1] > 1 and (elsewhere != 0.0) == (name == "test_vit")  # which has a class token


def test_amounts_keep_their_sum_and_their_place_on_another_grid() -> None:
    places = torch.zeros(4, 4, dtype=torch.float64)
    places[3, 0] = 2.0
    for side in (2, 6, 8):
        spread = _cuts.spread(places, side)
        assert float(spread.sum()) == pytest.approx(2.0)
        assert float(spread[side // 2 :, : side // 2].sum()) == pytest.approx(2.0)
    torch.testing.assert_close(_cuts.spread(places, 4), places)


def test_every_question_is_answered_of_it(train_shapes: Learn) -> None:
    learn = train_shapes(1, features="layers", keep="last")
    trace = tracing.traced(learn._session, lambda _: None, {"before", "layers"})
    assert trace.before.last == learn.model.backbone.bare.spec.width < trace.before.features.shape[1]
    report = learn.inspect()
    unknown = {finding.name: finding.headline for finding in report.findings if finding.verdict == "unknown"}
    assert not {"evidence", "drift", "labels", "occlusion", "influence"} & set(unknown), unknown


def test_of_large_pictures_few_are_drawn_and_they_go_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = models.build_backbone("tiny", size=896)
    seen: list[int] = []
    forward = inner.net.forward
    monkeypatch.setattr(inner.net, "forward", lambda x: seen.append(len(x)) or forward(x))
    AllLayers(inner)
    assert sum(seen) == 1 + 4 and max(seen) <= 4  # one to see which layers give maps
    del seen[:]
    AllLayers(models.build_backbone(inner, size=32))
    assert sum(seen) == 1 + 32 and max(seen) <= 4


def test_only_the_layers_that_are_used_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watched norm is not folded into the convolution before it, which costs time."""
    layered, watched = AllLayers(bundled.build(pretrained=False)), list[int]()

    def counting(modules: Any) -> Any:
        watched.append(len(modules))
        return hooks.captured(modules)

    monkeypatch.setattr("headstart.backbones._layers.captured", counting)
    with torch.no_grad():
        layered.features(noise(64))
    assert watched == [len(layered.stages()) - 1]
