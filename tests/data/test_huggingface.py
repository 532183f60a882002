from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from drawn import shape_image
from headstart.data import sources
from headstart.data.stores._shelf import source_of
from headstart.errors import BadSetting, BadTable, DataError, MissingExtra, UnknownName
from written import sentences

datasets = pytest.importorskip("datasets")


def pictures(count: int = 6, mode: str = "RGB") -> "datasets.Dataset":
    rows = {
        "image": [shape_image("disc", number, 32).convert(mode) for number in range(count)],
        "label": [number % 2 for number in range(count)],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["round", "flat"])})
    return datasets.Dataset.from_dict(rows, features=features)


def test_classes_keep_their_names_and_parts_divide() -> None:
    data = hs.from_huggingface(datasets.DatasetDict({"train": pictures(4), "validation": pictures(2)}))
    assert data.modality == "image" and data.columns == ("label",)
    assert [(record.id, record.target, record.part) for record in data.records][3:5] == [
        ("train/000003", "flat", "train"),
        ("validation/000000", "round", "valid"),
    ]
    np.testing.assert_array_equal(source_of(data, 5), np.asarray(pictures(2)[1]["image"]))


def test_a_palette_is_shown_in_its_colours() -> None:
    paletted = [shape_image("disc", number, 32).quantize(8) for number in range(2)]
    data = hs.from_arrays(paletted, ["a", "b"])
    assert paletted[0].mode == "P"
    np.testing.assert_array_equal(source_of(data, 0), np.asarray(paletted[0].convert("RGB")))


def test_texts_numbers_and_several_labels() -> None:
    texts, labels = sentences(6)
    data = hs.from_huggingface(datasets.Dataset.from_dict({"idx": range(6), "sentence": texts, "label": labels}))
    assert data.modality == "text" and [data.arrays[record.source] for record in data.records] == texts
    several = datasets.Features({"image": datasets.Image(), "tags": datasets.Sequence(datasets.ClassLabel(names=["x", "y"]))})
    rows = {"image": [Image.new("RGB", (8, 8))] * 3, "tags": [[1, 0], [], [1]]}
    data = hs.from_huggingface(datasets.Dataset.from_dict(rows, features=several))
    assert [record.target for record in data.records] == [("x", "y"), (), ("y",)] and data.columns == ()
    data = hs.from_huggingface(datasets.Dataset.from_dict({"text": texts, "label": [0.5, 1.5, None, 2.0, 3.0, 4.5]}))
    assert [record.target for record in data.records] == ["0.5", "1.5", "2", "3", "4.5"]
    assert any("Left out 1 row without a label" in note for note in data.notes)


def test_a_saved_folder_is_opened_again() -> None:
    texts, labels = sentences(6)
    datasets.Dataset.from_dict({"said": texts, "mood": labels}).save_to_disk("films")
    data = hs.from_huggingface("films", example_column="said", label_column="mood", seed=2)
    again = sources.from_origin(data.origin)
    assert data.name == "films" and again.records == data.records and again.seed == 2


def test_what_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_dict({"a": [1, 2], "label": [0, 1]})
    with pytest.raises(BadTable, match=r"which one holds the images or texts\? Give example_column="):
        hs.from_huggingface(rows)
    with pytest.raises(BadTable, match="holds a int, neither an image nor a text"):
        hs.from_huggingface(rows, example_column="a")
    with pytest.raises(UnknownName, match='Did you mean "label"'):
        hs.from_huggingface(pictures(), label_column="lable")
    with pytest.raises(BadSetting, match='the part "unlabelled" is neither train, validation nor test'):
        hs.from_huggingface(datasets.DatasetDict({"unlabelled": pictures()}))
    with pytest.raises(DataError, match="has no rows"):
        hs.from_huggingface(pictures().select([]))
    with pytest.raises(BadTable, match=r"no row of .* has a label"):
        hs.from_huggingface(datasets.Dataset.from_dict({"text": ["a"], "label": [None]}))
    with pytest.raises(DataError, match="could not be loaded"):
        hs.from_huggingface("nobody/has-this")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'pip install "headstart\[data\]"'):
        hs.from_huggingface(str(Path("films")))
