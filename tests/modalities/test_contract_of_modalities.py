"""What every modality keeps to, found by its name: inputs, stores, and a whole training with its kind of examples."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from drawn import shape_image
from headstart import plugins
from headstart.core import Event, Modality, Note, Phase, StepDone
from headstart.data import stores
from headstart.data.batches import training_batches
from headstart.errors import BadSetting, DataError
from written import numbers, sentences, tiny_encoder

NAMES = plugins.names("modalities")
PICTURES = ("image", "scene")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def examples(name: str, count: int) -> tuple[list[Any], list[str]]:
    """Examples and their classes, which can be learned."""
    match name:
        case "image" | "scene":
            kinds = ["disc" if number % 2 else "square" for number in range(count)]
            return [np.array(shape_image(kind, number, 40)) for number, kind in enumerate(kinds)], kinds
        case "text":
            return sentences(count)
        case "array":
            rows, target = numbers(count)
            rows[1, 2] = np.nan
            return list(rows), ["high" if value > np.median(target) else "low" for value in target]
    raise AssertionError(f"say in examples what those of {name} are")


def data_of(name: str, count: int, **shares: float) -> hs.Dataset:
    data = hs.from_arrays(*examples(name, count), **shares)
    return replace(data, modality=name)


def odd(name: str) -> list[Any]:
    """What is no example."""
    return {
        "image": [np.zeros((0, 3, 3), np.uint8), b"3"],
        "scene": [np.zeros((0, 3, 3), np.uint8), b"3"],
        "text": ["", "  ", 3],
        "array": [[1.0], [1, 2, 3, float("inf")], "word"],
    }[name]


Make = Callable[..., hs.Learner]


@pytest.fixture
def make(encoder: Path) -> Iterator[Make]:
    def made(name: str, count: int = 30, observer: Any = None, **settings: Any) -> hs.Learner:
        backbone = {"image": "tiny", "scene": "tiny", "text": encoder, "array": "small"}[name]
        data = data_of(name, count, valid=0.3)
        return hs.Learner(data, backbone=backbone, observer=observer or Heard(), batch_size=8, **settings)

    yield made


class Heard:
    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps, self.notes = at, 0, []

    def show(self, event: Event) -> None:
        self.steps += isinstance(event, StepDone)
        if isinstance(event, Note):
            self.notes.append(event.text)
        if self.at is not None and self.steps == self.at and isinstance(event, StepDone):
            raise Killed

    def close(self) -> None: ...


class Killed(BaseException): ...


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_same_alone_in_a_batch_and_in_a_store(name: str, make: Make) -> None:
    learn = make(name)
    modality, given = learn.modality, examples(name, 30)[0]
    assert isinstance(modality, Modality) and modality.name == name
    store = stores.start(learn.data, modality)
    try:
        assert isinstance(store, stores.Store) and all(store.wait(index) for index in range(len(store)))
        some = [4, 0, 4, 29]
        kept = store.stored(some)
        fresh = modality.stacked([modality.prepared(given[index], "") for index in some])
        np.testing.assert_array_equal(kept, fresh)
        features = learn.model.backbone.features(modality.to_input(torch.from_numpy(kept)))
        assert features.shape == (4, learn.model.backbone.spec.width)
        torch.testing.assert_close(features[0], features[2])
        assert store.key == stores.sample(learn.data, modality, 3).key
    finally:
        store.close()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_example_is_told_in_its_place(name: str, make: Make) -> None:
    learn, given = make(name), examples(name, 4)[0]
    wrong = odd(name)
    for each in wrong:
        with pytest.raises(DataError):
            learn.modality.prepared(each, "this")
    said = learn.predict([given[0], *wrong, given[1]])
    assert [prediction.row()["error"] is None for prediction in said] == [True, *(False for _ in wrong), True]
    assert len({prediction.id for prediction in said}) == len(said)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_an_example_does_not_hang_on_the_others(name: str, make: Make) -> None:
    learn, given = make(name), examples(name, 12)[0]
    together = learn.predict(given)
    assert isinstance(together, list) and learn.modality.is_one(given[0]) and not learn.modality.is_one(given)
    alone = [learn.predict(each) for each in given]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-5)
    backwards = learn.predict(given[::-1])
    for one, other in zip(backwards[::-1], together, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_state_and_words_are_plain(name: str, make: Make) -> None:
    learn = make(name)
    state = learn.modality.state()
    assert json.loads(json.dumps(state)) == state and state["name"] == name
    json.dumps(learn.modality.published())
    words, plain = learn.modality.words, plugins.find("modalities", name).plain(learn.data.inputs)
    assert words.item == plain.words.item and words.items != words.item and words.size and words.described
    with pytest.raises(BadSetting, match="tta must be"):
        learn.modality.viewed(learn.model, learn.task, "none", 1000)


@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
def test_a_training_learns_goes_on_and_is_loaded_again(name: str, make: Make) -> None:
    learn = make(name)
    learn.fine_tune(2)
    assert [row["epoch"] for row in learn.history] == [0, 1, 2]
    learn.more(1)
    assert [row["epoch"] for row in learn.history] == [0, 1, 2, 3]
    given, labels = examples(name, 30)
    again = hs.load(learn.run.path, data=learn.data)
    for old, new in zip(learn.predict(given), again.predict(given), strict=True):
        np.testing.assert_allclose(new.values, old.values, rtol=0, atol=1e-6)
    assert learn.evaluate(data_of(name, 30))["error_rate"].value < 0.35
    assert learn.run.plan().modality == learn.modality.state()


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
def test_both_heads_and_fit(name: str, make: Make) -> None:
    learn = make(name, head="train", freeze_epochs=1)
    learn.fine_tune(1)
    assert [row["stage"] for row in learn.history] == ["head", "all"]
    assert len(make(name).fit(2).history) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_training_ends_as_it_would_have(name: str, make: Make) -> None:
    straight = make(name, run="straight", checkpoint_seconds=0.0)
    straight.fine_tune(2)
    killed = make(name, run="killed", observer=Heard(at=4), checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        killed.fine_tune(2)
    again = hs.resume("killed", data=straight.data, observer=Heard())
    assert [row["valid_loss"] for row in again.history] == [row["valid_loss"] for row in straight.history]
    for (one, value), other in zip(straight.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), one


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_check_and_plan_look_without_training(name: str, make: Make) -> None:
    learn = make(name)
    found = hs.check(learn.data)
    assert len(found.audit.usable()) == 30 and (found.sheet is not None) == (name in PICTURES)
    assert learn.plan(1).epochs == 1 and learn.history == []


@pytest.mark.parametrize("setting", [{"mixup": 0.4}, {"cutmix": 1.0}, {"train_size": 16}], ids=str)
def test_what_only_images_can_do_is_refused_before_anything_is_read(make: Make, setting: dict[str, Any]) -> None:
    for name in ("text", "array"):
        with pytest.raises(BadSetting, match=f"{next(iter(setting))} is for images"):
            make(name, **setting)
        with pytest.raises(BadSetting, match=f"{next(iter(setting))} is for images"):
            make(name).fine_tune(1, **setting)
    with pytest.raises(BadSetting, match=f"{next(iter(setting))} is for images with one answer"):
        make("scene", **setting)
    make("image", **setting)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_only_images_are_mixed_where_nobody_says_otherwise(make: Make) -> None:
    mixed = {name: make(name).fine_tune(1).run.plan().phases[-1].mixup for name in NAMES}
    assert mixed == {"image": 0.4, "scene": 0.0, "text": 0.0, "array": 0.0}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_batches_keep_each_example_with_its_own(name: str, make: Make) -> None:
    """Examples of unequal length go through the model in another order than they came in."""
    learn = make(name)
    state = learn._session.ready().state
    given = dict(zip([record.id for record in learn.data.records], learn.data.arrays, strict=True))
    part = state.parts["valid"]
    said = learn.task.predict(state.outputs("valid"), part.ids)
    for one, other in zip(said, learn.predict([given[id] for id in part.ids]), strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-5)
    train, phase = state.parts["train"], Phase("all", 1, lr=1e-3, batch_size=7, augment="none")
    targets, seen = dict(zip(train.ids, train.targets.tolist(), strict=True)), []
    for batch in training_batches(train, phase, 0, 1, 0, torch.device("cpu")):
        assert batch.targets.tolist() == [targets[id] for id in batch.ids]
        stored = learn.modality.stacked([learn.modality.prepared(given[id], id) for id in batch.ids])
        plain = learn.modality.to_input(torch.from_numpy(stored))
        torch.testing.assert_close(batch.inputs, plain, rtol=0, atol=1e-6, equal_nan=True)
        seen += batch.ids
        if name == "text":
            lengths = (batch.inputs >= 0).sum(1)
            assert torch.equal(lengths, lengths.sort().values)
    assert sorted(seen) == sorted(train.ids)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_texts_are_smoothed_and_averaged_where_nobody_says_otherwise(make: Make) -> None:
    def smoothing(name: str, **settings: Any) -> float:
        return make(name, **settings).fine_tune(1).run.plan().phases[-1].label_smoothing

    def average(name: str, **settings: Any) -> float | None:
        return make(name, **settings).fine_tune(1).run.plan().phases[-1].ema

    assert (average("text"), average("array"), average("image"), average("text", ema=0.0)) == (0.998, None, None, None)

    def dropped(name: str, **settings: Any) -> float:
        return make(name, **settings).fine_tune(1).run.plan().phases[-1].dropout

    assert (dropped("text"), dropped("image"), dropped("text", dropout=0.0)) == (0.1, 0.0, 0.0)
    assert (smoothing("text"), smoothing("array"), smoothing("image")) == (0.1, 0.0, 0.0)
    assert (smoothing("text", label_smoothing=0.0), smoothing("text", head="train")) == (0.0, 0.0)


def test_texts_that_are_the_same_stay_together_and_equal_rows_do_not() -> None:
    texts = hs.from_arrays(["a fine day"] * 4 + ["a dull day"] * 4, list("xxxxyyyy"))
    rows = hs.from_arrays([[1.0, 2.0]] * 4 + [[3.0, 4.0]] * 4, list("xxxxyyyy"))
    assert len(hs.check(texts).audit.exact) == 2
    assert hs.check(rows).audit.exact == ()


def test_a_table_is_predicted_row_by_row(make: Make) -> None:
    learn = make("array")
    Path("rows.csv").write_text("number 3,number 0,number 2,number 1\n1,2,3,4\n5,,7,many\n", encoding="utf-8")
    one, two = learn.predict("rows.csv")
    assert (one.id, two.id) == ("rows.csv:2", "rows.csv:3") and "many" in two.error
    np.testing.assert_allclose(one.values, learn.predict([2.0, 4.0, 3.0, 1.0]).values)
    Path("other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert 'no column "number 0"' in learn.predict([Path("other.csv")])[0].error


def test_the_lines_of_a_file_are_texts(make: Make) -> None:
    learn = make("text")
    Path("said.txt").write_text("a fine day\n\nthe film was dull\n", encoding="utf-8")
    one, two, three = learn.predict(["said.txt", "lovely"])
    assert [one.id, two.id, three.id] == ["said.txt:1", "said.txt:3", "000000"]
    np.testing.assert_allclose(two.values, learn.predict("the film was dull").values, atol=1e-6)
    assert "cannot be read" in learn.predict([Path("nowhere.txt")])[0].error


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_another_kind_are_a_lesson(name: str, make: Make) -> None:
    learn = make(name)
    learn.fine_tune(0)
    for other in NAMES:
        data = data_of(other, 8)
        if other != name:
            with pytest.raises(
                BadSetting,
                match="arrays has no masks"
                if name == "scene"
                else f"takes .*, but arrays holds {plugins.find('modalities', other).plain().words.items}",
            ):
                learn.evaluate(data)
    assert learn.evaluate(data_of(name, 8))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_shown(name: str, make: Make) -> None:
    learn = make(name).fine_tune(0)
    shown = learn.show_results(4)
    if name in PICTURES:
        assert shown.size[0] > 200
        return
    lines = repr(shown).splitlines()
    assert len(lines) == 5 and lines[0].split() == ["said", "truly", "example"]
    given = [str(each) for each in learn.data.arrays]
    assert all(item.text in given and item.predicted in learn.task.names for item in shown)
    losses = [item.loss for item in learn.show_results(4, worst=True)]
    assert losses == sorted(losses, reverse=True) and losses[0] >= max(item.loss for item in shown)
