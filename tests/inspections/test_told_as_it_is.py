"""What cannot be told is said, what is gone is said, and nothing of the user's is overwritten."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import headstart as hs
from headstart import model as models
from headstart.backbones import from_module
from headstart.cli.main import main
from headstart.core import Settings
from headstart.errors import BadSetting, StoreError
from headstart.inspections import drift, duplicates, labels, shortcuts, summary
from headstart.inspections._plant import logits, trace
from headstart.inspections._trace import Look
from headstart.learner import tracing
from headstart.train import summary as train_summary
from watched import Notes


def learner(folder: Path, run: Path, **settings: Any) -> hs.Learner:
    return hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=8, observer=Notes(), run=run, **settings)


def audit(**groups: list[list[str]]) -> dict[str, Any]:
    return {"near_duplicates": [], "exact_duplicates": [], "conflicting_labels": []} | groups


def test_an_exact_copy_that_trained_is_a_leak_too() -> None:
    truth = np.arange(20) % 2
    found = duplicates.inspect(trace(logits(truth, 2, 0), truth, audit=audit(exact_duplicates=[["0.jpg", "1.jpg"]])))
    assert found.verdict == "bad" and found.numbers["leaked"].value == 1 / 10
    assert [item["leaks"] for item in found.items] == ["yes"]
    assert found.numbers["error_rate without leaks"].n == 9


def test_copies_among_examples_that_are_not_looked_at_count() -> None:
    truth = np.arange(20) % 2
    copies = audit(near_duplicates=[["0.jpg", "far.jpg"], ["far.jpg", "farther.jpg"]])
    found = duplicates.inspect(trace(logits(truth, 2, 0), truth, audit=copies, trained=("far.jpg", "farther.jpg")))
    assert [item["copies"] for item in found.items] == ["0.jpg, far.jpg", "far.jpg, farther.jpg"]
    assert found.numbers["leaked"].value == 1 / 10
    without = duplicates.inspect(trace(logits(truth, 2, 0), truth, audit=copies))
    assert without.verdict == "good", "an example of another part is no copy"


@pytest.mark.slow
def test_training_examples_are_looked_at_however_many_judge(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST", 6)
    seen = tracing.Examined.of(trained._session.ready())
    assert seen.valid.sum() > 4 and (~seen.valid).sum() == 3


def test_the_only_example_of_a_class_is_not_called_wrong() -> None:
    truth = np.arange(60) // 2 % 2
    truth[5] = 2
    said = logits(np.where(truth == 2, 0, truth), 3, 0, margin=8.0).astype(np.float32)
    found = labels.inspect(trace(said, truth, folds=np.arange(60) // 2 % 5, before=Look(said, ())))
    assert not any(item["given"] == "class 2" for item in found.items)
    assert any("cannot be judged" in caveat for caveat in found.caveats)


def test_from_few_images_it_cannot_be_told_whether_a_model_cheats() -> None:
    planted = shortcuts.plant(0).faulty
    few = np.zeros(120, bool)
    few[np.concatenate([np.flatnonzero(planted.classes == number)[:8] for number in (0, 1)])] = True
    found = shortcuts.inspect(replace(planted, valid=few))
    assert found.verdict == "look" and "cannot be told whether the model goes by it" in found.headline
    assert "answers lost" not in found.items[0]
    none = shortcuts.inspect(replace(planted, classes=np.arange(120), task=trace(np.zeros((120, 120)), np.arange(120)).task))
    assert none.verdict == "unknown" and none.headline.startswith("It cannot be told")


def test_a_thing_that_tells_few_images_apart_is_not_told_to_be_absent() -> None:
    planted = shortcuts.plant(0).faulty
    some = np.concatenate([np.flatnonzero(planted.classes == number)[:10] for number in (0, 1)])
    assert planted.classes is not None and planted.pictures is not None
    pictures = planted.pictures(range(120))[some]
    small = trace(planted.said[some], planted.classes[some], pictures=lambda places: pictures[list(places)], says=planted.says)
    found = shortcuts.inspect(small)
    assert found.items[0]["tells"] > shortcuts.UNSURE and found.verdict != "good"


def test_drift_says_what_it_does_not_have() -> None:
    clean = drift.plant(0).clean
    same = replace(clean, before=clean.after)
    gone = drift.inspect(replace(same, rows=[{"stage": "head"}, *[{"stage": "all"}] * 3]))
    assert "3 epochs of training" in gone.headline and "not at hand" in gone.headline
    stopped = drift.inspect(replace(same, rows=[{"stage": "head"}], finished=False))
    assert stopped.verdict == "unknown" and "not come to its end" in stopped.headline
    frozen = drift.inspect(replace(same, rows=[{"stage": "head"}] * 3))
    assert "only the head learned" in frozen.headline
    few = trace(logits(np.arange(4) % 2, 2, 0), np.arange(4) % 2, before=clean.before)
    assert drift.inspect(few).verdict == "unknown"


@pytest.mark.slow
def test_a_training_that_was_interrupted_is_told(make_shapes: Any, tmp_path: Path) -> None:
    learn = learner(make_shapes(8), tmp_path / "run").fine_tune(0)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["finished"] and "interrupted" not in learn.inspect("losses").facts["Training"]
    (tmp_path / "run" / "plan.json").write_text(json.dumps(plan | {"finished": False}))
    assert "interrupted" in learn.inspect("losses").facts["Training"]


@pytest.mark.slow
def test_examples_that_are_gone_are_told(make_shapes: Any, tmp_path: Path) -> None:
    folder = make_shapes(12)
    learner(folder, tmp_path / "run").fine_tune(0)
    lost = hs.load(tmp_path / "run", observer=Notes()).run.split().valid[0]
    (folder / lost).write_text("no image")
    facts = hs.load(tmp_path / "run", observer=Notes()).inspect("losses").facts
    assert facts["Beware"].startswith("1 example of the run cannot be read any more") and lost in facts["Beware"]
    shutil.move(folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / lost).unlink()
    with pytest.raises(BadSetting, match="not the data that the run was made with"):
        hs.load(tmp_path / "run", data=tmp_path / "elsewhere", observer=Notes()).inspect()


@pytest.mark.slow
def test_pages_of_some_answers_leave_the_whole_page_alone(trained: Any) -> None:
    whole = trained.inspect()
    before = whole.page.read_bytes()
    some = trained.inspect(["losses", "confusion"])
    assert some.page.name == "report_losses_confusion.html" and whole.page.read_bytes() == before
    one, two = (trained.inspect("occlusion", [np.full((9, 9, 3), value, np.uint8)] * 2).page for value in (1, 2))
    assert one.parent.parent == trained.run.path / "images" and two.is_file()


@pytest.mark.slow
def test_a_page_of_the_users_own_is_not_overwritten(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.run.path / "bundle", tmp_path / "model")
    (tmp_path / "report.html").write_text("mine")
    data = str(trained.data.root)
    assert main(["inspect", "model", "--data", data, "--only", "losses"]) == 0
    assert (tmp_path / "report.html").read_text() == "mine" and (tmp_path / "report-2.html").is_file()


def test_what_cannot_be_written_is_told_first(trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained.run.path)
    (tmp_path / "folder.html").mkdir()
    for options in (["--output", str(tmp_path / "folder.html")], ["--fixes", str(tmp_path / "fixes.txt")]):
        assert main(["inspect", run, *options]) == 2
    assert main(["inspect", run, "--beside", str(tmp_path / "nowhere")]) == 1
    assert "looking" not in capsys.readouterr().err
    assert main(["inspect", run, "--only", "losses", "--fixes", str(tmp_path / "fixes.csv")]) == 0
    assert "nothing to mend" in capsys.readouterr().out and not (tmp_path / "fixes.csv").exists()


@pytest.mark.slow
def test_a_run_with_a_module_of_your_own_is_loaded_with_it(make_shapes: Any, tmp_path: Path) -> None:
    folder = make_shapes(8)
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
    learn = hs.Learner(
        hs.image_folder(folder), backbone=module, size=32, batch_size=8, observer=Notes(), run=tmp_path / "run", posterior="none"
    ).fine_tune(1)
    with pytest.raises(StoreError, match=r"hs\.load takes it"):
        hs.load(tmp_path / "run", observer=Notes())
    again = hs.load(tmp_path / "run", observer=Notes(), backbone=module)
    picture = np.full((32, 32, 3), 90, np.uint8)
    assert again.predict(picture).probs == learn.predict(picture).probs
    assert again.inspect("occlusion")["occlusion"].items
    assert len(again.more(1).history) == 3


class Gives(nn.Module):
    """A network that gives a parameter to a layer, as those with a class token do."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 4, 8, stride=8)
        self.token = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.join = Joins()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(self.look(x), self.token.expand(len(x), -1, -1, -1))


class Joins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, maps: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return self.mix(maps * token).mean((2, 3))


def test_the_work_of_a_network_that_gives_parameters_to_its_layers_is_counted() -> None:
    faulty = summary.plant(0).faulty
    with torch.random.fork_rng(devices=[]):
        model = models.build(from_module.build(Gives(), 56), 2).eval()
    stages = train_summary.of(model, Settings(), False)
    found = summary.inspect(replace(faulty, model=model, stages=stages))
    assert "multiplications" in found.headline
    assert not any(parameter.grad is not None for parameter in model.parameters())
