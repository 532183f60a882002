"""What is said of places: void counts nothing, grids may differ, masks come back at the size of the image, planted boxes are found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import headstart as hs
from drawn import masked_folder
from headstart.cli.main import main
from headstart.core import Outputs, Spread
from headstart.errors import BadSetting, DataError, StoreError
from headstart.heads import decoder
from headstart.modalities import scene
from headstart.modalities.image import PRESETS, draw
from headstart.tasks.segmentation import VOID, Segmentation
from headstart.train.solved import put_head

TASK = Segmentation(("ground", "red", "blue"), (0, 10, 20), (30,), (4, 6))


def logits(count: int, rows: int = 4, columns: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_places_of_which_nobody_knows_count_nothing() -> None:
    outputs = logits(2).requires_grad_()
    targets = torch.full((2, 4, 6), VOID, dtype=torch.uint8)
    targets[0, 1, 2] = 2
    losses = TASK.loss(outputs, targets)
    losses.sum().backward()
    assert losses[1] == 0 and torch.allclose(losses[0], -outputs.detach()[0, :, 1, 2].log_softmax(0)[2])
    assert outputs.grad is not None
    touched = (outputs.grad != 0).any(1)
    assert touched.sum() == 1 and bool(touched[0, 1, 2])
    blocks = TASK.output_hessian(outputs.detach(), targets)
    assert (blocks.flatten(3) != 0).any(-1).sum() == 1
    measured = TASK.metrics(["pixel_accuracy", "miou"])
    assert measured["pixel_accuracy"](Outputs(outputs.detach()), targets).n == 2


def test_outputs_on_another_grid_are_interpolated() -> None:
    coarse = logits(5, 2, 3)
    targets = torch.randint(0, 3, (5, 4, 6), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    fine = torch.nn.functional.interpolate(coarse, size=(4, 6), mode="bilinear")
    assert torch.allclose(TASK.loss(coarse, targets), TASK.loss(fine, targets))
    by_hand = [
        torch.nn.functional.cross_entropy(each[None], truth[None].long()) for each, truth in zip(fine, targets, strict=True)
    ]
    assert torch.allclose(TASK.loss(coarse, targets), torch.stack(by_hand))
    with pytest.raises(DataError, match="must share a grid"):
        TASK.output_hessian(coarse, targets)
    said = TASK.metrics(["pixel_accuracy"])["pixel_accuracy"](Outputs(coarse), targets)
    assert said.value == pytest.approx(float((fine.argmax(1) == targets).double().mean()))


def test_a_prediction_is_at_the_size_of_its_image_and_in_the_numbers_of_the_user(tmp_path: Path) -> None:
    (said,) = TASK.predict(Outputs(logits(1)), ["photos/a b.jpg"])
    assert isinstance(said, Spread) and said.mask.shape == (4, 6)
    large = said.at(40, 60)
    assert large.mask.shape == (40, 60) and set(np.unique(large.mask)) <= {0, 10, 20}
    assert large.values.shape == (3, 40, 60) and np.allclose(large.values.sum(0), 1)
    assert sum(large.shares.values()) == pytest.approx(1)
    kept = large.saved(tmp_path)
    assert kept.row()["mask"] == str(tmp_path / "photos" / "a b.jpg.png") and kept.file in repr(kept)
    others = [
        replace(large, id=id).saved(tmp_path).file for id in ("photos/a b.png", "photos_a b.jpg", "../photos/a b.jpg", "/x:y")
    ]
    assert len({kept.file, *others}) == 5 and all(Path(file).is_relative_to(tmp_path) and ".." not in file for file in others)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        large.saved(tmp_path / "file")
    with Image.open(kept.file) as image:
        np.testing.assert_array_equal(np.array(image), large.mask)
        assert image.mode == "P" and len(np.unique(np.array(image.convert("RGB")).reshape(-1, 3), axis=0)) == len(
            np.unique(large.mask)
        )
    painted = large.painted(np.full((40, 60, 3), 90, np.uint8), torch.zeros(4, 6, dtype=torch.uint8))
    assert painted.shape == (80, 60, 3) and (painted[:40] == painted[0, 0]).all()
    failed = TASK.failed("b", "cannot be read")
    assert failed.mask is None and failed.places is None and failed.values is None and failed.shares == {}
    assert failed.saved(tmp_path) is failed and failed.row()["mask"] is None


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_masks_are_changed_as_their_images_are(preset: str) -> None:
    """An image whose colours are its classes stays one, however it is changed, but at the borders between classes."""
    modality = scene.Scenes(64, 64, (0.0,) * 3, (1.0,) * 3)
    draws_of = np.random.default_rng(3)
    coarse = draws_of.integers(0, 3, (8, 4, 4))
    truth = torch.from_numpy(coarse.repeat(16, 1).repeat(16, 2).astype(np.uint8))
    pixels = torch.nn.functional.one_hot(truth.long(), 3).to(torch.uint8) * 255
    draws = draw(preset, 5, 1, np.arange(8))
    seen = modality.augmented(pixels, draws, preset)
    moved = modality.moved(truth, draws, preset)
    assert moved.shape == (8, 32, 32) and moved.dtype == torch.uint8
    small = torch.nn.functional.avg_pool2d(seen, 2)
    clear = (small.amax(1) > 0.5) & (small.amax(1) - small.sort(1).values[:, 1] > 0.4)
    assert clear.float().mean() > 0.4
    assert (small.argmax(1) == moved)[clear].float().mean() > 0.99
    if PRESETS[preset].exact:
        assert (small.argmax(1) == moved).all()
    assert modality.moved(torch.arange(8), draws, preset).tolist() == list(range(8))


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_planted_boxes_are_found_and_training_finds_them_better() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 60), classes=["ground", "red", "blue"], valid=0.3)
    learn = hs.Learner(data, backbone="tiny", batch_size=6, keep="last").fine_tune(0)
    first = learn.evaluate()
    assert first["miou"].value > 0.4
    learn.fine_tune(6, base_lr=3e-3)
    assert learn.evaluate()["miou"].value > first["miou"].value + 0.02
    per_class = learn.evaluate(per_class=True)
    assert per_class["iou.red"].value > 0.5 and per_class["iou.ground"].value > 0.9
    image = data.records[0].source
    said = learn.predict(image)
    assert said.mask.shape == (32, 40)
    rows = said.mask == np.array(Image.open(data.records[0].target.path))
    assert rows.mean() > 0.9


def test_a_constant_model_is_as_good_as_the_shares() -> None:
    """Without anything to see the solved head says the share of each class, whose entropy is the loss."""
    targets = torch.from_numpy(np.random.default_rng(0).choice(3, (20, 8, 8), p=[0.7, 0.2, 0.1]).astype(np.uint8))
    shares = np.bincount(targets.flatten().numpy(), minlength=3) / targets.numel()
    constant = torch.from_numpy(np.log(shares)).view(1, 3, 1, 1).expand(20, 3, 2, 2)
    entropy = -(shares * np.log(shares)).sum()
    assert float(TASK.loss(constant, targets).mean()) == pytest.approx(entropy)


def test_weights_make_classes_count_alike() -> None:
    targets = torch.from_numpy(np.random.default_rng(0).choice([0, 1, VOID], (20, 4, 6), p=[0.8, 0.15, 0.05]).astype(np.uint8))
    counts = np.bincount(targets.flatten().numpy(), minlength=3)[:3]
    weighed = TASK.balanced(targets)
    assert weighed.weights[2] == 0.0
    sums = np.array(weighed.weights) * counts
    assert sums[0] == pytest.approx(sums[1]) and sums.sum() == pytest.approx(counts.sum())
    outputs = logits(20)
    every = -outputs.log_softmax(1).gather(1, targets.clamp(max=2).long()[:, None])[:, 0]
    by_hand = [
        sum(weighed.weights[int(c)] * float(loss) for c, loss in zip(t.flatten(), e.flatten(), strict=True) if c != VOID)
        / int((t != VOID).sum())
        for t, e in zip(targets, every, strict=True)
    ]
    assert np.allclose(weighed.loss(outputs, targets), by_hand)
    assert TASK.from_state(weighed.state()) == TASK


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_rare_classes_are_found_more_often_where_they_weigh_more() -> None:
    folder = masked_folder(Path("d"), 40)
    for file in (folder / "masks").iterdir():  # the red boxes, but for a corner, become ground
        mask = np.array(Image.open(file))
        keep = np.zeros_like(mask, dtype=bool)
        keep[:10, :10] = True
        Image.fromarray(np.where((mask == 1) & ~keep, 0, mask).astype(np.uint8)).save(file)
    data = hs.mask_folder(folder, classes=["ground", "red", "blue"], valid=0.3)
    recall = {}
    for balance in ("none", "weights"):
        learn = hs.Learner(data, backbone="tiny", balance=balance, keep="last").fine_tune(1)
        state = learn._session.ready().state
        confusion = state.task._confusion(state.outputs("valid"), state.parts["valid"].targets).sum(0)
        recall[balance] = confusion[1, 1] / confusion[1].sum()
        assert learn.run.plan().task["name"] == "segmentation"
    assert recall["weights"] > recall["none"] + 0.05


def test_what_means_nothing_for_places_is_refused() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    for setting, words in (
        ({"balance": "sample"}, "balance=sample"),
        ({"head_kind": "linear"}, "head_kind=decoder"),
        ({"mixup": 0.4}, "mixup"),
    ):
        with pytest.raises(BadSetting, match=words):
            hs.Learner(data, backbone="tiny", **setting)
    with pytest.raises(BadSetting, match="a decoder needs the maps"):
        _ = hs.Learner(
            hs.from_arrays([np.zeros((8, 8, 3), np.uint8)] * 4, list("aabb")), backbone="tiny", head_kind="decoder"
        ).model


def test_maps_of_many_images_are_not_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("headstart.train.features.HELD_BYTES", 1000)
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    assert [row["stage"] for row in learn.history] == ["head"]
    told = "".join(capsys.readouterr())
    assert told.count("trained by gradient steps and not solved") == 1 and "solved to convergence" not in told
    assert learn._session.ready().features is None


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_the_layers_go_on_to_another_task_and_come_from_one() -> None:
    """A chain over tasks: classes of images, then of places, then of images again, each time with the weights of the last."""
    images = [np.array(Image.open(file)) for file in sorted((masked_folder(Path("d"), 16) / "images").iterdir())]
    labelled = hs.from_arrays(images, ["a", "b"] * 8, valid=0.25)
    first = hs.Learner(labelled, backbone="tiny", batch_size=4, keep="last").fine_tune(1)
    places = hs.Learner(hs.mask_folder("d", classes=["ground", "red", "blue"]), backbone=first.run.path, batch_size=4).fine_tune(
        0
    )
    last = hs.Learner(labelled, backbone=places.run.path, batch_size=4).fine_tune(0)
    assert (first.modality.size, places.modality.size, last.modality.size) == (32, 64, 32)
    assert last.model.backbone.spec.levels == () and places.model.backbone.spec.levels
    for one, two, three in zip(*(each.model.backbone.net.state_dict().values() for each in (first, places, last)), strict=True):
        assert torch.equal(one, two) and torch.equal(two, three)
    again = hs.load(places.run.bundle)
    assert again.modality == places.modality and again.predict(images[0]).row() == places.predict(images[0]).row()


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_more_reads_other_masks_as_the_run_read_its_own() -> None:
    """The names of the classes, and the number of which nobody knows, are those of the run."""
    data = hs.mask_folder(masked_folder(Path("d"), 16), classes=["ground", "red", "blue"], void=7)
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    masked_folder(Path("e"), 20)
    on = hs.load(learn.run.path, data="e")
    assert on.data.legend == data.legend and len(on.data.records) == 20
    on.fine_tune(1)
    assert on.task == learn.task and on.run.path != learn.run.path
    assert set(learn.run.split().valid) <= set(on.run.split().valid)


@pytest.mark.usefixtures("plain_training")
def test_masks_of_an_image_and_its_mirror_image_are_mirrored_where_both_are_looked_at() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    image = np.array(Image.open("d/images/003.png"))
    pair = (image, image[:, ::-1].copy())
    one, other = (learn.predict(each, tta=2).values for each in pair)
    np.testing.assert_allclose(one, other[..., ::-1], atol=1e-4)
    one, other = (learn.predict(each).values for each in pair)
    assert np.abs(one - other[..., ::-1]).max() > 0.01
    assert learn.evaluate(tta=2)["miou"].n == learn.evaluate()["miou"].n


@pytest.mark.usefixtures("plain_training")
def test_predicted_masks_never_lie_among_the_drawn_ones(capsys: pytest.CaptureFixture[str]) -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    run = str(hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0).run.path)
    drawn = {file: file.read_bytes() for file in Path("d").rglob("*.png")}
    assert main(["predict", run, "d/images/001.png", "--masks", "d/masks"]) == 2
    assert "lies inside the folder of images" in capsys.readouterr().err
    with Image.open("d/images/001.png") as image:
        image.resize((50, 70)).save("other.png")
    assert main(["predict", run, "other.png"]) == 0
    (file,) = (file for file in Path("predicted_masks").rglob("*") if file.is_file())
    with Image.open(file) as mask:
        assert mask.size == (50, 70)
    assert drawn == {file: file.read_bytes() for file in Path("d").rglob("*.png")}


def test_the_solved_places_are_those_that_are_known() -> None:
    head = decoder.make(4 * 16 + 2 * 4, 3, 0, ((4, 4), (2, 2)))
    rows = np.random.default_rng(0).standard_normal((5, 72)).astype(np.float32)
    targets = np.full((5, 8, 8), VOID, np.uint8)
    targets[1, 2, 3], targets[4, 7, 7] = 1, 2
    given, known = head.as_rows(rows, targets)
    assert known.tolist() == [1, 2] and given.shape == (2, 6)
    fine, coarse = rows[1, :64].reshape(4, 4, 4), rows[1, 64:].reshape(2, 2, 2)
    # the middle of place (2, 3) of 8 x 8 is (0.75, 1.25) of the places of a map of 4 x 4, and (0.125, 0.375) of one of 2 x 2
    by_hand = [
        np.einsum("r,crw,w->c", down, part, along)
        for down, part, along in (((0.25, 0.75), fine[:, :2, 1:3], (0.75, 0.25)), ((0.875, 0.125), coarse, (0.625, 0.375)))
    ]
    assert np.allclose(given[0], np.concatenate(by_hand), atol=1e-6)
    with torch.no_grad():
        said = head._linear(head._maps(torch.from_numpy(rows)))
        by_place = torch.from_numpy(given) @ head.linear.weight.T + head.linear.bias
    at_corner = said[4, :, 3, 3]  # of the middle of the outermost place, beyond which nothing is interpolated
    assert torch.allclose(by_place[1], at_corner, atol=1e-5)
    with pytest.raises(DataError, match="no place"):
        head.as_rows(rows, np.full((5, 8, 8), VOID, np.uint8))


def test_a_decoder_that_is_solved_says_what_its_linear_part_says() -> None:
    """Also one that was trained before: what refined its old linear part would spoil the new one."""
    head = decoder.make(4 * 16, 3, 0, ((4, 4),))
    rows = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.last.weight.fill_(0.1)
        put_head(head, np.ones((3, 4)), np.arange(3.0))
        linear = rows.unflatten(1, (4, 4, 4)).sum(1, keepdim=True) + torch.arange(3.0)[:, None, None]
        assert torch.allclose(head(rows), linear, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_weights_come_and_go_with_their_setting() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 12), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(1)
    state = learn._session.ready().state
    assert state.objective is state.task
    learn.fine_tune(1, balance="weights")
    assert len(state.objective.weights) == 3 and state.task.weights == ()
    learn.fine_tune(1, balance="none")
    assert state.objective is state.task
    losses = [
        hs.Learner(data, backbone="tiny", batch_size=4, balance=balance).fit(1).history[0]["train_loss"]
        for balance in ("none", "weights", "none")
    ]
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.usefixtures("plain_training")
def test_other_images_are_judged_but_for_those_whose_mask_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    masked_folder(Path("e"), 6)
    Image.new("L", (9, 9)).save("e/masks/003.png")
    assert learn.evaluate("e")["miou"].n == 5
    assert "1 of 6 files cannot be used and is left out: 1 with a mask that does not fit" in capsys.readouterr().out
    for file in Path("e/masks").iterdir():
        Image.new("L", (9, 9)).save(file)
    with pytest.raises(
        DataError, match=r"none of the 6 labelled images of e can be used: 6 with a mask that does not fit. The first: .*9 x 9"
    ):
        learn.evaluate("e")


@pytest.mark.usefixtures("plain_training")
def test_an_image_of_which_nothing_is_known_is_no_example(capsys: pytest.CaptureFixture[str]) -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    masked_folder(Path("e"), 6)
    measured = learn.evaluate("e")
    for number in range(6, 9):
        Image.new("RGB", (32, 32)).save(f"e/images/{number:03d}.png")
        Image.new("L", (32, 32), 255).save(f"e/masks/{number:03d}.png")
    again = learn.evaluate("e")
    assert "void everywhere (255)" in capsys.readouterr().out
    assert {name: (value.value, value.n) for name, value in again.items()} == {
        name: (pytest.approx(value.value), value.n) for name, value in measured.items()
    }


def test_one_class_in_all_masks_is_a_lesson() -> None:
    masked_folder(Path("d"), 8)
    for file in Path("d/masks").iterdir():
        Image.new("L", (40, 32), 1).save(file)
    data = hs.mask_folder("d", classes=["ground", "red", "blue"])
    with pytest.raises(DataError, match=r"is of one class \(number 2 of 3\), so there is nothing to tell apart"):
        hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_masks_are_learned_with_defaults_of_their_own() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 12), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny").fine_tune(1)
    phase = learn.run.plan().phases[-1]
    assert learn.run.split().rule == "20% valid drawn at random from all, seed 0"
    stages = len(learn.model.stages())
    assert (phase.batch_size, phase.augment, phase.mixup) == (8, "light", 0.0)
    assert phase.layer_decay == pytest.approx(10.0 ** (-1 / (stages - 2))) and phase.head_lr_scale == 5.0
    asked = hs.Learner(data, backbone="tiny", batch_size=3, augment="none", lr_mult=50.0).fine_tune(1).run.plan().phases[-1]
    assert (asked.batch_size, asked.augment) == (3, "none") and asked.layer_decay == pytest.approx(50.0 ** (-1 / (stages - 2)))


def test_the_class_of_each_pixel_is_the_most_probable_one() -> None:
    (said,) = TASK.predict(Outputs(logits(1)), ["a"])
    for each in (said, said.at(17, 23)):
        np.testing.assert_array_equal(each.places, each.values.argmax(0))
        assert each.places.dtype == np.uint8
