"""Tables as spreadsheets and scripts write them: delimiters, encodings, columns, paths, and rows that cannot be used."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data.sources import image_csv
from headstart.data.table import read_table
from headstart.errors import BadTable, DataError, UnknownName
from headstart.modalities._csv import read_grid


@pytest.fixture
def photos(tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(place: Path, text: str | bytes, name="labels.csv", **arguments):
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    (place / name).write_bytes(data)
    records, _, notes = read_table(place / name, **arguments)
    return {record.id: record.target for record in records}, "\n".join(notes)


PLAIN = {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}


# ------------------------------------------------------------------------------------------------- delimiters and encodings


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_delimiter_and_encoding(photos, delimiter, name, encoding):
    text = "image,label\r\ncat/1.jpg,cat\r\ndog/1.jpg,dog\r\n".replace(",", delimiter)
    assert read(photos, text.encode(encoding), name) == (PLAIN, "")


def test_columns_divided_by_spaces(photos):
    found, _ = read(photos, "cat/1.jpg   0.0   mono\ndog/1.jpg   1.0   poly\n", label_column="column_2")
    assert found == {"cat/1.jpg": "0.0", "dog/1.jpg": "1.0"}
    (photos / "cat 1.jpg").touch()
    assert read(photos, "my image,my label\ncat 1.jpg,big cat\n", image_column="my image")[0] == {"cat 1.jpg": "big cat"}


def test_delimiters_inside_cells_do_not_confuse(photos):
    text = 'image\tlabel\tremark\ncat/1.jpg\tcat\tgrey, old, fat\ndog/1.jpg\tdog\t"a\ttab"\n'
    assert read(photos, text)[0] == PLAIN
    assert read(photos, 'image;label\ncat/1.jpg;"cat, big"\ndog/1.jpg;dog\n')[0] == PLAIN | {"cat/1.jpg": "cat, big"}


def test_quotes_line_breaks_and_spaces(photos):
    found, _ = read(photos, 'image, label\n "cat/1.jpg" , "a ""big"" one"\n\n\ndog/1.jpg,"two\nlines"\n')
    assert found == {"cat/1.jpg": 'a "big" one', "dog/1.jpg": "two\nlines"}


def test_windows_text(photos):
    found, notes = read(photos, "image,label\ncat/1.jpg,b\u00e4r\n".encode("cp1252"))
    assert found == {"cat/1.jpg": "b\u00e4r"}
    assert "read as Windows text" in notes


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=3, max_size=3), min_size=1
    )
)
def test_a_written_table_is_read_back(tmp_path_factory, rows):
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["image", "label", "group"], *rows])
    stripped = [[cell.strip() for cell in row] for row in rows]
    assert [row for _, row in read_grid(path).rows] == [row for row in stripped if any(row)]


def test_line_numbers_are_those_of_the_file(photos):
    _, notes = read(photos, 'image,label\n\n"cat/1.jpg","two\nlines"\ngone.jpg,dog\n')
    assert 'Left out 1 row whose file does not exist (first: line 5, "gone.jpg").' in notes


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"image,label\n", r"has a header \(image, label\) and no rows"),
        (b"PK\x03\x04rest", "Excel or OpenDocument workbook.*Save it as CSV"),
        (b"image\0,label\n", "not a CSV file"),
        (b'image,label\na.png,x\n"b.png,y\nc.png,x\nd.png,y\n', "line 3 of .* never closed, so that the 2 lines after it"),
        (b'image,label\n"' + b"x" * 140_000, "line 2 of .* cannot be read .*never closed"),
    ],
)
def test_no_tables(tmp_path, data, text):
    with pytest.raises(BadTable, match=text):
        read(tmp_path, data)


def test_a_lone_mark_of_inches_is_no_quotation(photos):
    found, _ = read(photos, 'image,label,remark\ncat/1.jpg,cat,5" wide\ndog/1.jpg,dog,"two\nlines"')
    assert found == PLAIN


# ----------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "header", ["image,label", "file_name,Class", "filename,target", "PATH,Category", "id,breed", "image,kind", "a,b"]
)
def test_columns_by_name_or_content(photos, header):
    assert read(photos, f"{header}\ncat/1.jpg,cat\ndog/1.jpg,dog\n")[0] == PLAIN


def test_columns_in_any_order_among_others(photos):
    text = "nr,label,remark,image\n1,cat,x,cat/1.jpg\n2,dog,y,dog/1.jpg\n"
    assert read(photos, text) == (PLAIN, "")


def test_a_misleading_name_gives_way_to_content(photos):
    found, notes = read(photos, "name,photo,label\nMimi,cat/1.jpg,cat\nRex,dog/1.jpg,dog\n")
    assert found == PLAIN
    assert 'Read the column "photo" as the image and "label" as the label.' in notes


def test_no_header(photos):
    found, notes = read(photos, "cat/1.jpg,cat\ndog/1.jpg,dog\n")
    assert found == PLAIN
    assert "data without a header" in notes


def test_unknown_columns_get_the_nearest(photos):
    text = "picture,species\ncat/1.jpg,cat\n"
    for arguments in ({"image_column": "pictures"}, {"label_column": "specie"}, {"group_by": "speceis"}):
        with pytest.raises(UnknownName, match=r'there is no column .* in "labels\.csv"\. Did you mean "(picture|species)"'):
            read(photos, text, **arguments)
    assert read(photos, text, image_column="Picture", label_column="species")[0] == {"cat/1.jpg": "cat"}


def test_columns_that_cannot_be_told_apart_are_listed(photos):
    with pytest.raises(BadTable, match=r"3 columns \(image, wings, legs\): which one names the class\?"):
        read(photos, "image,wings,legs\ncat/1.jpg,0,4\n")
    with pytest.raises(BadTable, match=r"2 columns \(a, b\): which one names the images\?"):
        read(photos, "a,b\nx,y\n")
    with pytest.raises(BadTable, match="none is left that could name the class"):
        read(photos, "image\ncat/1.jpg\n")
    with pytest.raises(BadTable, match="are both"):
        read(photos, "image,label\ncat/1.jpg,cat\n", image_column="image", label_column="image")


# -------------------------------------------------------------------------------------------------------- parts and groups


def parts(folder, text, **arguments):
    (folder / "t.csv").write_text(text)
    return {record.id: record.part for record in read_table(folder / "t.csv", **arguments)[0]}


def test_is_valid_as_in_fastai(photos):
    text = "image,label,is_valid\ncat/1.jpg,cat,False\ncat/2.jpg,cat,TRUE\ndog/1.jpg,dog,0\ndog/2.jpg,dog,\n"
    assert parts(photos, text) == {"cat/1.jpg": "train", "cat/2.jpg": "valid", "dog/1.jpg": "train", "dog/2.jpg": None}


def test_parts_by_name_and_by_two_flags(photos):
    text = "image,label,split\ncat/1.jpg,cat,Train\ncat/2.jpg,cat,val\ndog/1.jpg,dog,test\n"
    assert list(parts(photos, text).values()) == ["train", "valid", "test"]
    text = "image,label,is_valid,is_test\ncat/1.jpg,cat,0,0\ncat/2.jpg,cat,1,0\ndog/1.jpg,dog,0,1\n"
    assert list(parts(photos, text).values()) == ["train", "valid", "test"]


def test_a_wrong_part_is_named(photos):
    with pytest.raises(BadTable, match=r'line 3 of "t\.csv" has "vallid" in the column "split", which takes train, valid, test'):
        parts(photos, "image,label,split\ncat/1.jpg,cat,train\ncat/2.jpg,cat,vallid\n")
    with pytest.raises(BadTable, match='has "maybe" in the column "is_valid", which takes true or false'):
        parts(photos, "image,label,is_valid\ncat/1.jpg,cat,no\ncat/2.jpg,cat,maybe\n")
    with pytest.raises(BadTable, match='has "maybe" in the column "is_valid"'):
        parts(photos, "image,label,is_valid\ncat/1.jpg,cat,maybe\ncat/2.jpg,cat,maybe\n")


def test_columns_that_only_sound_like_parts(photos):
    assert set(parts(photos, "image,label,set\ncat/1.jpg,cat,A\ncat/2.jpg,cat,B\n").values()) == {None}
    assert set(parts(photos, "image,valid\ncat/1.jpg,1\ncat/2.jpg,0\n", label_column="valid").values()) == {None}


def test_groups_by_column_and_by_pattern(photos):
    def groups(text, **arguments):
        (photos / "t.csv").write_text(text)
        return [record.group for record in read_table(photos / "t.csv", **arguments)[0]]

    text = "image,label,{}\ncat/1.jpg,cat,7\ncat/2.jpg,cat,\n"
    assert groups(text.format("group")) == ["7", None]
    assert groups(text.format("owner")) == [None, None]
    assert groups(text.format("Owner"), group_by="owner") == ["7", None]
    assert groups(text.format("group"), group_by=r"(\d)\.jpg") == ["1", "2"]
    assert groups(text.format("x"), group_by=lambda path: path.parent.name) == ["cat", "cat"]


def test_a_column_of_patients_is_pointed_out(photos):
    assert "consider group_by='patient_id'" in read(photos, "image,label,patient_id\ncat/1.jpg,cat,7\n")[1]


# ------------------------------------------------------------------------------------------------------------------- paths


def test_windows_paths(photos):
    found, notes = read(photos, "image,label\ncat\\1.jpg,cat\n.\\dog\\1.jpg,dog\n")
    assert (found, notes) == (PLAIN, "")


@pytest.mark.parametrize("place", ["C:\\Users\\eve\\photos\\", "D:/photos/", "/home/eve/photos/", "\\\\server\\share\\photos\\"])
def test_paths_of_another_machine(photos, place):
    found, notes = read(photos, f"image,label\n{place}cat\\1.jpg,cat\n{place}dog/1.jpg,dog\n")
    assert found == PLAIN
    assert "2 files named by the path of another machine" in notes


def test_absolute_paths_inside_and_outside(photos, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "3.jpg"
    outside.touch()
    found, notes = read(photos, f"image,label\n{photos / 'cat' / '1.jpg'},cat\n{outside},dog\n")
    assert found == {"cat/1.jpg": "cat", outside.as_posix(): "dog"}
    assert notes == ""


def test_names_without_ending_or_in_other_capitals(photos):
    found, notes = read(photos, "id,breed\ncat/1,cat\ndog/1.JPG,dog\n")
    assert found == PLAIN
    assert "2 files named without the ending or with other capitals" in notes


def test_one_name_with_two_answers_is_none(photos):
    (photos / "cat" / "1.png").touch()
    assert "Left out 1 row whose file does not exist" in read(photos, "id,breed\ncat/1,cat\ndog/1,dog\n")[1]


def test_images_in_a_subfolder_or_another_folder(photos):
    found, notes = read(photos, "image,label\n1.jpg,x\n2.jpg,y\n", folder=photos / "cat")
    assert (found, notes) == ({"1.jpg": "x", "2.jpg": "y"}, "")
    (photos / "cat" / "only.jpg").touch()
    found, notes = read(photos, "image,label\nonly.jpg,x\n1.jpg,y\n")
    assert found == {"cat/only.jpg": "x"}
    assert "1 file found in a subfolder" in notes
    assert '(first: line 3, "1.jpg")' in notes


def test_paths_that_climb(photos):
    assert read(photos, "image,label\n../cat/1.jpg,cat\n", folder=photos / "dog")[0] == {
        (photos / "cat" / "1.jpg").as_posix(): "cat"
    }
    assert read(photos, "image,label\ndog/../cat/./1.jpg,cat\n")[0] == {"cat/1.jpg": "cat"}


def test_a_folder_is_no_image(photos):
    with pytest.raises(BadTable, match="does not exist"):
        read(photos, "image,label\ncat,cat\ncat/,dog\n")


# ---------------------------------------------------------------------------------------------------------------- bad rows


def test_bad_rows_are_counted_by_reason(photos):
    found, notes = read(
        photos,
        "image,label\ncat/1.jpg,cat\ndog/1.jpg,dog\ngone.jpg,cat\nlost.jpg,cat\ncat/2.jpg,\ncat/2.jpg\ncat/2.jpg,NaN\n,cat\n"
        "https://example.org/a.jpg,cat\ncat/1.jpg,cat\n",
    )
    assert found == PLAIN
    assert notes.splitlines() == [
        'Left out 2 rows whose file does not exist (first: line 4, "gone.jpg").',
        'Left out 3 rows without a label (first: line 6, "cat/2.jpg").',
        "Left out 1 row without the name of an image (first: line 9).",
        "Left out 1 row with a web address (headstart reads files: download them first) "
        '(first: line 10, "https://example.org/a.jpg").',
        'Left out 1 row repeating an earlier row (first: line 11, "cat/1.jpg").',
    ]


def test_contradicting_rows_go_altogether(photos):
    found, notes = read(photos, "image,label\ncat/1.jpg,cat\ncat/1.jpg,dog\n./cat/1.jpg,cat\ndog/1.jpg,dog\n")
    assert found == {"dog/1.jpg": "dog"}
    assert 'Left out 3 rows of images that are given different labels (first: line 2, "cat/1.jpg").' in notes


def test_an_image_in_two_parts_stays_in_the_first(photos):
    text = "image,label,part\ncat/1.jpg,cat,train\ncat/1.jpg,cat,valid\n"
    assert parts(photos, text) == {"cat/1.jpg": "train"}
    assert "putting an image into a second part" in read(photos, text)[1]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("gone.jpg,cat\n", r"looked for in .*give folder=\.\.\."),
        ("https://example.org/1.jpg,cat\ns3://b/2.jpg,dog\n", "web address .*download them first"),
        ("cat/1.jpg,\ncat/2.jpg,\n", "Left out 2 rows without a label"),
        ("cat/1.jpg,a\ncat/1.jpg,b\n", "several labels at once"),
    ],
)
def test_tables_that_leave_nothing(photos, rows, text):
    with pytest.raises(BadTable, match=text) as error:
        read(photos, "image,label\n" + rows)
    assert "leaves no image to use" in str(error.value)
    assert "\n" not in str(error.value)


def test_image_csv_tells_the_place(photos):
    (photos / "labels.csv").write_text("image,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n")
    data = image_csv(photos / "labels.csv")
    assert (data.name, data.root, data.classes) == ("labels", str(photos), ("cat", "dog"))
    with pytest.raises(DataError, match=r'Did you mean ".*labels\.csv"'):
        image_csv(photos / "label.csv")
    with pytest.raises(DataError, match=r'there is no file or folder ".*dgo".*Did you mean ".*dog"'):
        image_csv(photos / "labels.csv", folder=photos / "dgo")
