"""Prepare and check on real files: the hard folder of the issue, end to end, without torch."""

import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from headstart.core import Dataset
from headstart.data import sources
from headstart.data.audit import Audit, audit, require_usable
from headstart.data.split import Split, make_split
from headstart.data.stores import pixels
from headstart.data.stores.pixels import PixelStore
from headstart.errors import DataError
from headstart.modalities.image import Images
from headstart.report import check as checked
from headstart.tasks._class_names import ClassNames

TASK = ClassNames(("cat", "dog"))
GEOMETRY = Images(size=28, short=32, mean=(0.5,) * 3, std=(0.5,) * 3)


class Ready(NamedTuple):
    """What training starts from."""

    store: PixelStore
    audit: Audit
    split: Split


def prepared(data: Dataset, geometry: Images) -> Ready:
    """The calls that training makes before its first step."""
    store, reports = pixels.build(data, geometry)
    found = audit(data, reports, store.prints, TASK)
    require_usable(data, found)
    return Ready(store, found, make_split(data, found.usable(), found.groups(), TASK))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def photograph(seed):
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(small).resize((60, 44), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten, and every kind of trouble."""
    root = tmp_path / "photos"
    for label, first in (("cat", 0), ("dog", 100)):
        (root / label).mkdir(parents=True)
        for i in range(10):
            photograph(first + i).save(root / label / f"{i}.png")
    cat, dog = root / "cat", root / "dog"
    (cat / "empty.jpg").write_bytes(b"")
    (cat / "page.jpg").write_text("<html></html>")
    photograph(50).save(cat / "cut.jpg")
    (cat / "cut.jpg").write_bytes((cat / "cut.jpg").read_bytes()[:600])
    (cat / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(60))
    photograph(0).save(cat / "again.jpg", quality=60)
    (dog / "copy.png").write_bytes((cat / "3.png").read_bytes())
    photograph(60).convert("CMYK").save(dog / "print.jpg")
    photograph(61).convert("P").save(dog / "palette.png")
    photograph(62).save(dog / "moving.gif", save_all=True, append_images=[photograph(63)])
    Image.fromarray(np.asarray(photograph(64).convert("L")).astype(np.uint16) * 257).save(dog / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(65).save(dog / "turned.jpg", exif=exif)
    return root


def test_preparing_sets_bad_files_aside_and_keeps_copies_together(folder):
    data = sources.image_folder(folder, valid=0.3)
    result = prepared(data, GEOMETRY)
    assert {file.id: file.reason for file in result.audit.quarantine} == {
        "cat/empty.jpg": "empty",
        "cat/page.jpg": "not_an_image",
        "cat/cut.jpg": "truncated",
        "cat/phone.heic": "heic",
    }
    assert result.audit.conflicts == (("cat/3.png", "dog/copy.png"),)
    assert ("cat/0.png", "cat/again.jpg") in result.audit.near
    sides = {name: part for part in ("train", "valid", "test") for name in getattr(result.split, part)}
    assert set(sides) == result.audit.usable()
    assert sides["cat/0.png"] == sides["cat/again.jpg"]
    assert sides["cat/3.png"] == sides["dog/copy.png"]
    assert result.store.decoded == len(data.records)
    notes = {file.id: file.notes for file in result.audit.files}
    assert notes["dog/print.jpg"] == ("cmyk",)
    assert notes["dog/moving.gif"][-1] == "animated"
    assert notes["dog/turned.jpg"] == ("exif_rotated",)
    assert "16_bit" in notes["dog/deep.png"]
    result.store.close()


def test_copies_stay_together_for_every_seed(folder):
    for seed in range(6):
        result = prepared(sources.image_folder(folder, valid=0.4, seed=seed), GEOMETRY)
        for part in (result.split.train, result.split.valid):
            for pair in (("cat/0.png", "cat/again.jpg"), ("cat/3.png", "dog/copy.png")):
                assert len(set(pair) & set(part)) in (0, 2)
        result.store.close()


def test_nothing_readable_is_a_lesson(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "bad" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "bad" / label / f"{i}.jpg").write_bytes(b"")
    data = sources.image_folder(tmp_path / "bad")
    for call in (lambda: prepared(data, GEOMETRY), lambda: checked.check(data)):
        with pytest.raises(DataError, match=r"none of the 6 files .*empty"):
            call()


def test_check_writes_audit_and_sheet_only_where_it_is_told(folder, tmp_path):
    data = sources.image_folder(folder)
    before = sorted(folder.rglob("*"))
    seen = []
    result = checked.check(data, tmp_path / "out", on_progress=seen.append)
    assert sorted(folder.rglob("*")) == before
    assert json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8")) == result.audit.json()
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.size == result.sheet.size
    assert seen[-1].done == len(data.records)
    assert any("left out" in line for line in result.lines)
    again = checked.check(data)
    assert np.array_equal(np.asarray(again.sheet), np.asarray(result.sheet))


def test_what_cannot_be_trained_on_is_said_after_the_look(folder):
    data = sources.image_folder(folder, label=lambda path: "same")
    assert any("This cannot be trained on yet" in line for line in checked.check(data).lines)


def test_show_skips_what_cannot_be_read(folder):
    assert sources.image_folder(folder).show().width > 600


def test_check_runs_without_torch(folder, tmp_path):
    code = (
        "import sys\n"
        "from headstart.data import sources; from headstart.report import check\n"
        f"check.check(sources.image_folder({str(folder)!r}))\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
