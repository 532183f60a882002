"""What to label next, from the pool to the label file and back into a training."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from drawn import masked_folder, shape_image
from headstart import plugins
from headstart.cli.main import main
from headstart.errors import BadSetting, BadTable, DataError, UnknownName
from headstart.learner import pools
from watched import Notes
from written import sentences, tiny_encoder

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("plain_training")
RULES = plugins.names("acquisitions")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Twelve new pictures, of discs and squares, one of them twice, one broken, one empty."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for number in range(12):
        shape_image("disc" if number % 2 else "square", 100 + 3 * number).save(folder / f"{number:02d}.png")
    (folder / "copy.png").write_bytes((folder / "03.png").read_bytes())
    (folder / "broken.png").write_bytes((folder / "04.png").read_bytes()[:60])
    (folder / "empty.jpg").touch()
    return folder


@pytest.mark.parametrize("by", RULES)
def test_every_rule_suggests_examples_of_the_pool(trained: hs.Learner, pool: Path, by: str) -> None:
    found = trained.suggest(pool, 5, by)
    names = [each.id for each in found]
    assert len(found) == len(set(names)) == 5 and found.by == by
    assert all(Path(str(each.path)).parent == pool and each.guess in ("disc", "square") for each in found)
    assert all(plugins.find("acquisitions", by).WHY in each.reason for each in found)


def test_what_cannot_be_used_is_left_out_with_a_reason(trained: hs.Learner, shapes: Path, pool: Path) -> None:
    known = shapes / "disc" / "disc3.png"
    (pool / "known.png").write_bytes(known.read_bytes())
    found = trained.suggest(pool, 99)
    names = {Path(each.id).name for each in found}
    assert len(names & {"03.png", "copy.png"}) == 1
    assert not {"broken.png", "empty.jpg", "known.png"} & names and len(names) >= 10
    told = " ".join(found.notes)
    assert "1 image of the pool the model knows" in told and "of the pool like another of it" in told
    assert "broken.png" in told or "damaged" in told
    with pytest.raises(DataError, match="nothing is left"):
        trained.suggest(known, 5)


def test_a_file_that_is_given_twice_is_one_example_and_its_path_is_whole(
    trained: hs.Learner, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pool)
    found = trained.suggest(["00.png", "01.png", "00.png"], 9)
    assert sorted(each.id for each in found) == ["00.png", "01.png"]
    assert {each.path for each in found} == {str(pool / "00.png"), str(pool / "01.png")}
    assert not any("like another" in note for note in found.notes)


def test_a_look_alike_of_what_the_model_knows_is_left_out_with_it(trained: hs.Learner, shapes: Path, pool: Path) -> None:
    """The same picture in other bytes, and first by its name: only beside the known file does the pool show that it is known."""
    known = shapes / "disc" / "disc3.png"
    (pool / "zz_known.png").write_bytes(known.read_bytes())
    with Image.open(known) as picture:
        picture.save(pool / "aa_again.png", compress_level=0)
    assert (pool / "aa_again.png").read_bytes() != known.read_bytes()
    assert not {"aa_again.png", "zz_known.png"} & {Path(each.id).name for each in trained.suggest(pool, 99)}


def test_a_suggestion_is_as_the_model_predicts(trained: hs.Learner, pool: Path) -> None:
    first = trained.suggest(pool, 3).items[0]
    said = trained.predict(first.path)
    assert first.guess == said.label and first.probability == pytest.approx(said.probability, abs=1e-4)


@pytest.mark.slow
def test_labels_filled_in_train_on_and_rows_without_one_are_passed_over(
    trained: hs.Learner, shapes: Path, pool: Path, tmp_path: Path
) -> None:
    found = trained.suggest(pool, 4)
    file = found.save(tmp_path / "next.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["path"] for row in rows] == [each.path for each in found]
    assert {row["action"] for row in rows} == {"add"} and not any(row["label"] for row in rows)
    with pytest.raises(BadTable, match=r"none of the 4 rows .* has a label yet"):
        hs.apply_labels(hs.image_folder(shapes), file)
    for row in rows[:3]:
        row["label"] = "disc" if int(Path(row["path"]).stem) % 2 else "square"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    again = hs.Learner(hs.image_folder(shapes), from_run=trained.run.path, labels=file, observer=Notes(), run=tmp_path / "again")
    assert "1 row of the label file without a label yet: passed over" in " ".join(again.data.notes)
    again.fine_tune(0)
    parts = again.run.split()
    assert len(parts.train) + len(parts.valid) == 35
    with pytest.raises(UnknownName, match="entrpy"):
        again.suggest(pool, 2, "entrpy")
    left = {Path(each.id).name for each in again.suggest(pool, 99)}
    assert not left & {Path(row["path"]).name for row in rows[:3]}


def test_labels_that_are_told_change_what_comes_next_without_training(trained: hs.Learner, pool: Path) -> None:
    before = trained.suggest(pool, 3)
    labels = {each.id: "disc" if int(Path(each.id).stem[:2]) % 2 else "square" for each in before if Path(each.id).stem != "copy"}
    after = before.told(labels)
    assert not set(labels) & {each.id for each in after} and len(after) == 3
    assert trained.suggest(pool, 3).items == before.items
    with pytest.raises(UnknownName, match="in what is left of the pool"):
        after.told({next(iter(labels)): "disc"})
    with pytest.raises(DataError, match="oval"):
        before.told({before.items[0].id: "oval"})


def test_told_labels_weigh_the_draws_by_what_they_make_probable(trained: hs.Learner, pool: Path) -> None:
    """Against importance weights written out: the mean of the probabilities of the rest, each draw as probable as the labels under it."""
    reading = trained.suggest(pool, 3).reading
    labels = {reading.ids[0]: "disc", reading.ids[1]: "square"}
    left, counting = reading.told(labels)
    shares = reading.pool.task.answer_probabilities(reading.pool.together).numpy()
    weights = shares[:, 0, 0] * shares[:, 1, 1]
    weights /= weights.sum()
    expected = np.einsum("s,snk->nk", weights, shares[:, 2:])
    got = left.pool.task.answer_probabilities(left.pool.together).numpy().mean(0)
    assert got == pytest.approx(expected, abs=0.02)
    assert counting == pytest.approx(1 / (weights**2).sum()) and left.ids == reading.ids[2:]


def test_labels_told_one_by_one_count_as_those_told_at_once(trained: hs.Learner, pool: Path) -> None:
    first = trained.suggest(pool, 3)
    labels = {name: ("disc", "square")[place % 2] for place, name in enumerate(first.reading.ids[:4])}
    at_once, counting = first.reading.told(labels)
    slowly = first.reading
    for name, label in labels.items():
        slowly, so_far = slowly.told({name: label})
    assert slowly.ids == at_once.ids and so_far == pytest.approx(counting)
    assert bool((slowly.pool.together == at_once.pool.together).all())
    assert len(slowly.pool.learned) == len(first.reading.pool.learned) + 4
    assert first.told({}).items == first.items


@pytest.mark.slow
def test_numbers_and_several_labels_can_be_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 3))
    number = hs.Learner(hs.from_arrays(rows[:40], rows[:40, 0]), observer=Notes(), run=tmp_path / "one").fine_tune(0)
    found = number.suggest(rows[40:], 3)
    assert len(found.told({found.items[0].id: 1.5})) == 3
    labels = [["a"] if row[0] > 0 else ["a", "b"] if row[1] > 0 else ["b"] for row in rows]
    several = hs.Learner(hs.from_arrays(rows[:40], labels[:40]), observer=Notes(), run=tmp_path / "two").fine_tune(0)
    found = several.suggest(rows[40:], 3)
    assert len(found.told({found.items[0].id: ["a", "b"]})) == 3


@pytest.mark.slow
def test_labels_that_were_filled_in_are_not_written_over(
    trained: hs.Learner, pool: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    found = trained.suggest(pool, 3)
    file = found.save(tmp_path / "next.csv")
    found.save(file)
    file.write_text(file.read_text().replace(",,add", ",disc,add", 1))
    with pytest.raises(BadSetting, match="1 labels filled in already"):
        found.save(file)
    monkeypatch.chdir(tmp_path)
    for expected in ("suggestions.csv", "suggestions-2.csv"):
        assert main(["suggest", str(trained.run.path), str(pool), "-n", "2"]) == 0 and Path(expected).is_file()
    assert main(["suggest", str(trained.run.path), str(pool), "--output", "next.csv"]) == 2


@pytest.mark.slow
def test_labels_of_an_earlier_round_hold_in_the_next(trained: hs.Learner, shapes: Path, pool: Path, tmp_path: Path) -> None:
    rows = [f"{pool / name},disc,add,," for name in ("01.png", "03.png")]
    header = "path,label,action,part,reason"
    (tmp_path / "one.csv").write_text("\n".join([header, rows[0], "disc/disc1.png,square,relabel,,"]))
    (tmp_path / "two.csv").write_text("\n".join([header, rows[1]]))
    first = hs.Learner(
        hs.image_folder(shapes), from_run=trained.run.path, labels=tmp_path / "one.csv", observer=Notes(), run=tmp_path / "r1"
    )
    first.fine_tune(0)
    for how in ("python", "command"):
        if how == "python":
            second = hs.Learner(
                str(shapes), from_run=tmp_path / "r1", labels=tmp_path / "two.csv", observer=Notes(), run=tmp_path / how
            )
            second.fine_tune(0)
        else:
            command = [
                "train",
                str(shapes),
                "--from",
                str(tmp_path / "r1"),
                "--labels",
                str(tmp_path / "two.csv"),
                "--epochs",
                "0",
            ]
            assert main([*command, "--run", str(tmp_path / how)]) == 0
        again = hs.load(tmp_path / how, observer=Notes())
        labels = {record.id: record.target for record in again.data.records}
        assert len(labels) == 34 and labels["disc/disc1.png"] == "square"
        assert sum(name.endswith(("01.png", "03.png")) for name in labels) == 2


def test_label_files_hold_once_and_for_their_own_data_alone(
    trained: hs.Learner, shapes: Path, make_shapes: Make, pool: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.csv").write_text(
        f"path,label,action,part,reason\n{pool / '01.png'},disc,add,,\ndisc/disc1.png,square,relabel,,\n"
    )
    kind = {"observer": Notes(), "labels": tmp_path / "one.csv"}
    first = hs.Learner(hs.image_folder(shapes), from_run=trained.run.path, run=tmp_path / "r1", **kind).fine_tune(0)
    again = hs.Learner(first.data, from_run=tmp_path / "r1", observer=Notes())  # it has them already
    assert again.data.records == first.data.records and again.data.origin == first.data.origin
    other = hs.Learner(hs.image_folder(make_shapes(5)), from_run=tmp_path / "r1", observer=Notes())
    assert len(other.data.records) == 10 and "fixes" not in other.data.origin
    assert {record.id: record.target for record in other.data.records}["disc/disc1.png"] == "disc"


def test_a_model_without_its_run_says_what_it_does_not_know(trained: hs.Learner, pool: Path, tmp_path: Path) -> None:
    bundle = hs.load(trained.save(tmp_path / "bundle"), observer=Notes())
    found = bundle.suggest(pool, 3)
    assert found.by == "epig" and "does not know what it was trained on" in " ".join(found.notes)
    with pytest.raises(BadSetting, match='by="epig" needs none'):
        bundle.suggest(pool, 3, "unsure")


@pytest.mark.slow
def test_masks_are_suggested_by_what_they_show(tmp_path: Path) -> None:
    data = hs.mask_folder(masked_folder(tmp_path / "masked", 16), classes=["ground", "red", "blue"])
    learn = hs.Learner(data, backbone="tiny", observer=Notes(), run=tmp_path / "run").fine_tune(0)
    fresh = masked_folder(tmp_path / "fresh", 24) / "images"
    found = learn.suggest(fresh, 3)
    assert found.by == "cover" and len(found) == 3 and found.of_places
    for by in ("epig", "entropy"):
        with pytest.raises(BadSetting, match="cover"):
            learn.suggest(fresh, 3, by)


def test_labels_that_teach_much_ask_for_training(trained: hs.Learner, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.learner.suggesting.WORN", 1e9)
    found = trained.suggest(pool, 2)
    once = found.told({found.items[0].id: "disc"})
    twice = once.told({once.items[0].id: "disc"})
    for each in (once, twice):
        assert sum("train it again" in note for note in each.notes) == 1
    assert not any("train it again" in note for note in found.notes)


def test_a_large_pool_is_looked_at_in_part(trained: hs.Learner, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST", 6)
    found = trained.suggest(pool, 99)
    assert len(found) <= 6 and "drawn at random" in found.notes[0]


def test_pictures_and_arrays(trained: hs.Learner, pool: Path, tmp_path: Path) -> None:
    found = trained.suggest(pool, 4)
    with Image.open(io.BytesIO(found.png() or b"")) as sheet:
        assert sheet.width > 300 and found.show().size == sheet.size
    arrays = [np.asarray(shape_image("disc", 300 + number)) for number in range(5)]
    of_arrays = trained.suggest(arrays, 2)
    assert len(of_arrays) == 2 and of_arrays.items[0].path is None and of_arrays.png() is not None


def test_the_refusals(trained: hs.Learner, shapes: Path, pool: Path) -> None:
    for wrong in (0, True):
        with pytest.raises(BadSetting, match="at least 1"):
            trained.suggest(pool, wrong)
    with pytest.raises(BadSetting, match="before the first training"):
        hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Notes()).suggest(pool, 3)
    with pytest.raises(BadSetting, match="posterior"):
        trained.suggest(pool, 3, "epig", posterior="temperature")
    with pytest.raises(BadSetting, match="cover"):
        trained.suggest(pool, 3, "entropy", posterior="none")
    assert len(trained.suggest(pool, 3, "cover", posterior="none")) == 3


def test_texts_stand_in_the_file_themselves(tmp_path: Path) -> None:
    texts, labels = sentences(60)
    encoder = tiny_encoder(tmp_path / "encoder")
    learn = hs.Learner(hs.from_arrays(texts, labels), backbone=str(encoder), observer=Notes(), run=tmp_path / "run").fine_tune(0)
    fresh = [f"{text} again" for text in sentences(90)[0][60:]]
    found = learn.suggest([*fresh, texts[0], ""], 5)
    assert "knows with a label" in " ".join(found.notes) and "empty" in " ".join(found.notes)
    rows = list(csv.DictReader(found.save(tmp_path / "next.csv").read_text().splitlines()))
    assert all(row["example"] in fresh for row in rows) and found.png() is None
    assert fresh[int(found.items[0].id)] in repr(found.show())
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="that is a folder"):
        learn.suggest(str(tmp_path / "folder"), 5)


@pytest.mark.slow
def test_the_command_writes_a_label_file_and_a_sheet(
    trained: hs.Learner, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(trained.run.path)
    assert main(["suggest", run, str(pool), "-n", "3"]) == 0
    assert "suggestions.csv" in capsys.readouterr().out and (tmp_path / "suggestions.png").is_file()
    assert len((tmp_path / "suggestions.csv").read_text().splitlines()) == 4
    assert main(["suggest", run, str(pool), "-n", "3", "--json", "--by", "bald"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines[:-1]] == [{"id", "path", "guess", "probability", "score", "reason"}] * 3
    assert Path(lines[-1]["labels"]).is_file()
    assert main(["suggest", run, str(pool), "--output", str(pool / "next.csv")]) == 2
    assert "never written to" in capsys.readouterr().err and not (pool / "next.csv").exists()
    assert main(["suggest", run, str(pool / "*.png"), "--output", str(pool / "next.csv")]) == 2
    assert main(["suggest", run, str(pool), "--output", "next.txt"]) == 2
