"""A posterior from the training to the answer: fitted by itself, saved, asked for by name, refused where it does not belong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.learner import believing
from headstart.store import tensors
from headstart.train import head_solve, solved
from headstart.train.budget import CLOSING_SECONDS, seconds_for_posterior
from watched import Notes

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")


def photo(shapes: Path) -> str:
    return str(shapes / "disc" / "disc3.png")


@pytest.mark.slow
def test_answers_know_how_sure_they_are_without_being_asked(trained: hs.Learner, shapes: Path) -> None:
    said, point = trained.predict(photo(shapes)), trained.predict(photo(shapes), posterior="none")
    assert said.epistemic is not None and said.total == pytest.approx(said.aleatoric + said.epistemic)
    assert said.interval[0] <= said.probability <= said.interval[1]
    assert f"({round(100 * said.interval[0])}-" in repr(said) and repr(said).rstrip(")").endswith(("sure", "unsure"))
    assert point.epistemic is None and point.interval is None and "sure" not in repr(point)
    assert trained.posterior().name == "laplace" and "Laplace" in repr(trained.posterior())
    assert repr(trained.posterior("none")) == "Posterior(none)"


def test_what_is_unlike_all_that_was_learned_is_told(trained: hs.Learner, shapes: Path) -> None:
    like = [one.ood for one in trained.predict([str(file) for file in sorted(shapes.glob("disc/*"))])]
    assert all(0 <= one < 1 for one in like)
    strange = trained.predict(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    assert strange.ood > max(like) - 1e-9 and strange.ood == pytest.approx(
        1 - 1 / (len(list(shapes.glob("*/*"))) + 1)  # the training images too, as the body has not learned from them
    )
    assert trained.predict(photo(shapes), posterior="none").ood is None
    assert trained.predict(photo(shapes), posterior="temperature").ood == trained.predict(photo(shapes)).ood
    assert trained.predict(photo(shapes), tta=2).ood is not None


def test_the_table_is_of_the_point_estimate(trained: hs.Learner) -> None:
    row = trained.history[0]
    assert trained.evaluate(posterior="none")["nll"].value == pytest.approx(row["valid_loss"], abs=1e-5)
    assert trained.evaluate()["nll"].value != pytest.approx(row["valid_loss"], abs=1e-5)
    assert trained.posterior().evaluate()["nll"] == trained.evaluate()["nll"]


def test_a_bundle_answers_as_the_learner_did(trained: hs.Learner, shapes: Path, tmp_path: Path) -> None:
    moved = trained.save(tmp_path / "bundle")
    for where in (trained.run.path, trained.run.bundle, moved):
        again = hs.load(where, observer=Notes())
        assert again.predict(photo(shapes)).row() == trained.predict(photo(shapes)).row()
    assert (moved / "posterior" / "tensors.safetensors").is_file()
    assert json.loads((moved / "posterior" / "state.json").read_text())["name"] == "laplace"


def test_one_that_is_named_is_fitted_once_and_kept_in_the_run(
    trained: hs.Learner, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = trained.predict(photo(shapes), posterior="temperature")
    assert said.epistemic is None and said.probability != trained.predict(photo(shapes), posterior="none").probability
    assert (trained.run.posteriors / "temperature" / "state.json").is_file()
    monkeypatch.setattr("headstart.learner.believing.of_kept", None)  # what is there is not fitted again
    again = hs.load(trained.run.path, observer=Notes())
    assert again.predict(photo(shapes), posterior="temperature").row() == said.row()


def test_a_posterior_of_other_weights_is_refused(trained: hs.Learner, shapes: Path, tmp_path: Path) -> None:
    bundle = trained.save(tmp_path / "bundle")
    weights = {name: tensor.clone() for name, tensor in tensors.load(bundle / "model.safetensors").items()}
    weights["head.bias"] += 1.0
    tensors.save(bundle / "model.safetensors", weights)
    seen = Notes()
    assert hs.load(bundle, observer=seen).predict(photo(shapes)).epistemic is None
    assert any("fitted to other weights" in note and "point estimates" in note for note in seen.notes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: (folder / "tensors.safetensors").unlink(),
        lambda folder: (folder / "tensors.safetensors").write_bytes(b""),
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.json").write_text('{"format": 1}'),
        lambda folder: (folder / "state.json").write_text((folder / "state.json").read_text().replace("laplace", "hmc")),
        lambda folder: (folder / "state.json").write_text((folder / "state.json").read_text().replace('"true"', '"trau"')),
        lambda folder: (folder / "state.json").write_text((folder / "state.json").read_text().replace("laplace", "other")),
    ],
)
def test_a_posterior_that_is_not_whole_leaves_the_model(
    trained: hs.Learner, shapes: Path, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    bundle, seen = trained.save(tmp_path / "bundle"), Notes()
    damage(bundle / "posterior")
    said = hs.load(bundle, observer=seen).predict(photo(shapes))
    assert said.probs == trained.predict(photo(shapes), posterior="none").probs and said.epistemic is None
    assert any("point estimates" in note for note in seen.notes)


def test_one_of_the_run_that_is_not_whole_is_fitted_anew(trained: hs.Learner) -> None:
    expected = trained.posterior("temperature").fitted.posterior.state()
    (trained.run.posteriors / "temperature" / "state.json").write_text("")
    again = hs.load(trained.run.path, observer=Notes()).posterior("temperature").fitted.posterior.state()
    assert again["temperature"] == pytest.approx(float(expected["temperature"]), abs=1e-6)


@pytest.mark.slow
def test_one_taken_before_further_training_is_not_asked_of_the_new_model(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), keep="last").fine_tune(0)
    old = learn.posterior()
    learn.fine_tune(1)
    with pytest.raises(BadSetting, match="before it was trained further"):
        old.predict(photo(shapes))
    with pytest.raises(BadSetting, match="before it was trained further"):
        old.evaluate()
    assert learn.posterior().predict(photo(shapes)).epistemic is not None


@pytest.mark.slow
def test_nor_is_it_after_starting_over_with_as_many_rows(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes()).fine_tune(0)
    old = learn.posterior()
    learn.fine_tune(0, restart=True, seed=3)
    with pytest.raises(BadSetting, match="before it was trained further"):
        old.predict(photo(shapes))


@pytest.mark.slow
def test_more_training_fits_it_anew(shapes: Path) -> None:
    seen = Notes()
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=seen, keep="last")
    learn.fine_tune(0)
    first = dict(learn.posterior().fitted.posterior.state())
    learn.fine_tune(1)
    fitted = learn.posterior().fitted
    assert fitted.epoch == 1
    assert any(not torch.equal(first[name], tensor) for name, tensor in fitted.posterior.state().items())
    assert hs.load(learn.run.path, observer=Notes()).predict(photo(shapes)).row() == learn.predict(photo(shapes)).row()


@pytest.mark.slow
def test_features_are_computed_again_only_where_the_kept_row_has_none(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    inner = solved.features_now

    def counted(state: Any, part: str, *rest: Any, **named: Any) -> Any:
        passes.append(part)
        return inner(state, part, *rest, **named)

    monkeypatch.setattr("headstart.learner.believing.features_now", counted)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), keep="last")
    learn.fine_tune(1)  # rows 0 and 1 have their features from solving the head
    assert passes == []
    hs.load(learn.run.path, observer=Notes()).posterior("laplace").predict(photo(shapes))
    assert passes == []
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), head="train").fine_tune(1)
    assert passes == ["valid", "train"] and learn.posterior().name == "laplace"


def test_a_head_without_a_last_linear_layer_has_a_temperature(make_shapes: Make) -> None:
    from drawn import masked_folder

    data = hs.mask_folder(masked_folder(Path("masks"), 12), classes=["ground", "red", "blue"], valid=0.25)
    learn = hs.Learner(data, backbone="tiny", batch_size=4, observer=Notes()).fine_tune(0)
    assert learn.posterior().name == "temperature"
    with pytest.raises(BadSetting, match='"decoder" has none'):
        learn.posterior("laplace")


def test_an_mlp_has_the_posterior_of_its_last_layer(shapes: Path) -> None:
    learn = hs.Learner(
        hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), head="train", head_kind="mlp"
    ).fine_tune(0 + 1)
    said = learn.predict(photo(shapes))
    assert learn.posterior().name == "laplace" and said.epistemic > 0


def test_numbers_have_wider_intervals_far_from_what_was_learned() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 3))
    data = hs.from_arrays(rows, (rows @ [1.0, 2.0, 3.0] + draw.normal(size=60)).tolist(), valid=0.25)
    learn = hs.Learner(data, backbone="identity", observer=Notes()).fine_tune(0)
    near, far = learn.predict([rows[0], rows[0] + 50.0])
    assert far.epistemic > 3 * near.epistemic and far.total > near.total
    low, high = far.interval
    assert high - low > near.interval[1] - near.interval[0]


def test_a_name_that_there_is_not_is_told_at_once(shapes: Path, trained: hs.Learner) -> None:
    with pytest.raises(UnknownName, match="laplace"):
        hs.Learner(hs.image_folder(shapes), backbone="tiny", posterior="laplase")
    with pytest.raises(UnknownName, match="temperature"):
        trained.predict(photo(shapes), posterior="temprature")


def test_before_the_first_training_there_is_none(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Notes())
    with pytest.raises(BadSetting, match="before the first training"):
        learn.posterior()
    assert learn.predict(photo(shapes)).epistemic is None


def test_data_that_is_gone_leaves_what_is_saved(shapes: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(shapes, tmp_path / "photos")
    learn = hs.Learner(hs.image_folder(copy), backbone="tiny", batch_size=8, observer=Notes()).fine_tune(0)
    shutil.rmtree(copy)
    again = hs.load(learn.run.path, observer=Notes())
    assert again.predict(photo(shapes)).epistemic is not None
    with pytest.raises(DataError, match="not at hand"):
        again.posterior("temperature")


def test_none_is_an_answer(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), posterior="none").fine_tune(0)
    assert learn.predict(photo(shapes)).epistemic is None and learn.posterior().name == "none"
    assert not (learn.run.bundle / "posterior").exists()


def test_a_run_that_cannot_be_written_to_answers_all_the_same(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Notes()
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=seen).fine_tune(0)

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("headstart.learner.fitted.save_posterior", full)
    assert learn.posterior("temperature").name == "temperature"
    assert any("could not be kept" in note and "No space left" in note for note in seen.notes)
    assert any(note.startswith("How sure answers are: Laplace") for note in seen.notes)


@pytest.mark.parametrize("features", ["last", "layers"])
def test_what_the_head_was_solved_in_serves_its_posterior_too(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, features: Any
) -> None:
    """The eigenbasis of the features is half of the time of a posterior."""
    calls: list[int] = []

    def counting(rows: np.ndarray) -> Any:
        calls.append(len(rows))
        return head_solve.rotated(rows)

    monkeypatch.setattr("headstart.posteriors._precision.rotated", counting)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", features=features, observer=Notes()).fine_tune(0)
    state, fitted = learn._session.begun.state, learn._session.fitted.posterior
    assert not calls
    again = believing._fitted(state, "laplace", replace(state.seen, turned=None), None).posterior
    assert calls == [len(state.parts["train"])]
    for name in ("centre", "basis", "roots", "rest"):
        torch.testing.assert_close(getattr(again, name), getattr(fitted, name), rtol=0, atol=0)


def test_many_examples_are_not_all_kept(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solved, "BELIEVED", 5)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), keep="last").fine_tune(1)
    seen = learn._session.ready().state.seen
    assert seen.epoch == 1 and len(seen.train) == len(seen.which) == len(seen.valid) == len(seen.which_valid) == 5
    assert learn.predict(photo(shapes)).epistemic is not None


@pytest.mark.parametrize("targets", [["a", "b"] * 30, np.arange(60.0).tolist()])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_say_nothing_are_no_error(value: float, targets: list[Any]) -> None:
    data = hs.from_arrays(np.full((60, 4), value, np.float32), targets, valid=0.25)
    learn = hs.Learner(data, backbone="identity", observer=Notes()).fine_tune(0)
    said = learn.predict(np.ones((1, 4), np.float32))[0]
    assert said.error is None and said.total is not None and np.isfinite(said.total)


def numbers(scale: float = 1.0) -> hs.Learner:
    draw = np.random.default_rng(0)
    rows = np.concatenate([draw.normal(size=(80, 4)), draw.normal(size=(80, 4)) + 1.5]).astype(np.float32)
    data = hs.from_arrays(rows * scale, ["a"] * 80 + ["b"] * 80, valid=0.3)
    return hs.Learner(data, backbone="identity", observer=Notes()).fine_tune(0)


def test_far_away_the_interval_holds_its_probability_and_the_example_is_unlike() -> None:
    learn = numbers()
    far = learn.predict(np.random.default_rng(1).normal(0, 60, (40, 4)).astype(np.float32))
    for one in far:
        assert one.interval[0] <= one.probability <= one.interval[1]
        assert one.ood >= 0.975 and "unlike" in repr(one) and "sure" not in repr(one)


def test_what_overflows_is_told_and_the_rest_goes_on() -> None:
    learn = numbers()
    rows = np.array([[0.1, 0.2, 0.3, 0.4], [3e38, 3e38, 3e38, 3e38], [1, 1, 1, 1]], np.float32)
    first, bad, last = learn.predict(rows)
    assert first.error is last.error is None and first.label and last.label
    assert bad.label is None and "no number" in bad.error
    for one in learn.predict(rows, posterior="none"):
        assert one.error is not None or np.isfinite(one.probability)


def test_a_posterior_has_a_name(trained: hs.Learner) -> None:
    with pytest.raises(BadSetting, match="is named"):
        trained.posterior("")


def test_few_validation_images_cannot_tell_what_is_unlike_and_that_is_said(trained: hs.Learner) -> None:
    assert "takes 39 images to tell by" in trained.posterior().fitted.limits


def test_a_posterior_that_cannot_be_fitted_costs_no_training(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError("the matrix is singular")

    monkeypatch.setattr("headstart.posteriors.laplace.around", singular)
    seen = Notes()
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=seen).fine_tune(0)
    assert any("laplace could not be fitted (the matrix is singular)" in note for note in seen.notes)
    assert learn.predict(photo(shapes)).epistemic is None and learn.run.plan().finished
    assert hs.load(learn.run.path, observer=Notes()).predict(photo(shapes)).label


def test_without_time_only_the_temperature_is_fitted_and_that_is_said(shapes: Path) -> None:
    from headstart.data._steps import exhausted
    from headstart.learner import believing

    seen = Notes()
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=seen).fine_tune(0)
    begun = learn._session.ready()
    begun.state.seen = None
    fitted = exhausted(believing.of_kept(begun, learn.settings, lambda: CLOSING_SECONDS / 2), seen.show)
    assert fitted.name == "temperature" and fitted.likeness is None
    assert any("no time for the posterior" in note for note in seen.notes)
    begun.state.seen = None
    assert exhausted(believing.of_kept(begun, learn.settings, lambda: 1e6), seen.show).name == "laplace"


def test_a_deadline_leaves_time_for_the_posterior(shapes: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes()).fine_tune(0)
    state = learn._session.ready().state
    state.spent |= {"posterior": 2.0, "a forward": 0.5}
    images = len(state.parts["train"])
    assert seconds_for_posterior(state) == 2.0 + 0.5 * images
    state.settings = hs.Settings(keep="last")  # the last row has its features from solving the head
    assert seconds_for_posterior(state) == 2.0
    state.settings = hs.Settings(posterior="none")
    assert seconds_for_posterior(state) == 0.0
