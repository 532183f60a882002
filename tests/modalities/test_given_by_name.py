"""What is given to a model of texts or of numbers by name: files are opened, and what is none is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.errors import DataError
from headstart.modalities import array, text

TEXTS, ROWS = text.plain(), array.plain(["a", "b", "c"])


def test_the_cells_of_a_table_are_texts() -> None:
    Path("films.csv").write_text("id,sentence,label\n1,a fine day,1\n2,,0\n3,no day,0\n")
    Path("one.tsv").write_text("words\nall of it\n")
    found = [(each.id, each.source) for each in TEXTS.named(["films.csv", "some words", Path("one.tsv")])]
    assert found == [
        ("films.csv:2", "a fine day"),
        ("films.csv:3", ""),
        ("films.csv:4", "no day"),
        ("000000", "some words"),
        ("one.tsv:2", "all of it"),
    ]
    assert not TEXTS.is_one("films.csv") and TEXTS.is_one("a text about films.csv") and TEXTS.is_one("No day.")


def test_a_file_without_texts_is_no_text() -> None:
    Image.new("L", (4, 4)).save("photo.png")
    Path("two.csv").write_text("first,second\na b,c d\n")
    Path("broken.csv").write_bytes(b"")
    told = {each.id: (each.source, each.error or "") for each in TEXTS.named(["photo.png", "two.csv", "broken.csv", "gone.txt"])}
    assert all(source is None for source, _ in told.values())
    assert "this is an image" in told["photo.png"][1]
    assert 'which column holds the texts? There are "first", "second"' in told["two.csv"][1]
    assert "empty" in told["broken.csv"][1] and "cannot be read" in told["gone.txt"][1]


@pytest.mark.parametrize("given", ["120", Path("gone"), "1,2,3"])
def test_a_word_is_no_row_of_numbers(given: str | Path) -> None:
    (named,) = ROWS.named([given])
    with pytest.raises(DataError, match=r"is a word and no row of numbers\. Give a row of 3 numbers, or a table"):
        ROWS.prepared(named.source, named.id)


def test_numbers_beyond_float32_are_no_numbers() -> None:
    np.testing.assert_array_equal(ROWS.prepared([1.0, 3e38, -3e38]), np.float32([1.0, 3e38, -3e38]))
    with pytest.raises(DataError, match=r'"x" has 1e\+39, more than a float32 holds, in "b"'):
        ROWS.prepared([1.0, 1e39, 2.0], "x")
    with pytest.raises(DataError, match='"x" has an infinite number in "c"'):
        ROWS.prepared([1.0, 2.0, -np.inf], "x")
