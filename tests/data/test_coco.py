import json
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from drawn import shape_image
from headstart.data import sources
from headstart.data.fixes import apply_labels
from headstart.errors import BadTable, DataError
from headstart.tasks import _choice as tasks


def written(change: dict[str, Any] | None = None, name: str = "found.json") -> Path:
    """Four pictures, of which the second has two labels and the third none; the last has no file."""
    for number in range(3):
        place = Path("pictures") / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        shape_image("disc", number, 40).save(place)
    told = {
        "images": [{"id": 10 + number, "file_name": f"pictures/{number}.png"} for number in range(4)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "owl"}],
        "annotations": [
            {"image_id": 10, "category_id": 7, "bbox": [0, 0, 1, 1]},
            {"image_id": 10, "category_id": 7, "bbox": [2, 2, 1, 1]},
            {"image_id": 11, "category_id": 1},
            {"image_id": 11, "category_id": 7},
            {"image_id": 11, "category_id": 8},
        ],
    }
    Path(name).write_text(json.dumps(told | (change or {})), encoding="utf-8")
    return Path(name)


def test_the_categories_of_an_image_are_its_labels() -> None:
    data = hs.coco_json(written())
    assert {record.id: record.target for record in data.records} == {
        "pictures/0.png": ("dog",),
        "pictures/1.png": ("cat", "dog"),
        "pictures/2.png": (),
    }
    task, _ = tasks.choose(data)
    assert task.name == "multi_label" and task.names == ("cat", "dog")
    assert task.encode([record.target for record in data.records]).tolist() == [[0, 1], [1, 1], [0, 0]]
    said = " ".join(data.notes)
    assert "Left out 1 image whose file does not exist" in said and "1 image has no annotation" in said
    assert "Left out 1 annotation of categories that the file does not name" in said


def test_it_is_opened_again_and_by_its_path() -> None:
    data = hs.coco_json(written(), seed=3)
    assert sources.from_origin(data.origin).records == data.records
    assert sources.open_path("found.json").records == data.records
    assert len(hs.coco_json("found.json", folder=".").records) == 3


def test_a_file_that_is_named_twice_is_one_image() -> None:
    twice = {"images": [{"id": 10, "file_name": "pictures/0.png"}, {"id": 11, "file_name": "pictures/0.png"}]}
    data = hs.coco_json(written(twice))
    assert [(record.id, record.target) for record in data.records] == [("pictures/0.png", ("cat", "dog"))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 3}, 'needs the lists "images", "annotations" and "categories"'),
        ({"categories": []}, "has no category with a name"),
        ({"images": [{"id": 1, "file_name": "gone.png"}]}, r"none of the 1 image that .* \(the first: .*gone.png"),
    ],
)
def test_what_is_not_in_the_form_of_coco_is_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        hs.coco_json(written(change))


def test_what_is_no_file_is_told() -> None:
    Path("broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadTable, match="cannot be read as JSON"):
        hs.coco_json("broken.json")
    with pytest.raises(DataError, match=r"nowhere\.json"):
        hs.coco_json("nowhere.json")


def test_what_is_nameless_is_not_known_and_not_none() -> None:
    told = [{"image_id": 10, "category_id": 7}, {"image_id": 11, "category_id": 8}, {"image_id": 99, "category_id": 7}]
    data = hs.coco_json(written({"annotations": told}))
    assert {record.id: record.target for record in data.records} == {
        "pictures/0.png": ("dog",),
        "pictures/1.png": None,
        "pictures/2.png": (),
    }
    notes = " ".join(data.notes)
    assert "Left out 1 annotation of categories that the file does not name" in notes
    assert 'Left out 1 annotation of images that the file does not name (first: number 2, "99")' in notes
    assert "Left out 1 image of which no annotation has a category with a name" in notes
    assert "1 image has no annotation" in notes


def test_corrections_name_several_labels() -> None:
    data = hs.coco_json(written())
    Path("fixes.csv").write_text("path,label,action\npictures/0.png,owl;cat,relabel\npictures/1.png,cow,relabel\n")
    fixed = apply_labels(data, "fixes.csv")
    assert [record.target for record in fixed.records] == [("cat", "owl"), ("cow",), ()]
    assert 'It names 2 classes that the data did not have: "cow", "owl"' in " ".join(fixed.notes)
