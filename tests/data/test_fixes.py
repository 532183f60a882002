"""The label file: what its rows do to a list of images, and what it says when they cannot."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.core import Dataset, Record
from headstart.data import fixes
from headstart.data.arrays import from_arrays
from headstart.data.fixes import apply_labels
from headstart.data.sources import from_origin, image_csv, image_folder
from headstart.data.split import make_split
from headstart.data.stores import _shelf
from headstart.errors import BadTable, DataError, HeadstartError, UnknownName
from headstart.modalities.image import Images
from headstart.tasks.single_label import SingleLabel

TASK = SingleLabel(("disc", "square"))
NAMES = [f"{kind}/{number}.png" for kind in ("disc", "square") for number in range(10)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 20 empty files with the names of images; nothing here opens them."""
    root = tmp_path / "photos"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def table(text: str, name: str = "fixes.csv") -> Path:
    Path(name).write_text(text)
    return Path(name)


HEADER = "path,label,action,part,reason\n"


def labels(dataset: Dataset) -> dict[str, str | None]:
    return {record.id: record.target for record in dataset.records}


def test_each_action_does_what_it_says_and_touches_no_file(photos: Path) -> None:
    (photos.parent / "new.png").touch()
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    data = image_folder(photos)
    rows = (
        "disc/0.png,square,relabel,,a square\ndisc/1.png,,drop,,blurred\nsquare/2.png,,move,valid,\n../new.png,disc,add,train,\n"
    )
    fixed = apply_labels(data, table(HEADER + rows))
    expected = labels(data) | {"disc/0.png": "square", "disc/1.png": None}
    new = next(record for record in fixed.records if record.id not in expected)
    assert labels(fixed) == expected | {new.id: "disc"}
    assert Path(str(new.source)).samefile(photos.parent / "new.png")
    assert fixed.placed == {"square/2.png": "valid", new.id: "train"}
    assert "1 image relabelled, 1 left out, 1 moved to another part, 1 added" in " ".join(fixed.notes)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before
    split = make_split(fixed, {record.id for record in fixed.records}, {}, TASK)
    assert "square/2.png" in split.valid
    assert new.id in split.train
    assert "disc/1.png" not in {*split.train, *split.valid}
    assert len(split.valid) == 1 + round(0.2 * 18)  # the shares are of the images that are not placed


def test_what_was_dropped_keeps_the_cache_of_pixels(photos: Path) -> None:
    data = image_folder(photos)
    fixed = apply_labels(data, table(HEADER + "disc/1.png,,drop,,\ndisc/2.png,square,relabel,,\n"))
    assert _shelf.key_of(fixed, GEOMETRY) == _shelf.key_of(data, GEOMETRY)


def test_data_with_fixes_is_opened_again_as_it_was(photos: Path) -> None:
    fixed = apply_labels(image_folder(photos), table(HEADER + "disc/1.png,oval,relabel,,\ndisc/2.png,,move,test,\n"))
    again = apply_labels(fixed, table(HEADER + "disc/1.png,,drop,,\n", "later.csv"))
    Path("fixes.csv").unlink()
    opened = from_origin(again.origin)
    assert labels(opened) == labels(again)
    assert (opened.placed, opened.classes) == (again.placed, again.classes)


def test_paths_from_the_folder_one_works_in_are_found_from_anywhere(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = apply_labels(image_folder(photos), table(HEADER + "photos/disc/1.png,square,relabel,,\n"))
    split = make_split(fixed, set(NAMES), {}, TASK)
    judged = replace(split, train=tuple(name for name in split.train if name != "disc/1.png"), valid=("disc/1.png",))
    assert fixes.on_judges(fixed, judged, {}) == [
        "The label file changes the valid part: 1 relabelled. Figures on it from before do not compare."
    ]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = photos.rename(tmp_path / "moved")
    assert labels(from_origin(fixed.origin, path=moved))["disc/1.png"] == "square"


def test_paths_that_earlier_versions_remembered_as_written_still_hold(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    data = image_folder(photos)
    written = ["square\\5.png", "./disc/4.png", str(photos / "disc/3.png"), "photos/disc/2.png"]
    rows = [{"path": path, "action": "drop"} for path in written]
    opened = from_origin({**data.origin, "fixes": [rows]})
    assert {name for name, label in labels(opened).items() if label is None} == {
        "square/5.png",
        "disc/4.png",
        "disc/3.png",
        "disc/2.png",
    }


def test_an_image_that_is_gone_takes_no_other_correction_with_it(photos: Path) -> None:
    rows = "disc/1.png,,drop,,\ndisc/2.png,square,relabel,,\ndisc/3.png,square,relabel,,\n"
    fixed = apply_labels(image_folder(photos), table(HEADER + rows))
    (photos / "disc/1.png").unlink()
    opened = from_origin(fixed.origin)
    assert labels(opened)["disc/2.png"] == "square"
    assert not any("gone" in note for note in opened.notes)
    (photos / "disc/3.png").unlink()
    opened = from_origin(fixed.origin)
    assert labels(opened)["disc/2.png"] == "square"
    assert any('names 1 image that is gone (first: "disc/3.png")' in note for note in opened.notes)


def test_a_path_may_be_written_whole_or_with_backslashes(photos: Path) -> None:
    text = HEADER + f"{photos / 'disc' / '3.png'},,drop,,\n./disc/4.png,,drop,,\n"
    fixed = apply_labels(image_folder(photos), table(text + "square\\5.png,,drop,,\n"))
    assert [name for name, label in labels(fixed).items() if label is None] == ["disc/3.png", "disc/4.png", "square/5.png"]


def test_a_new_class_and_a_lost_one_are_told(photos: Path) -> None:
    rows = "".join(f"disc/{number}.png,oval,relabel,,\n" for number in range(10))
    fixed = apply_labels(image_folder(photos), table(HEADER + rows))
    assert fixed.classes == ("oval", "square")
    told = " ".join(fixed.notes)
    assert '1 class that the data did not have: "oval"' in told
    assert 'no image of "disc"' in told


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("", BadTable, "is empty"),
        (HEADER, BadTable, "no rows"),
        ("path,label\ndisc/1.png,square\n", BadTable, 'no column "action"'),
        ("image,action\ndisc/1.png,drop\n", BadTable, 'no column "path"'),
        (HEADER + "disc/1.png,square,rellabel,,\n", UnknownName, 'Did you mean "relabel"'),
        (HEADER + "disk/1.png,,drop,,\n", DataError, 'Did you mean "disc/1.png"'),
        (HEADER + "disc/1.png,,relabel,,\n", BadTable, "no label"),
        (HEADER + "disc/1.png,,move,,\n", BadTable, "not where to"),
        (HEADER + "disc/1.png,,move,trian,\n", UnknownName, 'Did you mean "train"'),
        (HEADER + ",,drop,,\n", BadTable, "names no path"),
        (HEADER + "disc/1.png,,drop,,\n./disc/1.png,square,relabel,,\n", BadTable, r"line 2 of .*line 3 of"),
        (HEADER + "disc/1.png,a,relabel,,\ndisc/1.png,b,relabel,,\n", BadTable, "exclude each other"),
        (HEADER + "disc/99.png,disc,add,,\n", DataError, "no such file"),
        (HEADER + "disc/1.png,disc,add,,\n", DataError, "in the data already"),
    ],
)
def test_a_label_file_that_cannot_be_applied_says_why(photos: Path, text: str, kind: type[HeadstartError], answer: str) -> None:
    with pytest.raises(kind, match=answer):
        apply_labels(image_folder(photos), table(text))


def test_what_goes_together_or_only_repeats_is_no_contradiction(photos: Path) -> None:
    rows = "disc/1.png,square,relabel,,\ndisc/1.png,,move,valid,\ndisc/2.png,,drop,,\ndisc/2.png,,drop,,again\n"
    fixed = apply_labels(image_folder(photos), table(HEADER + rows))
    assert labels(fixed)["disc/1.png"] == "square"
    assert fixed.placed == {"disc/1.png": "valid"}


def test_no_file_of_that_name_and_no_folder_to_add_to(photos: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        apply_labels(image_folder(photos), "nowhere.csv")
    import numpy as np

    arrays = from_arrays([np.zeros((8, 8, 3), np.uint8)] * 4, ["a", "b", "a", "b"], names=["1", "2", "3", "4"])
    with pytest.raises(DataError, match="arrays in memory"):
        apply_labels(arrays, table(HEADER + "5,a,add,,\n"))
    assert labels(apply_labels(arrays, table(HEADER + "2,a,relabel,,\n")))["2"] == "a"


def test_what_touches_the_judges_is_counted(photos: Path) -> None:
    data = image_folder(photos)
    split = make_split(data, {record.id for record in data.records}, {}, TASK)
    parts = {name: part for part in ("train", "valid") for name in getattr(split, part)}
    one, two, three, four = split.valid
    trains = split.train[0]
    other = {"disc": "square", "square": "disc"}[labels(data)[one] or ""]
    rows = f"{one},{other},relabel,,\n{two},,drop,,\n{three},,move,train,\n{trains},,move,valid,\n{split.train[1]},,drop,,\n"
    fixed = apply_labels(data, table(HEADER + rows))
    now = make_split(
        Dataset(**{**vars(fixed), "placed": {**parts, **fixed.placed}}), {record.id for record in data.records}, {}, TASK
    )
    assert fixes.on_judges(fixed, now, parts) == [
        "The label file changes the valid part: 1 relabelled, 1 left out, 1 moved away, 1 moved there. "
        "Figures on it from before do not compare."
    ]
    assert fixes.on_judges(data, split, parts) == []
    assert Counter(now.valid) == Counter([one, four, trains])


def test_records_of_a_group_go_where_one_of_them_is_placed() -> None:
    records = tuple(Record(str(number), number, "ab"[number % 2], f"g{number // 4}") for number in range(24))
    data = Dataset("d", records, None, placed={"0": "valid", "5": "train"})
    split = make_split(data, {record.id for record in records}, {}, TASK)
    assert {"0", "1", "2", "3"} <= set(split.valid)
    assert {"4", "5", "6", "7"} <= set(split.train)


GEOMETRY = Images(32, 36, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("said", "cells"),
    [("red;striped", ("1", "1")), ("striped", ("0", "1")), ("0;1", ("0", "1")), (";", ("0", "0")), ("2.5; 7", ("2.5", "7"))],
)
def test_with_several_columns_of_labels_each_gets_its_cell(said: str, cells: tuple[str, str]) -> None:
    for name in ("a.png", "b.png"):
        Path(name).touch()
    table("image,red,striped\na.png,1,0\nb.png,0,0\n", "labels.csv")
    data = image_csv("labels.csv", label_column=["red", "striped"])
    fixed = apply_labels(data, table(f"path,label,action\nb.png,{said},relabel\n"))
    assert labels(fixed) == {"a.png": ("1", "0"), "b.png": cells}
    assert "did not have" not in " ".join(fixed.notes)
    with pytest.raises(
        BadTable, match=r'"blue", but this data has 2 columns of labels \("red", "striped"\).*as in 1;1, .*red;striped'
    ):
        apply_labels(data, table("path,label,action\nb.png,blue,relabel\n"))


@pytest.mark.parametrize(("labels", "said", "told"), [("12", "3", True), ("ab", "c", True), (("1.5", "2"), "2.25", False)])
def test_a_new_name_is_told_and_a_new_measurement_is_not(labels: tuple[str, str], said: str, told: bool) -> None:
    for name in ("a.png", "b.png"):
        Path(name).touch()
    data = image_csv(table(f"image,label\na.png,{labels[0]}\nb.png,{labels[1]}\n", "labels.csv"))
    notes = " ".join(apply_labels(data, table(f"path,label,action\nb.png,{said},relabel\n")).notes)
    assert (f'It names 1 class that the data did not have: "{said}"' in notes) == told
