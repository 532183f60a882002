"""The next task from the last one: a run whose layers come from a finished run for another task, in Python and on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import headstart as hs
from headstart.cli.main import main
from headstart.core import Event, RowDone, StepDone
from headstart.errors import NotARun

pytestmark = pytest.mark.usefixtures("plain_training")
COLOURS = ("red", "green", "blue")
SETTINGS: dict[str, Any] = {"batch_size": 7, "keep": "last", "checkpoint_seconds": 0.0}

NUMBERS = {"last": 32, "layers": 112}
"""Of the features of the tiny backbone, by what the head sees."""


class Killed(BaseException): ...


class Watcher:
    """Shows nothing, and kills the training at the step or event that it waits for."""

    def __init__(self, step: int | None = None, at: Callable[[Event], bool] = lambda _: False) -> None:
        self.step, self.at, self.steps = step, at, 0

    def show(self, event: Event) -> None:
        self.steps += isinstance(event, StepDone)
        if self.at(event) or (isinstance(event, StepDone) and self.steps == self.step):
            raise Killed

    def close(self) -> None: ...


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of squares of a colour and a size, with a table of the colours and one of the sizes."""
    draw, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    colours, sizes = ["image,colour"], ["image,size"]
    for number in range(40):
        side = int(draw.integers(4, 28))
        pixels = draw.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        pixels[:side, :side, number % 3] = 250
        Image.fromarray(pixels).save(folder / f"{number}.png")
        colours.append(f"{number}.png,{COLOURS[number % 3]}")
        sizes.append(f"{number}.png,{side / 10}")
    for name, lines in (("colours", colours), ("sizes", sizes)):
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def first(pictures: Path) -> hs.Learner:
    """A finished run that tells the colours apart."""
    data = hs.image_csv(pictures / "colours.csv", valid=0.25)
    return hs.Learner(data, backbone="tiny", observer=Watcher(), run="first", **SETTINGS).fine_tune(1)


def body(learn: hs.Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.backbone.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def second(pictures: Path, observer: Watcher | None = None, **changes: Any) -> hs.Learner:
    data = hs.image_csv(pictures / "sizes.csv", valid=0.25)
    return hs.Learner(data, observer=observer or Watcher(), **{"backbone": "first", **SETTINGS, **changes})


@pytest.mark.slow
def test_row_0_has_the_layers_of_the_first_run_and_a_new_head(pictures: Path, first: hs.Learner) -> None:
    kept = {file: file.read_bytes() for file in sorted(first.run.path.rglob("*")) if file.is_file()}
    fresh = hs.Learner(hs.image_csv(pictures / "sizes.csv"), backbone="tiny", observer=Watcher())
    learn = second(pictures).fine_tune(0)
    assert same(body(learn), body(first)) and not same(body(learn), body(fresh))
    assert learn.task.name == "regression" and learn.model.head.weight.shape == (2, NUMBERS[learn.settings.features])
    assert first.task.name == "single_label" and first.model.head.weight.shape == (3, NUMBERS[first.settings.features])
    plan = json.loads((learn.run.path / "plan.json").read_text(encoding="utf-8"))
    assert plan["settings"]["backbone"] == str(first.run.path) and "from" not in plan["data"]
    config = json.loads((learn.run.bundle / "config.json").read_text(encoding="utf-8"))
    assert config["headstart"]["backbone"]["source"] == str(first.run.path)
    assert f"weights from {first.run.path}" in (learn.run.bundle / "README.md").read_text(encoding="utf-8")
    learn.fine_tune(1)
    assert not same(body(learn), body(first)) and np.isfinite(learn.history[1]["valid_loss"])
    assert {file: file.read_bytes() for file in kept} == kept, "the first run stays as it is"


@pytest.mark.slow
def test_the_second_run_stands_without_the_first(pictures: Path, first: hs.Learner, tmp_path: Path) -> None:
    """It is resumed, loaded, prolonged and chained to once the folder of the first is gone."""
    straight = second(pictures, run="straight").fine_tune(2)
    with pytest.raises(Killed):
        second(pictures, Watcher(step=6), run="broken").fine_tune(2)
    with pytest.raises(Killed):  # its body is in the bundle of row 0 by then
        second(pictures, Watcher(at=lambda event: isinstance(event, RowDone)), run="at_row_0").fine_tune(2)
    shutil.rmtree(first.run.path)
    for name in ("broken", "at_row_0"):
        assert same(hs.resume(name, observer=Watcher()).model.state_dict(), straight.model.state_dict()), name
    picture = str(pictures / "3.png")
    loaded = hs.load("straight", observer=Watcher())
    assert loaded.predict(picture).row() == straight.predict(picture).row()
    assert loaded.evaluate() == straight.evaluate()
    moved = shutil.copytree(straight.run.bundle, tmp_path / "elsewhere")
    assert hs.load(moved).predict(picture).row() == straight.predict(picture).row()
    third = hs.Learner(hs.image_csv(pictures / "colours.csv"), backbone="straight", observer=Watcher()).fine_tune(0)
    assert third.task.name == "single_label" and same(body(third), body(straight))
    assert len(loaded.more(1).history) == 4


@pytest.mark.slow
def test_what_never_got_a_row_says_that_the_first_run_is_missing(
    pictures: Path, first: hs.Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        second(pictures, Watcher(step=2), run="early", head="train").fine_tune(1)
    here, run = Path.cwd(), Path("early").absolute()
    moved = first.run.path.rename("moved")
    with pytest.raises(NotARun, match='first" does not exist'):
        hs.resume(run, observer=Watcher())
    moved.rename("first")
    monkeypatch.chdir(pictures)  # the path of the first run is known from everywhere
    resumed = hs.resume(run, observer=Watcher())
    monkeypatch.chdir(here)
    assert same(body(resumed), body(second(pictures, head="train").fine_tune(1)))


@pytest.mark.slow
def test_on_the_command_line(pictures: Path, capsys: pytest.CaptureFixture) -> None:
    table = [str(pictures / name) for name in ("colours.csv", "sizes.csv")]
    assert main(["train", table[0], "--backbone", "tiny", "--epochs", "1", "--batch-size", "8"]) == 0
    chained = ["--backbone", "runs/colours-1", "--task", "regression", "--epochs", "1", "--batch-size", "8", "--json"]
    capsys.readouterr()
    assert main(["train", table[1], *chained]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["stage"] for row in summary["rows"]] == ["head", "all"] and "rmse" in summary["rows"][0]
    shutil.rmtree("runs/colours-1")
    assert main(["predict", "runs/sizes-1", str(pictures / "3.png"), "--json"]) == 0
    assert "value" in json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["more", "runs/sizes-1", "--epochs", "1"]) == 0
