"""Which task labels ask for, what they are told when they fit none, and a task from outside the package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart import plugins
from headstart.core import Record
from headstart.data.arrays import from_arrays
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.learner.facade import Learner
from headstart.tasks import _choice as tasks
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.single_label import SingleLabel


def table(labels: Sequence[Any], columns: Sequence[str] = ("label",)) -> hs.Dataset:
    return hs.Dataset(
        "t", tuple(Record(str(place), place, label) for place, label in enumerate(labels)), None, columns=tuple(columns)
    )


@pytest.mark.parametrize(
    ("labels", "columns", "name", "reason"),
    [
        (["cat", "dog"] * 5, ["label"], "single_label", None),
        (["0", "1"] * 5, ["label"], "single_label", "whole numbers"),
        (["0.1", "0.35", "0.8", "0.2"], ["label"], "regression", "predicted"),
        ([str(number) for number in range(40)], ["age"], "regression", "age holds numbers"),
        (["cat;dog", "cat", "dog;bird", "cat;bird", "dog", "cat;dog", "bird"] * 3, ["label"], "multi_label", '";"'),
        (["New York", "Los Angeles", "San Diego"] * 9, ["label"], "single_label", None),
        (["cat dog", "cat", "dog bird", "cat bird", "dog", "bird"] * 4, ["label"], "multi_label", "spaces"),
        ([("1", "0"), ("0", ""), ("1", "1")], ["a", "b"], "multi_label", "yes or no"),
        ([("1.5", "0"), ("0", ""), ("1", "1")], ["a", "b"], "regression", "hold numbers"),
        ([("x", "y"), ("y",), ("x",)], [], "multi_label", None),
        (["1.5", "2.5"] * 4, [], "single_label", None),  # names of folders
    ],
)
def test_labels_tell_the_task(labels: Sequence[Any], columns: Sequence[str], name: str, reason: str | None) -> None:
    task, told = tasks.choose(table(labels, columns))
    assert task.name == name
    assert (told is None) == (reason is None) and (reason or "") in (told or "")
    reader, again = tasks.read(table(labels, columns))
    assert again == told and reader.counts(labels) == task.counts(labels) and reader.strata(labels) == task.strata(labels)
    assert reader.words == task.words and reader.divides == task.divides


@pytest.mark.parametrize(
    ("labels", "columns", "name", "words"),
    [
        (["0.5", "many"], ["size"], "regression", '1: size is "many", which is no number.*single_label'),
        (["0.5", "inf"], ["size"], "regression", "1: size is inf, and only finite"),
        (["0.5", "0.5", "0.5"], ["size"], "regression", "size is 0.5 in all of them.*nothing to learn"),
        (["", ""], ["size"], "regression", "is empty in all of them"),
        ([("1", "0"), ("maybe", "0")], ["a", "b"], "multi_label", "1 has \"maybe\" in the label column a.*label_column='a'"),
        ([("1", "0"), ("0", "1")], ["a", "b"], "single_label", "2 label columns.*multi_label"),
        (["cat", "cat"], ["label"], "single_label", "at least two"),
        ([], ["label"], "multi_label", "no label to learn"),
    ],
)
def test_labels_that_do_not_fit_are_a_lesson(labels: Sequence[Any], columns: Sequence[str], name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        tasks.choose(table(labels, columns), name)


@pytest.mark.parametrize(
    ("labels", "wrong", "words"),
    [
        ([0.1, 0.5, 0.7, 0.9], {"label_smoothing": 0.1}, "label_smoothing spreads"),
        ([0.1, 0.5, 0.7, 0.9], {"balance": "weights"}, "numbers have none"),
        ([["a"], ["b"], ["a", "b"], ["b"]], {"balance": "sample"}, "any number of labels"),
        ([0.1, 0.5, 0.7, 0.9], {"metrics": "error_rate"}, "There are: coverage, crps, mae, nll, pit_gap, r2, rmse"),
        ([0.1, 0.5, 0.7, 0.9], {"monitor": "mae"}, "monitor must be a column of the table"),
    ],
)
def test_settings_that_mean_nothing_for_a_task_are_refused_before_anything_is_read(
    labels: list[Any], wrong: dict[str, Any], words: str
) -> None:
    data = from_arrays([np.zeros((32, 32, 3), np.uint8)] * len(labels), labels)
    with pytest.raises((BadSetting, UnknownName), match=words):
        Learner(data, backbone="tiny", **wrong)
    with pytest.raises((BadSetting, UnknownName), match=words):
        Learner(data, backbone="tiny").fine_tune(1, **wrong)


def test_numbers_come_back_as_they_were_written() -> None:
    raw = ["0.0", "0.3333333", "0.6666667", "1.0", "123.25"]
    task, _ = tasks.choose(table(raw), "regression")
    assert task.texts(task.encode(raw)) == ["0", "0.3333", "0.6667", "1", "123.2"]
    assert task.decode(task.encode(raw)) == pytest.approx(list(map(float, raw)), abs=1e-3)
    assert task.decode(task.encode(["0.0"])) == [0.0]


def of_two(columns: tuple[str, str], rows: Sequence[tuple[str, str]]) -> hs.Dataset:
    """Images of one grey each, with two numbers."""
    arrays = [np.full((32, 32, 3), 12 * number, np.uint8) for number in range(len(rows))]
    records = tuple(Record(str(number), number, row) for number, row in enumerate(rows))
    return hs.Dataset("grey", records, None, columns=columns, arrays=arrays)


ROWS = [(f"{number / 20}", f"{5 - number / 4}") for number in range(20)]


@pytest.mark.slow
def test_label_columns_are_read_by_their_names_whatever_their_order() -> None:
    learn = Learner(of_two(("light", "dark"), ROWS), backbone="tiny").fine_tune(0)
    turned = of_two(("dark", "light"), [(dark, light) for light, dark in ROWS])
    assert learn.evaluate(turned, per_class=True) == learn.evaluate(of_two(("light", "dark"), ROWS), per_class=True)
    going_on = Learner(turned, from_run=learn.run.path)
    assert going_on.task.names == ("light", "dark") and going_on.data.records[1].target == ROWS[1]
    assert hs.load(learn.run.path, data=turned).data.records[1].target == ROWS[1]
    with pytest.raises(DataError, match=r'has the label columns "light", "heavy", and this is about "light", "dark"'):
        learn.evaluate(of_two(("light", "heavy"), ROWS))


def test_what_tells_a_task_nothing_is_no_label() -> None:
    rows = [*ROWS[:12], ("?", "NA"), ("", "1.5")]
    learn = Learner(of_two(("light", "dark"), rows), backbone="tiny")
    assert [record.id for record in learn.data.records if record.target is None] == ["12"]
    assert "Left out 1 example whose label is empty or unknown" in learn.data.notes[-1]
    ready = learn._session.ready()
    assert "12" not in {*ready.split.train, *ready.split.valid} and "13" in {*ready.split.train, *ready.split.valid}
    classes = table(["none", "?", "none", "some"])
    assert tasks.met(classes, tasks.choose(classes)[0]) is classes  # words, whatever they are
    flags = table([("1", "0"), ("?", "-"), ("0", "")], ["a", "b"])
    assert [record.target for record in tasks.met(flags, tasks.choose(flags)[0]).records] == [("1", "0"), None, ("0", "")]


def test_a_label_file_names_the_labels_of_columns_too() -> None:
    task, _ = tasks.choose(table([("1", "0", ""), ("0", "1", "1")], ["a", "b", "c"]))
    assert task.encode(["c;a"]).tolist() == [[1.0, 0.0, 1.0]] and task.counts(["c;a"])["c"] == 1


def test_thresholds_decide_what_is_said() -> None:
    task = MultiLabel(("a", "b"), thresholds=(0.8, 0.3))
    said = task.predict(hs.core.Outputs(torch.tensor([[1.0, -0.5], [2.0, -1.0]])), ["x", "y"])  # .73 .38 and .88 .27
    assert [each.labels for each in said] == [("b",), ("a",)]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_a_training_goes_on_where_the_validation_images_have_all_labels_or_none() -> None:
    images = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(12)]
    labels = [["a", "b"] if number > 8 else [("a", "b")[number % 2]] for number in range(12)]
    data = from_arrays(images, labels, parts=["valid" if number > 8 else "train" for number in range(12)])
    learn = Learner(data, backbone="tiny", batch_size=4).fine_tune(1)
    assert [np.isnan(row["mAP"]) for row in learn.history] == [True, True] and np.isfinite(learn.history[-1]["valid_loss"])
    written = (learn.run.path / "history.jsonl").read_text(encoding="utf-8")
    assert "NaN" not in written.replace('"NaN"', "") and len(learn.run.rows()) == 2
    assert hs.load(learn.run.path).predict(images[0]).probs == learn.predict(images[0]).probs


def test_another_task_comes_too_late() -> None:
    learn = Learner(of_two(("light", "dark"), ROWS), backbone="tiny")
    with pytest.raises(BadSetting, match=r"comes too late: this learner was made for regression.*hs\.Learner\(data, task="):
        learn.fine_tune(0, task="single_label")


def test_a_misspelt_task_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'Did you mean "regression" or "segmentation"\?'):
        tasks.choose(table(["1", "2"]), "regresion")


@pytest.mark.slow
def test_a_model_of_another_task_is_a_start_through_its_backbone(make_shapes: Callable[..., Path]) -> None:
    done = Learner(hs.image_folder(make_shapes(10)), backbone="tiny").fine_tune(0)
    images = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(12)]
    numbers = from_arrays(images, [0.1 * number for number in range(12)])
    with pytest.raises(BadSetting, match=r'a model for single_label.*backbone="'):
        Learner(numbers, from_run=done.run.path, task="regression")
    chained = Learner(numbers, backbone=done.run.path).fine_tune(0)
    assert chained.task.name == "regression" and np.isfinite(chained.history[0]["valid_loss"])
    assert "value" in chained.predict(images[3]).row()


@dataclass(frozen=True)
class Ordinal(SingleLabel):
    """Classes with an order, and a metric that knows it: a task in a few lines, as another package would bring it."""

    name: str = field(default="ordinal", init=False)

    def metrics(self, names: Sequence[Any]) -> dict[str, Any]:
        found = super().metrics([name for name in names if name != "distance"])
        return found | ({"distance": self._distance} if "distance" in names else {})

    def _distance(self, outputs: hs.core.Outputs, targets: Any) -> Any:
        from headstart.metrics.measured import average

        return average((outputs.mean.argmax(1) - torch.as_tensor(targets)).abs().double().numpy(), 0.0)


@pytest.mark.usefixtures("plain_training")
def test_a_task_from_another_package_trains_predicts_and_evaluates(
    make_shapes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("ordinal", "outside", "headstart.tasks")
    outside = ModuleType("outside")
    outside.Ordinal = Ordinal  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(EntryPoint, "load", lambda _self: outside)
    monkeypatch.setattr(plugins, "_points", lambda folder: [point] if folder == "tasks" else [])
    data = hs.image_folder(make_shapes(12))
    learn = Learner(data, backbone="tiny", task="ordinal", metrics=["distance"]).fine_tune(1)
    assert isinstance(learn.task, Ordinal) and "distance" in learn.history[-1] and "distance" in learn.evaluate()
    loaded = hs.load(learn.run.path)
    assert isinstance(loaded.task, Ordinal)
    image = str(Path(str(data.records[0].source)))
    assert loaded.predict(image).row() == learn.predict(image).row()
    assert "ordinal" in plugins.names("tasks")
