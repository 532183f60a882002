"""What every task keeps to, found by its name: likelihood, labels, predictions, and a whole training on its data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import headstart as hs
from drawn import masked_folder
from headstart import plugins
from headstart.core import Event, Outputs, Prediction, StepDone, Task
from headstart.data.arrays import from_arrays
from headstart.errors import DataError
from headstart.metrics.measured import Measured
from headstart.tasks import _choice as tasks

Make = Callable[..., Path]
TASKS = plugins.names("tasks")
NAMES = [*TASKS, "regression under student"]
"""Each task, and again under a further loss that it takes."""
PARTLY = {
    "multi_label": [("1", "", "0"), ("0", "1", "")],
    "regression": [("0.5", ""), ("", "3")],
    "regression under student": [("0.5", ""), ("", "3")],
}
"""Raw labels of which a part is not known, for the tasks that take them."""


def kind_of(name: str) -> tuple[str, str | None]:
    """The task and its loss."""
    task, _, loss = name.partition(" under ")
    return task, loss or None


def raw_of(name: str, count: int, seed: int = 0) -> list[Any]:
    """Labels of the examples number 0 to count: what `picture` shows, so that they can be learned."""
    draw = np.random.default_rng(seed)
    kinds, sizes = np.arange(count) % 3, draw.uniform(0.1, 0.9, count)
    match kind_of(name)[0]:
        case "single_label":
            return [("red", "green", "blue")[kind] for kind in kinds]
        case "multi_label":
            return [
                [word for word, has in (("warm", kind != 2), ("large", size > 0.5)) if has] or ["plain"]
                for kind, size in zip(kinds, sizes, strict=True)
            ]
        case "regression":
            return [[float(size), float(10 * kind + size)] for kind, size in zip(kinds, sizes, strict=True)]
        case "segmentation":
            return [record.target for record in masked(count, side=6).records]
    raise AssertionError(f"say in raw_of what the labels of {name} are")


def masked(count: int, side: int = 32) -> hs.Dataset:
    folder = masked_folder(Path(f"masked {count} {side}"), count, side)
    return hs.mask_folder(folder, classes=["ground", "red", "blue"], valid=0.25)


def picture(number: int, seed: int = 0, count: int = 40) -> np.ndarray:
    size = np.random.default_rng(seed).uniform(0.1, 0.9, count)[number]
    pixels = np.random.default_rng(number).integers(0, 60, (32, 32, 3), dtype=np.uint8)
    side = max(2, int(30 * size))
    pixels[:side, :side, number % 3] = 250
    return pixels


def data_of(name: str, count: int = 40) -> hs.Dataset:
    if name == "segmentation":
        return masked(count)
    return from_arrays([picture(number, count=count) for number in range(count)], raw_of(name, count), valid=0.25)


def task_of(name: str) -> tuple[Task, list[Any]]:
    (task, loss), data = kind_of(name), masked(40, side=6) if name == "segmentation" else data_of(name)
    return tasks.choose(data, task)[0].under(loss), [record.target for record in data.records]


def places_of(task: Task) -> tuple[int, ...]:
    """Rows and columns of what the task says, where it says something of places."""
    return getattr(task, "grid", ())


def outputs_of(task: Task, count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, task.outputs, *places_of(task), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Silent:
    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps = at, 0

    def show(self, event: Event) -> None:
        self.steps += isinstance(event, StepDone)
        if self.at is not None and self.steps == self.at and isinstance(event, StepDone):
            raise Killed

    def close(self) -> None: ...


class Killed(BaseException): ...


@pytest.mark.parametrize("name", NAMES)
def test_labels_come_back_from_targets(name: str) -> None:
    task, raw = task_of(name)
    targets = task.encode(raw)
    back = task.decode(targets)
    for label, decoded in zip(raw, back, strict=True):
        if kind_of(name)[0] == "regression":
            assert np.allclose(list(map(float, label)), decoded, atol=1e-5)
        elif name == "segmentation":
            np.testing.assert_array_equal(decoded, np.array(Image.open(label.path)))
        else:
            assert decoded == label or set(decoded) == set(label)
    assert len(task.texts(targets)) == len(task.strata(raw)) == len(raw) and all(task.texts(targets))
    assert task.unknown(raw) == [] and task.widened(raw) == task
    assert task.encode([]).shape[0] == 0
    with pytest.raises(DataError):
        task.encode([None])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_makes_an_equal_task(name: str) -> None:
    import json

    task, _ = task_of(name)
    again = tasks.from_state(json.loads(json.dumps({**task.state(), "format": 1})))
    assert again == task and again.name == kind_of(name)[0] and isinstance(again, Task)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 7])
def test_a_loss_is_one_finite_number_for_each_example(name: str, count: int) -> None:
    task, raw = task_of(name)
    losses = task.loss(outputs_of(task, count), task.encode(raw[:count]))
    assert losses.shape == (count,) and bool(losses.isfinite().all())
    alone = torch.cat([task.loss(outputs_of(task, count)[place, None], task.encode([raw[place]])) for place in range(count)])
    assert torch.allclose(losses, alone)
    assert bool(task.loss(outputs_of(task, count).float() * 1e4, task.encode(raw[:count])).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_hessian_is_the_mean_of_the_hessians(name: str) -> None:
    task, raw = task_of(name)
    outputs, targets = outputs_of(task, 7), task.encode(raw[:7])
    each = task.output_hessian(outputs, targets)
    expected = each.mean(0) if each.ndim == 3 else each.sum((1, 2)).mean(0)
    assert torch.allclose(task.mean_hessian(outputs, targets), expected, rtol=1e-10, atol=1e-14)
    if targets.is_floating_point():  # of numbers and labels a part may not be known
        targets[2, 0] = float("nan")
        each = task.output_hessian(outputs, targets)
        assert torch.allclose(task.mean_hessian(outputs, targets), each.mean(0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_information_of_a_label_is_the_mean_curvature_over_what_it_may_be(name: str) -> None:
    """With labels drawn from what the task says itself (numbers, from a Gaussian or a Student); where the curvature hangs on no label, exactly."""
    task, raw = task_of(name)
    outputs = outputs_of(task, 3)
    places = places_of(task)
    each = torch.eye(task.outputs, dtype=torch.float64).reshape(1, task.outputs, *(1 for _ in places), task.outputs)
    roots = task.whitened(outputs, each.expand(3, task.outputs, *places, task.outputs)).movedim(1, -2)
    found = roots.mT @ roots
    if "regression" not in kind_of(name)[0]:
        # every place is known, of which a loss is the mean
        targets = torch.zeros(3, *places, dtype=torch.int64) if places else task.encode(raw[:3])
        assert found.numpy() == pytest.approx(task.output_hessian(outputs, targets).numpy(), abs=1e-6)
        return
    draw, half = np.random.default_rng(0), task.outputs // 2
    count = 200_000
    noise = draw.normal(size=(count, half)) if task.noise == "gaussian" else draw.standard_t(4.0, size=(count, half))
    for one, expected in zip(outputs, found, strict=True):
        mean, scale = one[:half], (0.5 * one[half:]).exp()
        each = task.output_hessian(one.repeat(count, 1), mean + scale * torch.from_numpy(noise))
        assert each.mean(0).numpy() == pytest.approx(expected.numpy(), abs=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_output_hessian_is_that_of_autograd(name: str) -> None:
    task, raw = task_of(name)
    outputs, targets = outputs_of(task, 5), task.encode(raw[:5])
    found = task.output_hessian(outputs, targets)
    for place in range(5):
        wanted = torch.autograd.functional.hessian(
            lambda each, at=place: task.loss(each[None], targets[at, None]).sum(), outputs[place]
        )
        assert torch.allclose(_whole(found[place], wanted.shape), wanted, atol=1e-8)


def _whole(blocks: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The Hessian of all outputs of an example, from that of each place where there are places."""
    if blocks.shape == shape:
        return blocks
    whole, (rows, columns) = torch.zeros(shape, dtype=blocks.dtype), shape[1:3]
    for row in range(rows):
        for column in range(columns):
            whole[:, row, column, :, row, column] = blocks[row, column]
    return whole


@pytest.mark.parametrize("name", sorted(PARTLY))
def test_what_nobody_knows_counts_nothing(name: str) -> None:
    raw = PARTLY[name]
    task = _columns(name, "abc" if name == "multi_label" else "xy")
    targets, outputs = task.encode(raw), outputs_of(task, len(raw)).requires_grad_()
    losses = task.loss(outputs, targets)
    losses.sum().backward()
    assert bool(losses.isfinite().all()) and outputs.grad is not None
    unknown = torch.isnan(targets)
    assert bool((outputs.grad[:, : targets.shape[1]][unknown] == 0).all())
    assert bool(
        (task.output_hessian(outputs.detach(), targets).diagonal(dim1=1, dim2=2)[:, : targets.shape[1]][unknown] == 0).all()
    )


def _columns(name: str, columns: str) -> Task:
    rows = [("0", "1", "0"), ("1", "0", "1"), ("0", "0", "1")] if len(columns) == 3 else [("0", "1"), ("1", "3"), ("0.5", "2")]
    records = tuple(hs.core.Record(str(number), number, row) for number, row in enumerate(rows))
    task, loss = kind_of(name)
    return tasks.choose(hs.Dataset("table", records, None, columns=tuple(columns)), task)[0].under(loss)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", ["none", "cov", "samples"])
def test_predictions_have_every_field(name: str, spread: str) -> None:
    task, _ = task_of(name)
    mean = outputs_of(task, 3)
    cov = torch.eye(task.outputs, dtype=torch.float64).expand(3, *places_of(task), -1, -1) * 0.1 if spread == "cov" else None
    samples = (
        mean + 0.1 * torch.randn(8, *mean.shape, generator=torch.Generator().manual_seed(1)) if spread == "samples" else None
    )
    outputs = Outputs(mean, cov, samples)
    said = task.predict(outputs, ["a", "b", "c"])
    for id, each in zip("abc", said, strict=True):
        row = each.row()
        assert isinstance(each, Prediction) and each.text and each.text in repr(each)
        assert {"id", "answer", "promised", "total", "aleatoric", "epistemic", "ood", "error"} <= row.keys() and row["id"] == id
    failed = task.failed("d", "cannot be read")
    assert failed.row()["error"] == "cannot be read" and failed.row().keys() == said[0].row().keys() and "cannot" in repr(failed)
    alone = task.averaged([outputs])
    assert alone is outputs
    several = task.averaged([outputs, outputs])
    assert [each.text for each in task.predict(several, "abc")] == [each.text for each in said]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_a_number_with_an_interval_around_it(name: str) -> None:
    task, raw = task_of(name)
    outputs, targets = Outputs(outputs_of(task, len(raw))), task.encode(raw)
    known = [*task.default_metrics, "nll"]
    for metric, rule in task.metrics(known).items():
        found = rule(outputs, targets)
        assert isinstance(found, Measured) and np.isfinite(found.value) and found.n > 0, metric
        assert found.low is None or found.high is None or found.low <= found.value <= found.high
    assert task.metrics(["nll"])["nll"](outputs, targets).value == pytest.approx(
        float(task.loss(outputs.mean, targets).mean()), rel=1e-6
    )
    assert all(isinstance(each, Measured) for each in task.by_class(outputs, targets).values())
    assert task.fitted(outputs, targets).encode(raw).equal(targets)


def weights(learn: hs.Learner) -> dict[str, torch.Tensor]:
    return learn.model.state_dict()


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["solve", pytest.param("train", marks=pytest.mark.slow)])
def test_a_whole_training(name: str, head: str, tmp_path: Path) -> None:
    """Both heads, more, save and load; and a resumption, which ends with the same weights."""
    task, loss = kind_of(name)
    settings: dict[str, Any] = {"batch_size": 7, "keep": "last", "head": head, "checkpoint_seconds": 0.0, "loss": loss}
    data = masked(40) if name == "segmentation" else _table(name, tmp_path / "images")
    straight = hs.Learner(data, backbone="tiny", observer=Silent(), run="straight", **settings).fine_tune(2)
    assert straight.task.name == task and straight.task == straight.task.under(loss)
    with pytest.raises(Killed):
        hs.Learner(data, backbone="tiny", observer=Silent(6), run="broken", **settings).fine_tune(2)
    resumed = hs.resume("broken", observer=Silent())
    for key, tensor in weights(straight).items():
        assert torch.equal(tensor, weights(resumed)[key]), key
    images = [str(record.source) for record in data.records[:3]]
    said = [each.row() for each in straight.predict(images)]
    loaded = hs.load(straight.run.path, observer=Silent())
    assert [each.row() for each in loaded.predict(images)] == said
    assert loaded.task == straight.task and resumed.task == straight.task
    assert loaded.evaluate().keys() == straight.evaluate().keys()
    assert len(loaded.more(1).history) == len(straight.history) + 1
    straight.save(tmp_path / "bundle")
    assert [each.row() for each in hs.load(tmp_path / "bundle").predict(images)] == said
    assert straight.show_results(3).size[0] > 0


def _table(name: str, folder: Path) -> hs.Dataset:
    folder.mkdir()
    for number in range(40):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    table = folder / "labels.csv"
    table.write_text(
        "\n".join(["image,label,second"[: 11 if kind_of(name)[0] != "regression" else 18], *_rows(name)]), encoding="utf-8"
    )
    columns = ["label", "second"] if kind_of(name)[0] == "regression" else None
    return hs.image_csv(table, label_column=columns, valid=0.25)


def _rows(name: str) -> Sequence[str]:
    labels = raw_of(name, 40)
    texts = [
        label if isinstance(label, str) else (",".join(map(str, label)) if kind_of(name)[0] == "regression" else ";".join(label))
        for label in labels
    ]
    return [f"{number}.png,{text}" for number, text in enumerate(texts)]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
def test_fit_trains_it_too(name: str) -> None:
    task, loss = kind_of(name)
    learn = hs.Learner(data_of(name), backbone="tiny", observer=Silent(), task=task, loss=loss, batch_size=8).fit(1)
    assert learn.history[0]["stage"] == "fit" and np.isfinite(learn.history[0]["valid_loss"])


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
@pytest.mark.parametrize("name", NAMES)
def test_a_solved_head_beats_knowing_nothing(name: str) -> None:
    """Row 0 against the same head without weights: the shares of the classes, the mean of the numbers."""
    task, loss = kind_of(name)
    learn = hs.Learner(data_of(name, 120), backbone="tiny", observer=Silent(), task=task, loss=loss).fine_tune(0)
    state = learn._session.ready().state
    with torch.no_grad():
        train = state.parts["train"]
        nothing = torch.zeros(len(train), state.task.outputs, *places_of(state.task))
    knowing_nothing = float(state.task.loss(nothing, train.targets).mean())
    assert learn.history[0]["train_loss"] < knowing_nothing
    assert learn.history[0]["train_loss"] == pytest.approx(learn.evaluate(part="train", posterior="none")["nll"].value, rel=1e-3)
