"""Backbones ranked without training: by planted features, by heads that were solved without each example, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from drawn import masked_folder
from headstart.cli.main import main
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.learner import choosing
from headstart.report import ranking
from headstart.report.ranking import Candidate, Ranking
from watched import Notes

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")


@pytest.mark.slow
def test_each_candidate_has_its_figures_and_the_best_comes_first(shapes: Path) -> None:
    notes = Notes()
    found = hs.choose(hs.image_folder(shapes), ["tiny"], [32, 48], observer=notes)
    assert len(found.candidates) == 2 and {each.size for each in found.candidates} == {32, 48}
    left = [each.left_out for each in found.candidates]
    assert left == sorted(left) and found.best is found.candidates[0]
    for each in found.candidates:
        assert each.error is None and -1 < each.evidence < 0 and each.width > 0 and each.seconds > 0
        assert set(each.figures) == {"error_rate"} and len(each.losses) == 32
    told = repr(found)
    assert "loss left out" in told and "tiny at 48" in told and "error_rate" in told
    assert any("1 of 2: tiny at 32" in note for note in notes.notes)
    assert not (Path.cwd() / "runs").exists()


@pytest.mark.slow
def test_figures_are_of_heads_that_have_not_seen_the_example(shapes: Path) -> None:
    """The loss left out is above that of the head on what it was solved on, and near that of the validation part in a training."""
    data = hs.image_folder(shapes)
    found = hs.choose(data, ["tiny"], observer=Notes()).best
    learn = hs.Learner(data, backbone="tiny", observer=Notes()).fine_tune(0)
    assert found.left_out > learn.evaluate(part="train", posterior="none")["nll"].value
    assert found.left_out == pytest.approx(float(found.losses.mean()))


@pytest.mark.slow
def test_one_that_cannot_be_built_costs_only_its_own_line(shapes: Path) -> None:
    found = hs.choose(hs.image_folder(shapes), ["tiny", "tinny"], observer=Notes())
    assert [each.backbone for each in found.candidates] == ["tiny", "tinny"]
    assert "tinny" in str(found.candidates[1].error) and "tinny" in repr(found)
    with pytest.raises(BadSetting, match="none of the 1"):
        hs.choose(hs.image_folder(shapes), ["tinny"], observer=Notes())
    for wrong in ({"backbones": "tiny"}, {"backbones": ["tiny"], "sizes": [32, 0]}):
        notes = Notes()
        with pytest.raises(BadSetting):
            hs.choose(hs.image_folder(shapes), observer=notes, **wrong)
        assert not notes.notes  # before anything is read
    assert len(hs.choose(hs.image_folder(shapes), ["tiny", "tiny"], observer=Notes()).candidates) == 1
    with pytest.raises(DataError):
        hs.choose("nowhere", ["tiny"], observer=Notes())


@pytest.mark.slow
def test_numbers_labels_and_masks_can_be_ranked_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 3))
    number = hs.choose(hs.from_arrays(rows, rows[:, 0] + 0.1 * draw.normal(size=40)), observer=Notes()).best
    assert number.left_out is not None and "rmse" in number.figures
    several = hs.from_arrays(rows, [["a"] if row[0] > 0 else ["a", "b"] if row[1] > 0 else ["b"] for row in rows])
    assert hs.choose(several, ["identity"], observer=Notes()).best.left_out is not None
    masks = hs.mask_folder(masked_folder(tmp_path / "masked"), classes=["ground", "red", "blue"])
    of_places = hs.choose(masks, ["tiny"], observer=Notes()).best
    assert of_places.left_out is None and of_places.evidence < 0 and " - " in repr(Ranking((of_places,), ()))


@pytest.mark.slow
def test_a_backbone_that_may_know_the_images_is_told(shapes: Path, tmp_path: Path) -> None:
    hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Notes(), run=tmp_path / "run").fine_tune(0)
    found = hs.choose(hs.image_folder(shapes), ["tiny", str(tmp_path / "run")], observer=Notes())
    assert any("trained before" in note for note in found.notes)


def test_the_layers_that_a_head_sees_can_be_chosen_between(shapes: Path) -> None:
    found = hs.choose(hs.image_folder(shapes), ["tiny"], observer=Notes(), features=["last", "layers"])
    widths = {each.name: each.width for each in found.candidates}
    assert widths == {"tiny": 32, "tiny, all layers": 32 + 2 * 16 + 2 * 24}
    assert {each.row()["features"] for each in found.candidates} == {"last", "layers"}
    with pytest.raises(BadSetting, match="features must be words in a list"):
        hs.choose(hs.image_folder(shapes), ["tiny"], observer=Notes(), features="layers")
    with pytest.raises(UnknownName, match='Did you mean "layers"'):
        hs.choose(hs.image_folder(shapes), ["tiny"], observer=Notes(), features=["last", "layer"])


def candidate(name: str, losses: list[float], evidence: float) -> Candidate:
    return Candidate(name, None, left_out=float(np.mean(losses)), evidence=evidence, losses=np.array(losses))


def test_the_order_is_that_of_the_loss_left_out_then_of_the_evidence_and_what_failed_comes_last() -> None:
    broken, masks = Candidate("broken", None, error="no such"), Candidate("masks", None, evidence=-0.3, seconds=1.0)
    worse = Candidate("worse masks", None, evidence=-0.4)
    one, two = candidate("one", [0.2, 0.4], -0.5), candidate("two", [0.1, 0.3], -0.9)
    found = ranking.ranked([broken, worse, one, masks, two])
    assert [each.name for each in found.candidates] == ["two", "one", "masks", "worse masks", "broken"]
    assert "broken: no such" in repr(found)


def test_what_is_not_told_apart_and_what_disagrees_is_said() -> None:
    draw = np.random.default_rng(0)
    base = draw.exponential(size=200)
    noise = 0.3 * draw.normal(size=200)
    near, far = base + 0.01 + noise - noise.mean(), base + 0.5
    told = ranking._told(
        [candidate("one", base.tolist(), -0.5), candidate("two", near.tolist(), -0.4), candidate("far", far.tolist(), -0.9)]
    )
    assert "Not told apart from one by these examples: two." in told[0]
    assert "The evidence prefers two (-0.400" in told[1]
    clear = ranking._told([candidate("one", base.tolist(), -0.5), candidate("far", far.tolist(), -0.9)])
    assert len(clear) == 1 and "head alone" in clear[0]


def test_what_is_installed_is_the_short_list() -> None:
    assert "tf_efficientnet_lite0" in choosing.installed()


@pytest.mark.slow
def test_the_command_prints_a_table_and_the_command_that_goes_on(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(shapes), "--backbone", "tiny", "--size", "32", "--size", "48"]) == 0
    out = capsys.readouterr().out
    assert "loss left out" in out and f"headstart train {shapes} --backbone tiny --size" in out
    assert main(["choose", str(shapes), "--backbone", "tiny", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"backbone", "left_out", "evidence", "error_rate", "seconds", "licence"} <= set(lines[0])
    assert lines[-1]["best"] == "tiny"
