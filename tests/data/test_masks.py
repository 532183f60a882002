"""Images with masks: which belong together, what their numbers mean, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from drawn import masked_folder
from headstart.core import MaskFile
from headstart.data.sources import from_origin, open_path
from headstart.errors import BadSetting, DataError
from headstart.tasks import _choice as tasks


def put(path: str, value: int = 0, mode: str = "L", size: tuple[int, int] = (8, 6)) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(file)


LAYOUTS = {
    "side by side": ("d/images/a.jpg", "d/masks/a.png"),
    "named after the part": ("d/train/a.jpg", "d/train_masks/a.png"),
    "as SegNet has them": ("d/train/a.png", "d/trainannot/a.png"),
    "as fastai has them": ("d/images/a.png", "d/labels/a_P.png"),
    "as VOC has them": ("d/JPEGImages/a.jpg", "d/SegmentationClass/a.png"),
    "parts inside": ("d/images/train/a.jpg", "d/masks/train/a.png"),
    "parts outside": ("d/train/images/a.jpg", "d/train/masks/a_mask.png"),
    "masks inside": ("d/a.jpg", "d/masks/a.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_finds_its_mask(layout: str) -> None:
    image, mask = LAYOUTS[layout]
    put(image, 0, "RGB")
    put(mask, 1)
    put(image.replace("a.", "b."), 0, "RGB")
    data = hs.mask_folder("d", classes=["ground", "road"])
    (record,) = data.records
    assert isinstance(record.target, MaskFile)
    assert (Path(str(record.source)), Path(record.target.path)) == (Path(image).absolute(), Path(mask).absolute())
    assert data.notes[0].startswith("Left out 1 image without a mask (first: ") and "b." in data.notes[0]
    assert data.modality == "scene" and data.legend == {0: "ground", 1: "road"}


def test_masks_may_lie_elsewhere() -> None:
    put("photos/summer/a.jpg", 0, "RGB")
    put("drawn/summer/a.png")
    put("drawn/b.png")
    data = hs.mask_folder("photos", "drawn", classes=["x", "y"])
    assert [record.id for record in data.records] == ["summer/a.jpg"]
    assert data.notes == ('Left out 1 mask without an image (first: "b.png").',)
    put("flat/a.png")
    assert [record.target for record in hs.mask_folder("photos", "flat", classes=["x", "y"]).records] == ["a.png"]


def test_masks_elsewhere_move_with_their_images() -> None:
    """Those of the first images are never taken for those of others, though they have the same names."""
    for place in ("first", "second"):
        put(f"{place}/photos/a.jpg", 0, "RGB")
        put(f"{place}/drawn/a.png", 1)
    first = hs.mask_folder("first/photos", masks="first/drawn", classes=["ground", "road"])
    for names in (("first/photos", "first/drawn"), ("second/photos", "second/drawn")):
        (record,) = from_origin(first.origin, path=names[0]).records
        assert isinstance(record.target, MaskFile) and Path(record.target.path) == Path(names[1], "a.png").absolute()
    put("third/photos/a.jpg", 0, "RGB")
    with pytest.raises(DataError, match="mask"):
        from_origin(first.origin, path="third/photos")


def test_parts_are_those_of_the_folders() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8, parts=True))
    assert [record.part for record in data.records].count("valid") == 2
    again = from_origin(data.origin)
    assert again.records == data.records and again.legend == data.legend
    assert all(record.part is None for record in hs.mask_folder(masked_folder(Path("e"), 8)).records)


def test_a_folder_of_images_with_masks_is_known_by_itself() -> None:
    folder = masked_folder(Path("d"), 8)
    assert open_path(folder).legend and tasks.choose(open_path(folder))[0].name == "segmentation"
    for kind in ("cats", "labels"):
        for number in range(4):
            put(f"plain/{kind}/{kind}{number}.png", 0, "RGB")
    assert open_path("plain").classes == ("cats", "labels")


def test_names_come_from_a_list_a_mapping_a_file_or_the_masks() -> None:
    folder = masked_folder(Path("d"), 6)
    assert hs.mask_folder(folder, classes={0: "ground", 2: "blue", 1: "red"}).legend == {0: "ground", 2: "blue", 1: "red"}
    found = hs.mask_folder(folder)
    assert found.legend == {0: "0", 1: "1", 2: "2"} and "called by their numbers in the masks: 0, 1, 2" in found.notes[-1]
    (folder / "codes.txt").write_text("ground\nred\nVoid\n", encoding="utf-8")
    assert hs.mask_folder(folder).legend == {0: "ground", 1: "red", 2: None}
    Path("names.txt").write_text("0 ground\n2 blue\n1, red\n", encoding="utf-8")
    assert hs.mask_folder(folder, classes="names.txt", void=1).legend == {0: "ground", 2: "blue", 1: None}
    with pytest.raises(BadSetting, match="is no file"):
        hs.mask_folder(folder, classes="nowhere.txt")
    with pytest.raises(BadSetting, match=r"from 0 to 255, got 300"):
        hs.mask_folder(folder, void=300)


def test_black_and_white_masks_are_two_classes() -> None:
    for number in range(4):
        put(f"d/images/{number}.png", 0, "RGB")
        pixels = np.zeros((6, 8), np.uint8)
        pixels[:, number:] = 255
        Path("d/masks").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(f"d/masks/{number}.png")
    data = hs.mask_folder("d")
    assert data.legend == {0: "background", 255: "foreground"} and "black and white" in data.notes[-1]
    task, _ = tasks.choose(data)
    assert task.encode([data.records[2].target])[0].tolist() == [[0, 0] + [1] * 6] * 6


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda: put("d/masks/003.png", 0, "L", (9, 9)), r"is 9 x 9 pixels, its image 40 x 32"),
        (lambda: put("d/masks/003.png", 7, "L", (40, 32)), r"holds 7, which stands for no class \(known: 0, 1, 2\).*void=7"),
        (lambda: put("d/masks/003.png", 0, "RGB", (40, 32)), r"a picture in colours \(mode RGB\).*number of its class"),
        (lambda: Path("d/masks/003.png").write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda: Path("d/masks/003.png").write_bytes(b"no image"), r"cannot be read as an image"),
    ],
    ids=["size", "number", "colours", "empty", "damaged"],
)
@pytest.mark.usefixtures("plain_training")
def test_a_mask_that_does_not_fit_is_left_out_and_said(write: object, words: str) -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 12), classes=["ground", "red", "blue"])
    write()  # type: ignore[operator]
    learn = hs.Learner(data, backbone="tiny", batch_size=4).fine_tune(0)
    (bad,) = learn.run.audit()["quarantine"]
    assert bad["id"] == "images/003.png" and bad["reason"] == "mask"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(bad["message"])
    assert np.isfinite(learn.history[0]["valid_loss"])


def test_what_cannot_be_is_a_lesson() -> None:
    put("d/images/a.jpg", 0, "RGB")
    with pytest.raises(DataError, match=r'no image in .* has a mask of the same name \(images: "images/a.jpg"; masks: none\)'):
        hs.mask_folder("d")
    with pytest.raises(DataError, match=r"does not exist|there is no"):
        hs.mask_folder("nowhere")
    put("d/masks/a.png")
    with pytest.raises(DataError, match=r"at least two classes, got \['all'\]"):
        hs.Learner(hs.mask_folder("d", classes=["all"]))
    with pytest.raises(DataError, match=r"has no masks.*mask_folder"):
        hs.Learner(hs.from_arrays([np.zeros((8, 8, 3), np.uint8)] * 4, list("aabb")), task="segmentation")


def test_a_sheet_shows_the_masks() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 6), classes=["ground", "red", "blue"])
    sheet = data.show()
    assert sheet.size[0] > 200 and len(np.unique(np.array(sheet).reshape(-1, 3), axis=0)) > 50


def test_names_that_several_share_are_left_out_and_said() -> None:
    for name in ("x.jpg", "x_l.jpg", "twice.jpg", "twice.png", "a.jpg", "b.jpg"):
        put(f"d/images/{name}", 0, "RGB")
    for name in ("x.png", "twice.png", "a_mask.png", "b.png"):
        put(f"d/masks/{name}")
    data = hs.mask_folder("d", classes=["ground", "road"])
    assert {record.id: str(record.target) for record in data.records} == {
        "images/a.jpg": "masks/a_mask.png",
        "images/b.jpg": "masks/b.png",
        "images/x.jpg": "masks/x.png",
    }
    assert any("1 name of several images or masks" in note and "twice.jpg" in note for note in data.notes)
    assert any("x_l.jpg" in note for note in data.notes)


def test_what_lies_outside_the_parts_is_left_out_and_said() -> None:
    for part in ("train", "valid", "test", "extra"):
        put(f"d/{part}/images/{part}.jpg", 0, "RGB")
        put(f"d/{part}/masks/{part}.png")
    data = hs.mask_folder("d", classes=["ground", "road"])
    assert {record.id: record.part for record in data.records} == {
        f"{part}/images/{part}.jpg": part for part in ("train", "valid", "test")
    }
    assert any("1 image in none of the folders train, valid, test" in note and "extra" in note for note in data.notes)


def test_masks_without_numbers_are_a_lesson() -> None:
    for number in range(3):
        put(f"d/images/{number}.jpg", 0, "RGB")
        put(f"d/masks/{number}.png", 0, "RGB")
    with pytest.raises(DataError, match=r"a picture in colours \(mode RGB\)"):
        hs.mask_folder("d")
    Path("latin.txt").write_bytes("stra\xdfe\nhaus\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        hs.mask_folder("d", classes="latin.txt")
    Path("gap.txt").write_text("ground\n\nroad\n", encoding="utf-8")
    assert hs.mask_folder("d", classes="gap.txt").legend == {0: "ground", 2: "road"}


def test_other_names_for_the_numbers_are_refused() -> None:
    data = hs.mask_folder(masked_folder(Path("d"), 8), classes=["ground", "red", "blue"])
    task, _ = tasks.choose(data)
    tasks.met(hs.mask_folder("d"), task)
    with pytest.raises(DataError, match="the number 0 is blue, and this model learned it as ground"):
        tasks.met(hs.mask_folder("d", classes=["blue", "ground", "red"]), task)
