"""Going on with other data: new images, a new class, corrected labels; nothing leaks, nothing is lost, and what got worse is told."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import headstart as hs
from drawn import masked_folder, shape_image
from headstart.cli.main import main
from headstart.core import Event, Note, RowDone, Settings, StepDone
from headstart.data.sources import from_origin
from headstart.errors import BadSetting, DataError, NewerFormat, NotARun
from headstart.learner.onward import adopted, start_of
from headstart.learner.reading import to_judge
from headstart.modalities import _masks
from headstart.store.runs import Run
from headstart.train.settings import changed
from written import numbers

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")


class Killed(BaseException):
    """Ends a training as a killed process would."""


class Watcher:
    """An observer that keeps what it is shown and kills the training at the event it waits for."""

    def __init__(self, at: Callable[[Event], bool] = lambda _: False) -> None:
        self.events: list[Event] = []
        self.at = at

    def show(self, event: Event) -> None:
        self.events.append(event)
        if self.at(event):
            raise Killed

    def close(self) -> None: ...

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))


def trained(folder: Path, epochs: int = 1, **settings: Any) -> hs.Learner:
    given = {"batch_size": 8, "keep": "last", **settings}
    return hs.Learner(hs.image_folder(folder), backbone="tiny", observer=Watcher(), **given).fine_tune(epochs)


def parts(run: Run) -> dict[str, str]:
    split = run.split()
    return {name: part for part in ("train", "valid", "test") for name in getattr(split, part)}


def weights(learn: hs.Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


@pytest.fixture
def two(make_shapes: Make, tmp_path: Path) -> Path:
    """A folder of two classes that a test may change."""
    return Path(shutil.copytree(make_shapes(10), tmp_path / "shapes"))


@pytest.fixture
def three(make_shapes: Make, tmp_path: Path) -> Path:
    """The same two classes with ten more images of each, and a third class."""
    return Path(shutil.copytree(make_shapes(20, kinds=("disc", "square", "stripe")), tmp_path / "more"))


@pytest.mark.slow
def test_a_new_class_makes_a_run_of_its_own_and_leaves_the_old_one_alone(two: Path, three: Path) -> None:
    learn = trained(two)
    before, old = everything(learn.run.path), learn.run
    watcher = Watcher()
    again = hs.load(old.path, data=three, observer=watcher).more(1)
    assert everything(old.path) == before
    assert again.run.path.name == "shapes-2"
    assert again.run.plan().data["from"] == str(old.path)
    assert [row["epoch"] for row in again.history] == [0, 1]
    assert json.loads((again.run.bundle / "config.json").read_text())["label_names"] == ["disc", "square", "stripe"]
    assert again.predict(three / "stripe" / "stripe3.png").label in ("disc", "square", "stripe")
    was, now = parts(old), parts(again.run)
    assert {name: now[name] for name in was} == was
    assert {now[f"stripe/stripe{number}.png"] for number in range(20)} == {"train", "valid"}
    assert 'New to the model: "stripe"' in watcher.notes()
    found = again.run.changes()
    assert found["from"] == str(old.path)
    assert [change["name"] for change in found["classes"]][-1] == "all"
    assert found["classes"][-1]["n"] == sum(part == "valid" and "stripe" not in name for name, part in now.items())
    assert "Errors of the model before -> now:" in watcher.notes()
    reloaded = hs.load(again.run.path, observer=Watcher())
    assert reloaded.data.classes == ("disc", "square", "stripe")
    assert reloaded.more(1).history[-1]["epoch"] == 2
    assert reloaded.run.path == again.run.path


@pytest.mark.slow
def test_classes_keep_their_numbers_and_new_ones_are_appended(make_shapes: Make, tmp_path: Path) -> None:
    first = make_shapes(12, kinds=("square", "stripe"))
    learn = trained(first, 0)
    folder = Path(shutil.copytree(make_shapes(12, kinds=("disc", "square", "stripe")), tmp_path / "all"))
    again = hs.load(learn.run.path, data=folder, observer=Watcher()).more(1)
    assert again.run.plan().task["classes"] == ["square", "stripe", "disc"]
    assert again.evaluate()["error_rate"].n == len(again.run.split().valid)
    assert hs.load(again.run.path).evaluate()["error_rate"].value == again.evaluate()["error_rate"].value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_a_head_that_is_not_solved_starts_the_new_class_from_its_prototype(two: Path, three: Path, kind: str) -> None:
    learn = trained(two, 1, head="train", head_kind=kind)
    again = hs.load(learn.run.path, data=three, observer=Watcher())
    again._session.ready()
    last = again.model.head if kind == "linear" else again.model.head[-1]
    old = learn.model.head if kind == "linear" else learn.model.head[-1]
    assert torch.equal(last.weight[:2], old.weight)
    assert torch.equal(last.bias[:2], old.bias)
    outputs = again._session.ready().state.outputs("train").mean
    targets = again._session.ready().state.parts["train"].targets
    assert float(outputs.softmax(1)[:, 2].mean()) == pytest.approx(float((targets == 2).double().mean()), rel=0.05)
    assert again.more(1).history[-1]["epoch"] == 1


@pytest.mark.slow
def test_a_live_learner_turns_to_other_data(two: Path, three: Path) -> None:
    learn = trained(two)
    first = learn.run.path
    disk = hs.load(first, data=three, observer=Watcher()).more(1)
    learn.more(1, data=three)
    assert learn.run.path != first
    assert [row["epoch"] for row in learn.history] == [0, 1]
    for name, tensor in weights(disk).items():
        assert torch.equal(tensor, learn.model.state_dict()[name]), name


@pytest.mark.slow
def test_the_same_images_elsewhere_go_on_in_the_same_run(two: Path, tmp_path: Path) -> None:
    learn = trained(two, 1)
    straight = trained(two, 1).more(1)
    two.rename(tmp_path / "elsewhere")
    again = hs.load(learn.run.path, data=tmp_path / "elsewhere", observer=Watcher()).more(1)
    assert again.run.path == learn.run.path
    assert [row["epoch"] for row in again.history] == [0, 1, 2]
    for name, tensor in weights(straight).items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert not again.run.changes()
    two_again = learn.more(1, data=tmp_path / "elsewhere")
    assert two_again.run.path == learn.run.path


@pytest.mark.slow
def test_shares_and_rules_of_the_run_are_those_of_the_moved_data(two: Path, tmp_path: Path) -> None:
    data = hs.image_folder(two, valid=0.4, test=0.1, seed=5, label=r"^([a-z]+)\d")
    learn = hs.Learner(data, backbone="tiny", observer=Watcher()).fine_tune(0)
    before = parts(learn.run)
    two.rename(tmp_path / "elsewhere")
    again = hs.load(learn.run.path, data=tmp_path / "elsewhere", observer=Watcher()).more(1)
    assert again.run.path == learn.run.path
    assert parts(again.run) == before


@pytest.mark.slow
def test_an_image_under_another_name_keeps_its_part(two: Path) -> None:
    learn = trained(two, 0)
    was = parts(learn.run)
    for path in sorted(two.rglob("*.png")):
        path.rename(path.with_name(f"renamed_{path.name}"))
    shape_image("disc", 77).save(two / "disc" / "new.png")
    again = hs.load(learn.run.path, data=two, observer=Watcher()).more(1)
    now = parts(again.run)
    assert {name.replace("/renamed_", "/"): part for name, part in now.items() if "renamed" in name} == was
    assert len(now) == len(was) + 1


@pytest.mark.slow
def test_a_copy_of_a_validation_image_does_not_train(two: Path) -> None:
    learn = trained(two, 0)
    valid = learn.run.split().valid[0]
    shutil.copy(two / valid, two / Path(valid).parent / "copy.png")
    again = hs.load(learn.run.path, data=two, observer=Watcher()).more(1)
    assert parts(again.run)[f"{Path(valid).parent}/copy.png"] == "valid"


@pytest.mark.slow
def test_missing_images_and_a_missing_class_are_told_and_the_head_keeps_its_row(two: Path, three: Path) -> None:
    learn = trained(three, 0)
    shutil.rmtree(three / "stripe")
    watcher = Watcher()
    again = hs.load(learn.run.path, data=three, observer=watcher)
    again.fine_tune(0)
    assert "20 of the 60 images that the model was made with are not in" in watcher.notes()
    assert 'No image of "stripe" is left' in watcher.notes()
    assert torch.equal(again.model.head.weight[2], learn.model.head.weight[2])
    assert again.predict(three / "disc" / "disc0.png").probs.keys() == {"disc", "square", "stripe"}
    assert again.more(1).history[-1]["epoch"] == 1


def test_only_new_images_of_one_class_are_not_the_whole_data(two: Path, make_shapes: Make) -> None:
    learn = trained(two, 0)
    with pytest.raises(DataError, match=r"20 images that the model was made with are not in it.*beside them"):
        hs.load(learn.run.path, data=make_shapes(4, kinds=("stripe",)))


@pytest.mark.slow
@pytest.mark.parametrize("at", [pytest.param("row 0", marks=pytest.mark.slow), "step"])
def test_a_run_that_started_from_another_resumes_to_the_same_weights(two: Path, three: Path, at: str) -> None:
    old = trained(two).run.path
    straight = hs.load(old, data=three, observer=Watcher()).more(2)
    kind = RowDone if at == "row 0" else StepDone
    count = iter(range(100))
    broken = hs.load(
        old, data=three, observer=Watcher(lambda event: isinstance(event, kind) and next(count) == (0, 5)[kind is StepDone])
    )
    broken._session.settings = broken.settings.__class__(**{**_fields(broken.settings), "checkpoint_seconds": 0.0})
    with pytest.raises(Killed):
        broken.more(2)
    resumed = hs.resume(broken.run.path, observer=Watcher())
    for name, tensor in weights(straight).items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert [row["valid_loss"] for row in resumed.run.rows()] == [row["valid_loss"] for row in straight.run.rows()]
    assert resumed.run.changes() == straight.run.changes() | {"from": str(old)}


def _fields(settings: hs.Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


# ------------------------------------------------------------------------------------------------------ label files


@pytest.mark.slow
def test_train_from_a_run_with_a_label_file(two: Path, capsys: pytest.CaptureFixture) -> None:
    learn = trained(two)
    old, split = learn.run, learn.run.split()
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*")}
    shape_image("square", 50).save("extra.png")
    rows = [
        f"{split.train[0]},stripe,relabel,,",
        f"{split.train[1]},,drop,,",
        f"{split.valid[0]},,drop,,blurred",
        f"{Path('extra.png').absolute()},square,add,train,",
    ]
    Path("fixes.csv").write_text("\n".join(["path,label,action,part,reason", *rows]))
    command = [
        "train",
        str(two),
        "--from",
        str(old.path),
        "--labels",
        "fixes.csv",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--json",
    ]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "The label file changes the valid part: 1 left out" in told.err
    run = Run.open(json.loads(told.out.splitlines()[-1])["run"])
    assert run.path != old.path
    was, now = parts(old), parts(run)
    gone = {split.train[1], split.valid[0]}
    assert {name: part for name, part in now.items() if name in was} == {n: p for n, p in was.items() if n not in gone}
    assert run.plan().task["classes"] == ["disc", "square", "stripe"]
    assert run.plan().settings.backbone == "tiny"
    assert {path: path.stat().st_mtime_ns for path in two.rglob("*")} == before
    again = hs.load(run.path, observer=Watcher()).more(1)  # the data is opened again with its corrections
    assert parts(again.run) == now


@pytest.mark.slow
def test_labels_and_from_in_python_start_with_the_head_of_the_run(two: Path) -> None:
    learn = trained(two, 2)
    Path("fixes.csv").write_text(f"path,action,label\n{learn.run.split().train[0]},drop,\n")
    watcher = Watcher()
    again = hs.Learner(two, from_run=learn.run.path, labels="fixes.csv", observer=watcher)
    for name, tensor in weights(learn).items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    again.fine_tune(0)
    assert again.history[0]["valid_loss"] <= learn.evaluate(posterior="none")["nll"].value + 1e-5
    assert again.run.path.name == "shapes-2"
    assert learn.run.path.name == "shapes-1"


def test_a_run_and_another_backbone_exclude_each_other(two: Path) -> None:
    run = trained(two, 0).run.path
    for wrong in ({"backbone": "medium"}, {"pretrained": False}):
        with pytest.raises(BadSetting, match="Leave one of the two out"):
            hs.Learner(two, from_run=run, **wrong)


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.slow
def test_more_names_what_changed_and_needs_a_word(two: Path) -> None:
    learn = trained(two)
    was = parts(learn.run)
    gone, again, new = two / learn.run.split().train[0], two / learn.run.split().valid[0], two / "disc" / "new.png"
    gone.unlink()
    shape_image("disc", 99).save(again)
    shape_image("disc", 98).save(new)
    with pytest.raises(
        DataError, match=rf"1 new \(disc/new.png\); 1 gone .*{gone.name}.*1 written again .*{again.name}.*--changed-data"
    ):
        hs.load(learn.run.path, observer=Watcher()).more(1)
    assert [row["epoch"] for row in learn.run.rows()] == [0, 1]
    assert main(["more", str(learn.run.path), "--epochs", "1", "--changed-data", "--json"]) == 0
    assert [row["epoch"] for row in learn.run.rows()] == [0, 1, 2]
    now = parts(learn.run)
    assert {name: part for name, part in now.items() if name in was} == {n: p for n, p in was.items() if n in now}
    assert hs.load(learn.run.path, observer=Watcher()).more(1).history[-1]["epoch"] == 3  # once said, it is known


def test_a_new_class_needs_data_to_be_named(two: Path) -> None:
    learn = trained(two, 0)
    (two / "disc" / "disc0.png").rename(two / "disc0.png")
    (two / "stripe").mkdir()
    (two / "disc0.png").rename(two / "stripe" / "disc0.png")
    with pytest.raises(DataError, match=r'came up since the run began: "stripe".*headstart more .* --data'):
        hs.load(learn.run.path, observer=Watcher()).more(1)


@pytest.mark.slow
def test_a_run_moved_to_another_machine_goes_on_where_its_data_is(two: Path, tmp_path: Path) -> None:
    straight = trained(two).more(1)
    learn = trained(two)
    moved = Path(shutil.move(learn.run.path, tmp_path / "from_afar"))
    two.rename(tmp_path / "here")
    with pytest.raises(DataError, match=r"not at hand.*shapes"):
        hs.load(moved, observer=Watcher()).more(1)
    assert hs.load(moved).predict(tmp_path / "here" / "disc" / "disc0.png").label
    again = hs.load(moved, data=tmp_path / "here", observer=Watcher()).more(1)
    assert again.run.path == moved
    for name, tensor in weights(straight).items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("command", [["more", "--epochs", "1"], ["resume"], ["train", "--from"]])
def test_a_folder_that_is_no_run_and_a_run_of_a_later_version(
    two: Path, command: list[str], capsys: pytest.CaptureFixture
) -> None:
    (two.parent / "empty").mkdir()
    verb, *rest = command

    def told(run: Path) -> str:
        words = [verb, str(run), *rest] if verb != "train" else [verb, str(two), *rest, str(run)]
        assert main(words) == 1
        return capsys.readouterr().err

    assert any(words in told(two.parent / "empty") for words in ("is no run folder", "is neither a bundle"))
    run = trained(two, 0).run.path
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps({**plan, "format": 999}))
    assert "pip install --upgrade headstart" in told(run)
    with pytest.raises(NewerFormat):
        hs.load(run)
    with pytest.raises(NotARun):
        hs.load(two.parent / "empty")


@pytest.mark.slow
def test_a_run_is_found_by_its_name_and_from_the_home_folder(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = trained(two)
    monkeypatch.setenv("HOME", str(learn.run.path.parent))
    monkeypatch.setenv("USERPROFILE", str(learn.run.path.parent))
    assert start_of(f"~/{learn.run.path.name}").run == learn.run
    monkeypatch.chdir(learn.run.path.parent.parent)
    assert learn.run.path.parent.name == "runs"
    assert start_of(learn.run.path.name).run == learn.run
    copy = Path(shutil.copytree(learn.run.bundle, learn.run.path / "copy"))
    assert start_of(copy).run is None
    assert hs.load(copy, observer=Watcher()).task.names == learn.task.names


@pytest.mark.slow
def test_what_is_judged_is_read_as_the_run_has_read_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the rule for labels where it fits, and else as if there were none."""
    for number in range(12):
        kind = "disc" if number % 2 else "square"
        for file in (tmp_path / "flat" / f"{kind}_{number}.png", tmp_path / "folders" / kind / f"{number}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
            shape_image(kind, number).save(file)
    data = hs.image_folder(tmp_path / "flat", label=r"^(\w+?)_", seed=1)
    learn = hs.Learner(data, backbone="tiny", observer=Watcher()).fine_tune(0)
    for place in ("flat", "folders"):
        measured = hs.load(learn.run.path).evaluate(tmp_path / place)
        assert measured["error_rate"].n == 12
        assert ("but by itself" in capsys.readouterr().out) == (place == "folders")
        assert main(["evaluate", str(learn.run.path), str(tmp_path / place), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["error_rate"]["value"] == pytest.approx(measured["error_rate"].value)
    assert main(["evaluate", str(learn.run.path), str(tmp_path / "flat"), "--label", "(nothing)"]) == 1
    with pytest.raises(DataError, match="there is no file or folder"):
        learn.evaluate(tmp_path / "falt")


@pytest.mark.slow
def test_the_backbone_of_the_start_may_be_named_again_as_it_was_named_then(
    make_shapes: Make, tmp_path: Path, monkeypatch
) -> None:
    """Also where an earlier version has kept the name of a folder as it was given, from where the user was."""
    monkeypatch.chdir(tmp_path)
    body = trained(make_shapes(8), 0).save("body")
    learn = hs.Learner(hs.image_folder(make_shapes(8)), backbone=str(body), observer=Watcher()).fine_tune(0)
    start = start_of(learn.run.path)
    for kept in (start, replace(start, settings=replace(start.settings, backbone="body"))):
        _, settings, _ = adopted(learn.data, changed(Settings(), {"backbone": "body"}), kept)
        assert settings.backbone == str(tmp_path / "body")
        with pytest.raises(BadSetting, match="neither another backbone"):
            adopted(learn.data, Settings(backbone="tiny"), kept)


@pytest.mark.slow
def test_options_of_evaluate_change_what_they_name_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that has a column `label` too, which the run was not told to read."""
    folder = tmp_path / "somewhere" / "images"
    folder.mkdir(parents=True)
    lines = ["image,label,size"]
    for number in range(12):
        shape_image("disc", number).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{1000 + number},{number / 10}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    data = hs.image_csv(tmp_path / "table.csv", folder, label_column="size")
    learn = hs.Learner(data, backbone="tiny", task="regression", observer=Watcher()).fine_tune(0)
    whole = learn.evaluate(data)["rmse"].value
    (tmp_path / "other.csv").write_text("\n".join([*lines, "gone.png,3,3", "0.png,3,"]))
    for options in ([], ["--folder", str(folder)], ["--folder", str(folder), "--image-column", "image"]):
        assert main(["evaluate", str(learn.run.path), str(tmp_path / "other.csv"), "--json", *options]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["rmse"]["value"] == pytest.approx(whole)
        assert "1 row whose file does not exist" in told.err and "1 row without a label" in told.err
    (tmp_path / "far.csv").write_text("\n".join([*lines, "0.png,3,inf"]).replace("\n0.png,1000,0.0", ""))
    assert main(["evaluate", str(learn.run.path), str(tmp_path / "far.csv"), "--folder", str(folder)]) == 1
    assert (
        'size is inf, and only finite numbers can be learned. Take the example out, or leave the cell empty. The first: "0.png"'
        in (capsys.readouterr().err)
    )
    assert main(["evaluate", str(learn.run.path), "--folder", str(folder)]) == 2
    assert "--folder ... says how data is read, and none is given" in capsys.readouterr().err
    asked = ["--json", "--label-column", "label", "--folder", str(folder)]
    assert main(["evaluate", str(learn.run.path), str(tmp_path / "other.csv"), *asked]) == 0
    assert json.loads(capsys.readouterr().out)["rmse"]["value"] > 900


@pytest.mark.slow
def test_an_observer_that_fails_stops_no_evaluation(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn = trained(two, 0)
    (two / "disc" / "empty.png").touch()

    class Failing:
        def show(self, event: Event) -> None:
            raise RuntimeError("no screen")

        def close(self) -> None: ...

    assert hs.load(learn.run.path, observer=Failing()).evaluate(two)["error_rate"].n == 20
    assert "no screen" in capsys.readouterr().err


def test_masks_are_opened_once_to_be_judged_and_once_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", batch_size=4, observer=Watcher()).fine_tune(0)
    real, opened = _masks.read, []
    monkeypatch.setattr(_masks, "read", lambda path, *given: opened.append(path) or real(path, *given))
    learn.evaluate(hs.mask_folder(masked_folder(Path("e"), 6), classes=["ground", "red", "blue"]))
    assert set(Counter(opened).values()) == {2}


def test_measurements_are_no_new_classes(two: Path, tmp_path: Path) -> None:
    run = trained(two, 0).run.path
    files = sorted(two.rglob("*.png"))
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("image,size\n" + "\n".join(f"{file.relative_to(two)},{place / 4}" for place, file in enumerate(files)))
    data = hs.image_csv(numbers, two)
    with pytest.raises(DataError, match=r'are numbers \("0\.0", .*tells apart "disc", "square"\. .*task="regression", backbone='):
        hs.Learner(data, from_run=run, observer=Watcher())
    numbers.write_text("image,kind\n" + "\n".join(f"{file.relative_to(two)},{place % 3}" for place, file in enumerate(files)))
    assert hs.Learner(hs.image_csv(numbers, two), from_run=run, observer=Watcher()).task.names == (
        "disc",
        "square",
        "0",
        "1",
        "2",
    )


def test_corrections_of_the_runs_images_are_not_those_of_others_with_the_same_names(make_shapes: Make, tmp_path: Path) -> None:
    own, other = make_shapes(8), make_shapes(8)
    names = [f"disc/disc{number}.png" for number in range(6)]
    (tmp_path / "fixes.csv").write_text("\n".join(["path,label,action", *(f"{name},square,relabel" for name in names)]))
    data = hs.apply_labels(hs.image_folder(own), tmp_path / "fixes.csv")
    run = hs.Learner(data, backbone="tiny", observer=Watcher()).fine_tune(0).run

    def squares(place: Path) -> int:
        return [record.target for record in to_judge(place, run).records].count("square")

    assert (squares(own), squares(other)) == (14, 8)


def test_images_of_a_table_move_with_it_and_else_stay_where_they_were(make_shapes: Make, tmp_path: Path) -> None:
    images, lines = make_shapes(6), ["image,label"]
    lines += [f"{kind}/{kind}{number}.png,{kind}" for kind in ("disc", "square") for number in range(6)]
    for place in ("one", "two", "three", "four"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "t.csv").write_text("\n".join(lines))
    beside = {"one": "one/images", "two": "two/images", "three": "three", "four": "one/images"}
    for place in ("one/images", "two/images", "three"):
        shutil.copytree(images, tmp_path / place, dirs_exist_ok=True)
    first = hs.image_csv(tmp_path / "one" / "t.csv", folder=tmp_path / "one" / "images")
    for place, folder in beside.items():
        found = from_origin(first.origin, path=tmp_path / place / "t.csv")
        assert {Path(str(record.source)).parents[1] for record in found.records} == {tmp_path / folder}


def test_a_table_that_is_judged_has_the_columns_of_the_run(tmp_path: Path) -> None:
    rows, targets = numbers(60)
    for name in ("one", "two"):
        lines = [",".join(map(repr, (*row.tolist(), y, -y))) for row, y in zip(rows, targets.tolist(), strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,c,d,wanted,label", *lines]))
    data = hs.array_csv(tmp_path / "one.csv", label_column="wanted", input_columns=["a", "b", "c", "d"])
    learn = hs.Learner(data, observer=Watcher()).fine_tune(0)
    assert learn.evaluate(tmp_path / "two.csv")["rmse"].value < 1
