"""Folders as people have them, read as people mean them; and every wrong path answered in words."""

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.arrays import from_arrays
from headstart.data.sources import from_origin, image_csv, image_folder, open_path
from headstart.errors import BadSetting, DataError, NoLabels, UnknownName
from headstart.modalities import _scan

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
needs_any_name = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="this system refuses such names")


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def told(data) -> dict[str, tuple[str | None, str | None]]:
    return {record.id: (record.part, record.target) for record in data.records}


def said(data) -> str:
    return "\n".join(data.notes)


# ----------------------------------------------------------------------------------------------------------------- layouts


def test_class_folders(tmp_path):
    data = image_folder(make(tmp_path / "pets", "dog/1.jpg", "cat/2.JPG", "cat/1.heic"))
    assert told(data) == {"cat/1.heic": (None, "cat"), "cat/2.JPG": (None, "cat"), "dog/1.jpg": (None, "dog")}
    assert data.classes == ("cat", "dog")
    assert data.name == "pets"
    assert data.notes == ()
    assert all(Path(record.source).is_absolute() and Path(record.source).is_file() for record in data.records)


@pytest.mark.parametrize("valid", ["valid", "val", "Validation", "VAL"])
def test_parts(tmp_path, valid):
    data = image_folder(make(tmp_path, "Train/cat/1.jpg", "Train/dog/1.jpg", f"{valid}/cat/2.jpg", "test/dog/3.jpg"))
    assert told(data) == {
        "Train/cat/1.jpg": ("train", "cat"),
        "Train/dog/1.jpg": ("train", "dog"),
        f"{valid}/cat/2.jpg": ("valid", "cat"),
        "test/dog/3.jpg": ("test", "dog"),
    }


def test_wrappers_are_descended_outside_and_inside_the_parts(tmp_path):
    data = image_folder(make(tmp_path, "a/b/train/images/cat/1.jpg", "a/b/train/images/dog/1.jpg", "__MACOSX/a/._1.jpg"))
    assert told(data) == {"a/b/train/images/cat/1.jpg": ("train", "cat"), "a/b/train/images/dog/1.jpg": ("train", "dog")}
    assert said(data) == 'Read from the only folder inside: "a/b".'


def test_nested_folders_belong_to_the_class_above(tmp_path):
    data = image_folder(make(tmp_path, "cat/indoor/1.jpg", "cat/2.jpg", "dog/1.jpg"))
    assert told(data)["cat/indoor/1.jpg"] == (None, "cat")
    assert said(data) == '1 image in folders inside a class folder count as that class (as "cat/indoor/1.jpg").'


def test_names_of_the_system_are_no_classes(tmp_path):
    hidden = ["cat/.ipynb_checkpoints/1.jpg", ".git/1.jpg", "__MACOSX/cat/1.jpg", "cat/._1.jpg", "cat/Thumbs.db", "@eaDir/1.jpg"]
    data = image_folder(make(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/.DS_Store", "desktop.ini", *hidden))
    assert set(told(data)) == {"cat/1.jpg", "dog/1.jpg"}
    assert data.notes == ()


def test_a_hidden_folder_can_be_given_itself(tmp_path):
    assert len(image_folder(make(tmp_path / ".cache", "cat/1.jpg", "dog/1.jpg")).records) == 2


def test_what_is_no_image_is_counted(tmp_path):
    data = image_folder(
        make(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/1.txt", "cat/2.txt", "readme.md", "notes/3.txt", "cat/label")
    )
    assert data.classes == ("cat", "dog")
    assert said(data) == "Left out 5 files, not images by their ending (.txt 3, .md 1, no ending 1)."


def test_images_beside_the_classes_are_left_out(tmp_path):
    data = image_folder(make(tmp_path, "cat/1.jpg", "dog/1.jpg", "sample.jpg"))
    assert said(data) == 'Left out 1 image beside the class folders (first: "sample.jpg").'


def test_folders_beside_the_parts_are_left_out(tmp_path):
    data = image_folder(make(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "extra/1.jpg", "cover.jpg"))
    assert "extra/1.jpg" not in told(data)
    assert 'Left out 1 image in the folder "extra", which is none of train, valid, test.' in data.notes
    assert "Left out 1 image beside the folders train, valid, test." in data.notes


@pytest.mark.parametrize("names", [("valid", "invalid"), ("plane", "train"), ("test", "card")])
def test_classes_that_sound_like_parts(tmp_path, names):
    data = image_folder(make(tmp_path, *(f"{name}/1.jpg" for name in names)))
    assert data.classes == tuple(sorted(names))
    assert not any(record.part for record in data.records)


def test_unlabelled_test_images_are_left_out(tmp_path):
    data = image_folder(make(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/7.jpg"))
    assert set(told(data)) == {"train/cat/1.jpg", "train/dog/1.jpg"}
    assert "test/7.jpg" in said(data)


def test_classes_that_hardly_differ_are_noted(tmp_path):
    data = image_folder(make(tmp_path, "great dane/1.jpg", "Great_Dane2/1.jpg", "Great_Dane/1.jpg"))
    assert len(data.classes) == 3
    assert '"Great_Dane" and "great dane" count as two classes.' in said(data)


def test_flat_folders_get_the_three_ways(tmp_path):
    names = [f"{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(4)]
    with pytest.raises(NoLabels, match=r"labels\.csv \(it lies there already\)") as error:
        image_folder(make(tmp_path, *names, "labels.csv"))
    assert r"label=r'^(.+)\.\d+\.'" in str(error.value)
    with pytest.raises(NoLabels, match=r"parts/cat/1\.jpg"):
        image_folder(f"{make(tmp_path / 'parts', 'train/1.jpg')}/")
    with pytest.raises(NoLabels):
        image_folder(make(tmp_path / "parts", "train/1.jpg", "valid/2.jpg"))
    with pytest.raises(NoLabels):
        image_folder(make(tmp_path / "thumbs", "1.jpg", "2.jpg", "3.jpg", "thumbs/1.jpg"))


# --------------------------------------------------------------------------------------------------- labels and groups by name


def test_labels_from_names_keep_the_parts(tmp_path):
    folder = make(tmp_path, "train/cat.1.jpg", "train/dog.1.jpg", "train/7.jpg", "valid/cat.2.jpg", "test1/9.jpg")
    data = image_folder(folder, label=r"^(cat|dog)")
    assert told(data) == {
        "train/cat.1.jpg": ("train", "cat"),
        "train/dog.1.jpg": ("train", "dog"),
        "valid/cat.2.jpg": ("valid", "cat"),
    }
    assert 'Left out 1 image to which the rule for labels gives none (first: "train/7.jpg").' in data.notes
    assert "class folder" not in said(data)


def test_a_rule_that_never_matches_shows_names_and_a_guess(tmp_path):
    folder = make(tmp_path, *(f"{kind}_{number}.jpg" for kind in ("pug", "boxer") for number in range(3)))
    with pytest.raises(
        DataError, match=r"gives no label to any of 6 images .*boxer_0\.jpg.* would give \"pug\", \"boxer\"|\"boxer\", \"pug\""
    ):
        image_folder(folder, label=r"^([A-Z]+)_")


def test_groups(tmp_path):
    folder = make(tmp_path, "cat/p1_1.jpg", "cat/p1_2.jpg", "dog/p2_1.jpg", "dog/x.jpg")
    data = image_folder(folder, group_by=r"^(p\d+)_")
    assert [record.group for record in data.records] == ["p1", "p1", "p2", None]
    assert "group_by finds 2 groups" in said(data)
    assert '1 image in no group (first: "dog/x.jpg").' in data.notes
    with pytest.raises(BadSetting, match="finds no group for any image"):
        image_folder(folder, group_by=r"^(z\d+)_")


# ------------------------------------------------------------------------------------------------------------ awkward names


@needs_any_name
def test_names_with_line_breaks_quotes_and_broken_bytes(tmp_path):
    folder = make(tmp_path, 'cat/a\nb".jpg', "dog/1.jpg", "dog/what\\udcff.jpg")
    (Path(os.fsdecode(os.fsencode(folder) + b"/dog/what\xff.jpg"))).touch()
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xfe"))).mkdir()
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xfe/1.jpg"))).touch()
    data = image_folder(folder)
    ids = [record.id for record in data.records]
    assert len(set(ids)) == 5
    assert 'cat/a\nb".jpg' in ids
    assert data.classes == ("bad\\udcfe", "cat", "dog")
    assert all(Path(record.source).exists() for record in data.records)
    json.dumps([ids, data.classes, data.notes, data.origin], ensure_ascii=False).encode("utf-8")
    with pytest.raises(DataError) as error:
        image_folder(tmp_path / "no\nsuch")
    assert "\n" not in str(error.value)


def test_one_class_spelled_with_two_unicode_forms(tmp_path):
    data = image_folder(make(tmp_path, "train/b\u00e4r/1.jpg", "train/dog/1.jpg", "valid/ba\u0308r/2.jpg"))
    assert data.classes == ("b\u00e4r", "dog")


# -------------------------------------------------------------------------------------------- links, pipes, permissions, speed


@needs_links
def test_circles_of_links_end_and_nothing_is_read_twice(tmp_path):
    folder = make(tmp_path / "data", "cat/1.jpg", "dog/1.jpg")
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "dog" / "cat").symlink_to(folder / "cat")
    (folder / "dog" / "self").symlink_to(folder / "dog" / "self")
    data = image_folder(folder)
    assert set(told(data)) == {"cat/1.jpg", "dog/1.jpg"}
    assert 'Left out 2 links to a folder that is already read (first: "cat/up").' in data.notes


@needs_links
def test_links_to_elsewhere_are_followed(tmp_path):
    elsewhere = make(tmp_path / "elsewhere", "cats/1.jpg", "dog.jpg")
    folder = make(tmp_path / "data", "dog/1.jpg")
    (folder / "cat").symlink_to(elsewhere / "cats")
    (folder / "dog" / "2.jpg").symlink_to(elsewhere / "dog.jpg")
    (folder / "dog" / "broken.jpg").symlink_to(tmp_path / "gone")
    assert set(told(image_folder(folder))) == {"cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "dog/broken.jpg"}


@needs_links
def test_of_two_links_to_one_folder_the_first_by_name_counts(tmp_path):
    elsewhere = make(tmp_path / "elsewhere", "1.jpg")
    folder = make(tmp_path / "data", "dog/1.jpg")
    for name in ("wolf", "cat", "fox"):
        (folder / name).symlink_to(elsewhere)
    assert image_folder(folder).classes == ("cat", "dog")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes among files")
def test_pipes_are_passed_over(tmp_path):
    folder = make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.mkfifo(folder / "cat" / "2.jpg")
    assert len(image_folder(folder).records) == 2


def test_folders_without_permission_are_named(tmp_path, monkeypatch):
    folder = make(tmp_path, "cat/1.jpg", "dog/1.jpg", "secret/1.jpg")
    list_folder = os.scandir

    def refuse(path):
        if str(path).endswith(refused):
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(_scan.os, "scandir", refuse)
    refused = "secret"
    assert 'Left out 1 folder without permission to read (first: "secret").' in image_folder(folder).notes
    refused = tmp_path.name
    with pytest.raises(DataError, match=r"cannot be read: Permission denied\. Check its permissions"):
        image_folder(folder)


def test_no_question_is_asked_about_single_files(tmp_path, monkeypatch):
    folder = make(tmp_path, *(f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(50)))
    asked = []
    ask = os.stat
    monkeypatch.setattr(_scan.os, "stat", lambda path, **settings: asked.append(path) or ask(path, **settings))
    assert len(_scan.scan(str(folder)).images) == 100
    assert len(asked) == 3


def test_listing_asks_the_system_once_for_a_folder_and_never_for_a_file(tmp_path, monkeypatch):
    """What makes a hundred thousand files a matter of seconds (benchmarks/large.py)."""
    for kind in range(10):
        (tmp_path / f"c{kind}").mkdir()
        for number in range(50):
            (tmp_path / f"c{kind}" / f"{number}.jpg").touch()
    scanned, asked = [], []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or scandir(path))
    monkeypatch.setattr(os, "stat", lambda path, *given, **named: asked.append(path) or stat(path, *given, **named))
    data = image_folder(tmp_path)
    monkeypatch.undo()
    assert len(data.records) == 500
    assert len(scanned) == 11
    assert not [path for path in asked if str(path).endswith(".jpg")]


# ------------------------------------------------------------------------------------------------------------- wrong places


def test_wrong_folders(tmp_path):
    make(tmp_path, "photos/readme.txt", "zips/data.zip", "empty_not/.hidden.jpg")
    for path, text in [
        ("photo", r'there is no file or folder ".*photo".* holds no "photo".*Did you mean ".*photos"\?'),
        ("gone/far/away", 'holds no "gone"'),
        ("photos", r"holds no images. Left out 1 file, not images by their ending \(.txt 1\).* Give a folder"),
        ("zips", "Unpack the archive"),
        ("empty_not", "holds no files"),
        ("photos/readme.txt", "is a file, not a folder"),
    ]:
        with pytest.raises(DataError, match=text):
            image_folder(tmp_path / path)
    for address in ("https://example.org/cats.zip", "s3://bucket/cats"):
        with pytest.raises(DataError, match="web address, which is not supported"):
            open_path(address)


def test_shares_are_checked_first(tmp_path):
    with pytest.raises(BadSetting, match="valid must be above 0"):
        image_folder(tmp_path / "gone", valid=-1.0)


def test_open_path_knows_what_it_gets(tmp_path):
    make(tmp_path, "photos/cat/1.jpg", "photos/dog/1.jpg", "one.jpg", "table.xlsx")
    (tmp_path / "labels.csv").write_text("image,label\nphotos/cat/1.jpg,cat\nphotos/dog/1.jpg,dog\n")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w"):
        pass
    assert open_path(tmp_path / "photos").origin["kind"] == "image_folder"
    assert open_path(tmp_path / "labels.csv", valid=0.5).origin["kind"] == "image_csv"
    for path, settings, error, text in [
        ("one.jpg", {}, DataError, "single image"),
        ("photos.zip", {}, DataError, "Unpack it"),
        ("table.xlsx", {}, DataError, "Save a table of another kind as CSV"),
        ("nothing", {}, DataError, "there is no file or folder"),
        ("photos", {"image_column": "image"}, BadSetting, "image_column='image' is for tables"),
        ("labels.csv", {"label": "(a)"}, BadSetting, "its label column tells them"),
    ]:
        with pytest.raises(error, match=text):
            open_path(tmp_path / path, **settings)
    with pytest.raises(DataError, match="Use image_folder"):
        image_csv(tmp_path / "photos")


def test_relative_paths_and_the_home_folder(tmp_path, monkeypatch):
    make(tmp_path, "photos/cat/1.jpg", "photos/dog/1.jpg")
    monkeypatch.chdir(tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert image_folder(".").name == "photos"
    assert image_folder("../photos") == image_folder(tmp_path / "photos") == image_folder("~/photos")


# ------------------------------------------------------------------------------------------------------------------ origin


def shown_as_json(data):
    return json.loads(json.dumps(data.origin))


def test_folders_and_tables_open_again_as_they_were(tmp_path):
    folder = make(tmp_path / "photos", "cat/p1_1.jpg", "cat/p2_2.jpg", "dog/p3_1.jpg", "dog/x.txt")
    (tmp_path / "t.csv").write_text("id,kind,who\ncat/p1_1,cat,a\ndog/p3_1,dog,b\n")
    for data in (
        image_folder(folder, valid=0.3, test=0.1, seed=7, label=r"^(p\d)", group_by=r"(\d)\.jpg"),
        image_folder(folder),
        image_csv(tmp_path / "t.csv", folder, "id", "kind", seed=3, group_by="who"),
    ):
        again = from_origin(shown_as_json(data))
        assert again == data


def test_data_that_has_moved_is_found_by_its_new_path(tmp_path):
    data = image_folder(make(tmp_path / "old", "cat/1.jpg", "dog/1.jpg"), seed=5)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match="there is no file or folder"):
        from_origin(data.origin)
    assert [each.id for each in from_origin(data.origin, path=tmp_path / "new").records] == [each.id for each in data.records]


def test_functions_must_be_passed_again(tmp_path):
    def species(path):
        return "cat" if path.name[0].isupper() else "dog"

    data = image_folder(make(tmp_path, "Bengal_1.jpg", "pug_1.jpg"), label=species)
    assert data.classes == ("cat", "dog")
    with pytest.raises(BadSetting, match=r"label=\(a function, .*species\"\), which cannot be stored\. Pass label=\.\.\. again"):
        from_origin(shown_as_json(data))
    assert from_origin(shown_as_json(data), label=species) == data


def test_broken_origins_are_answered():
    with pytest.raises(UnknownName, match='Did you mean "image_folder"'):
        from_origin({"kind": "image_foldr"})
    with pytest.raises(UnknownName, match='Did you mean "valid"'):
        from_origin({"kind": "image_folder", "vaild": 0.2})
    with pytest.raises(DataError, match="records no path"):
        from_origin({"kind": "image_folder"})


# ------------------------------------------------------------------------------------------------------------------ arrays

PIXELS = np.zeros((4, 8, 9, 3), np.uint8)


def test_arrays():
    data = from_arrays(PIXELS, np.array([0, 1, 1, 0]))
    assert told(data) == {"000000": (None, "0"), "000001": (None, "1"), "000002": (None, "1"), "000003": (None, "0")}
    assert data.arrays is not None and data.arrays[2].shape == (8, 9, 3)
    assert [record.source for record in data.records] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="not kept"):
        from_origin(shown_as_json(data))


def test_arrays_of_many_kinds_with_everything_said():
    images = [PIXELS[0], PIXELS[0, :, :, 0], Image.new("L", (3, 3)), np.zeros((2, 2, 4), np.uint8), PIXELS[1].tolist()]
    images[4] = np.asarray(images[4], np.uint8)
    data = from_arrays(
        images,
        ["a", "b", None, float("nan"), "b"],
        names=list("vwxyz"),
        groups=[1, 1, 2, 2, 3],
        parts=[None, "val", "", None, "train"],
    )
    assert told(data) == {"v": (None, "a"), "w": ("valid", "b"), "z": ("train", "b")}
    assert [record.group for record in data.records] == ["1", "1", "3"]
    assert [record.source for record in data.records] == [0, 1, 4]
    assert data.notes == ("Left out 2 images without a label.",)


@pytest.mark.parametrize(
    ("images", "labels", "settings", "text"),
    [
        (PIXELS, [0, 1], {}, "4 images but 2 labels"),
        (PIXELS, [0, 1, 0, 1], {"names": ["a"]}, "4 images but 1 names"),
        (PIXELS, [0, 1, 0, 1], {"names": list("abca")}, 'the name "a" is given to two images'),
        ([], [], {}, "no images in the list"),
        (PIXELS.transpose(0, 3, 1, 2), [0, 1, 0, 1], {}, r"channels first.*transpose\(1, 2, 0\)"),
        (PIXELS / 255, [0, 1, 0, 1], {}, r"holds float64, .*\(image \* 255\)\.round"),
        (PIXELS.astype(np.int64), [0, 1, 0, 1], {}, "holds int64"),
        ([*PIXELS[:3], PIXELS[0, 0, 0]], [0, 1, 0, 1], {}, "array of shape"),
        (PIXELS[:, :0], [0, 1, 0, 1], {}, "array of shape"),
    ],
)
def test_wrong_arrays(images, labels, settings, text):
    with pytest.raises(DataError, match=text):
        from_arrays(images, labels, **settings)


def test_wrong_parts_of_arrays():
    with pytest.raises(UnknownName, match='Did you mean "valid"'):
        from_arrays(PIXELS, [0, 1, 0, 1], parts=["train", "vallid", "train", "train"])
