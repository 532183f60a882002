from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.data import rows, sources
from headstart.errors import BadTable, DataError, UnknownName


def table(text: str, name: str = "table.csv") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def test_texts_with_the_usual_names() -> None:
    data = hs.text_csv(table("sentence\tlabel\na fine day\t1\nno day\t0\n\t1\nnever said\t\n", "films.tsv"))
    assert data.modality == "text" and data.name == "films" and data.columns == ("label",)
    assert [(record.id, record.target, data.arrays[record.source]) for record in data.records] == [
        ("000000", "1", "a fine day"),
        ("000001", "0", "no day"),
        ("000002", "1", ""),
    ]
    assert any("Left out 1 row without a label (first: line 5)" in note for note in data.notes)


def test_columns_by_name_parts_and_groups() -> None:
    data = hs.text_csv(
        table("id,said,mood,split,author\n7,aa bb,x,train,u\n8,cc dd,y,test,v\n"),
        text_column="said",
        label_column="mood",
        group_by="author",
    )
    assert [(record.part, record.group) for record in data.records] == [("train", "u"), ("test", "v")]
    assert sources.from_origin(data.origin) == data


def test_numbers_and_what_is_missing() -> None:
    data = hs.array_csv(table("a,b,word,c,label\n1,,x,2e3,yes\n-1.5,4,y,?,no\n"))
    assert data.modality == "array" and data.inputs == ("a", "b", "c")
    np.testing.assert_array_equal(data.arrays, [[1, np.nan, 2000], [-1.5, 4, np.nan]])
    assert any('Left out 1 column of words: "word"' in note for note in data.notes)
    assert sources.from_origin(data.origin).inputs == data.inputs
    assert hs.array_csv("table.csv", input_columns=["c", "a"]).inputs == ("c", "a")


def test_a_word_among_numbers_is_named() -> None:
    data = hs.array_csv(table("a,b,c,label\n1,1,x,yes\n2,unknown,y,no\n3,,z,no\n4,4,1,yes\n"))
    told = " ".join(data.notes)
    assert data.inputs == ("a",) and 'Left out 1 column of words: "c"' in told
    assert 'Left out the column "b", though 2 of its 3 cells are numbers: line 3 has "unknown"' in told


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("path,label\na.jpg,x\nb.jpg,y\n", "image"),
        ("text,label\nsome words,x\nmore words,y\n", "text"),
        ("id,review,label\n1,some words,x\n2,more words,y\n", "text"),
        ("id,a,b,label\n1,2,3,x\n2,3,4,y\n", "array"),
        ("a,b,price\n1,2,3\n2,3,4\n", "array"),
        ("a,words,price\n1,two,3\n2,three,4\n", "image"),
        ("image,description,label\na.jpg,a cat,x\nb.jpg,a dog,y\n", "text"),
    ],
)
def test_what_the_rows_of_a_table_are(text: str, kind: str) -> None:
    assert rows.kind_of(table(text).absolute(), None, None, None) == kind


def test_a_named_column_decides() -> None:
    file = table("image,description,label\na.jpg,a cat,x\nb.jpg,a dog,y\n").absolute()
    assert rows.kind_of(file, "image", None, None) == "image"
    assert rows.kind_of(table("a,b,price\n1,2,3\n2,3,4\n").absolute(), None, None, "price") == "array"


def test_open_path_takes_each_kind() -> None:
    assert sources.open_path(table("text,label\nsome words,x\nmore words,y\n")).modality == "text"
    assert sources.open_path(table("a,b,label\n1,2,x\n2,3,y\n")).modality == "array"
    assert sources.open_path(table("said,label\nsome words,x\nmore words,y\n"), text_column="said").modality == "text"


def test_bad_tables_are_lessons() -> None:
    with pytest.raises(BadTable, match=r"which one holds the texts\?.*--text-column"):
        hs.text_csv(table("said,label\nx y,1\n"))
    with pytest.raises(UnknownName, match='Did you mean "said"'):
        hs.text_csv(table("said,label\nx y,1\n"), text_column="sayd")
    with pytest.raises(BadTable, match="cannot be both the example and its label"):
        hs.text_csv(table("text,mood\nx y,1\n"), label_column="text")
    with pytest.raises(BadTable, match=r'column "a" of "table.csv" holds words as well as numbers: line 3 has "many"'):
        hs.array_csv(table("a,label\n1,x\nmany,y\n"), input_columns=["a"])
    with pytest.raises(BadTable, match="none beside the label holds numbers"):
        hs.array_csv(table("a,label\nu,x\nv,y\n"))
    with pytest.raises(BadTable, match="which one is the label"):
        hs.array_csv(table("a,b\n1,2\n"))
    with pytest.raises(BadTable, match=r"leaves no row to use\. Left out 1 row without a label"):
        hs.text_csv(table("text,label\nx y,\n"))
    with pytest.raises(DataError, match="is a folder, not a table"):
        hs.text_csv(".")
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        hs.text_csv("nowhere.csv")


def test_arrays_in_memory_are_what_the_first_example_is() -> None:
    texts = hs.from_arrays(["a b", "c d"], ["x", "y"])
    assert texts.modality == "text" and texts.arrays == ["a b", "c d"]
    several = hs.from_arrays(np.array([[1.0, 2.0], [3.0, np.nan]]), [0.5, 1.5])
    assert several.modality == "array" and several.inputs == ("number 0", "number 1")
    by_name = hs.from_arrays({"a": [1, None], "b": [2, 3]}, ["x", "y"])
    assert by_name.inputs == ("a", "b") and np.isnan(by_name.arrays[1][0])
    assert hs.from_arrays([np.zeros((4, 4, 3), np.uint8)] * 2, ["x", "y"]).modality == "image"


def test_arrays_that_do_not_fit_are_lessons() -> None:
    with pytest.raises(DataError, match=r'the example "000001" is a int, while the first is a text'):
        hs.from_arrays(["a", 3], ["x", "y"])
    with pytest.raises(DataError, match="rows have 1 to 2 numbers"):
        hs.from_arrays([[1.0], [1.0, 2.0]], ["x", "y"])
    with pytest.raises(DataError, match="one for each of the 1 names in inputs"):
        hs.from_arrays([[1.0, 2.0]] * 2, ["x", "y"], inputs=["a"])
    with pytest.raises(DataError, match='the row "000001" holds something that is no number'):
        hs.from_arrays([[1.0], ["many"]], ["x", "y"])
    with pytest.raises(DataError, match="the columns have 1 to 2 rows"):
        hs.from_arrays({"a": [1], "b": [2, 3]}, ["x"])


def test_a_column_that_numbers_the_rows_is_no_input() -> None:
    data = hs.array_csv(table("id,a,label\n1,2,x\n2,3,y\n"))
    assert data.inputs == ("a",) and any('Left out the column "id"' in note for note in data.notes)
    assert hs.array_csv("table.csv", input_columns=["id", "a"]).inputs == ("id", "a")


def test_a_look_reads_a_few_rows_and_the_whole_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LOOKED_AT", 2)
    file = table("a,b,label\n1,2,x\n2,3,y\nmany,4,x\n")
    assert rows.kind_of(file.absolute(), None, None, None) == "array"
    assert sources.open_path(file).inputs == ("b",)
