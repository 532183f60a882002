"""The pixel store: decoded once, kept, read back, readable while it grows, and never a traceback for a full or closed disk."""

import errno
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from headstart.core import Dataset, Record
from headstart.data.stores import _filling, _shelf, pixels
from headstart.errors import DataError, HeadstartError
from headstart.modalities import image
from headstart.modalities.image import Images
from headstart.modalities.scene import Scenes
from headstart.store import cache

GEOMETRY = Images(size=28, short=32, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def noise(seed, height=40, width=56):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def make(folder, count=12, broken=()):
    folder.mkdir(exist_ok=True)
    records = []
    for i in range(count):
        file = folder / f"{i:03d}.{'jpg' if i % 2 else 'png'}"
        if i in broken:
            file.write_bytes(b"<html>no</html>")
        else:
            Image.fromarray(noise(i, 40 + i, 56)).save(file)
        records.append(Record(file.name, str(file), "ab"[i % 2]))
    return Dataset("set", tuple(records), str(folder))


def test_every_image_is_stored_as_image_read_gives_it(tmp_path):
    data = make(tmp_path / "in", broken={4})
    store, reports = pixels.build(data, GEOMETRY, threads=3)
    assert len(store) == len(reports) == store.decoded == 12
    assert store.ids == tuple(record.id for record in data.records)
    assert store.notes == []
    for i, (record, report) in enumerate(zip(data.records, reports, strict=True)):
        assert report.id == record.id
        if i == 4:
            assert (report.status, report.reason) == ("quarantined", "not_an_image")
            assert not store.wait(i)
            with pytest.raises(DataError, match=r"004\.png"):
                store.pixels(i)
            continue
        expected = image.read(record.source, GEOMETRY).pixels
        assert np.array_equal(store.pixels(i), expected)
        assert min(expected.shape[:2]) == 32
        assert (report.width, report.height) == (56, 40 + i)
        assert np.array_equal(store.stored([i])[0], image.centre(expected, 28))
        for position in (0.0, 0.3, 1.0):
            assert np.array_equal(store.windows([i], [position])[0], image.window(expected, 32, position))
    assert store.windows([], []).shape == (0, 32, 32, 3)
    store.close()


def test_a_second_opening_decodes_nothing_and_says_the_same(tmp_path):
    data = make(tmp_path / "in", broken={4})
    first, reports = pixels.build(data, GEOMETRY)
    kept = [np.array(first.pixels(i)) for i in range(12) if i != 4]
    first.close()
    second, again = pixels.build(data, GEOMETRY)
    assert second.decoded == 0
    assert again == reports
    assert second.key == first.key
    for pixels_kept, i in zip(kept, [i for i in range(12) if i != 4], strict=True):
        assert np.array_equal(second.pixels(i), pixels_kept)
    assert second.decoded == 0
    second.close()


def test_changed_files_and_geometries_are_decoded_again(tmp_path):
    data = make(tmp_path / "in", 3)
    pixels.build(data, GEOMETRY)[0].close()
    for other in (Images(28, 33, (0.5,) * 3, (0.5,) * 3), Images(28, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")):
        store, _ = pixels.build(data, other)
        assert store.decoded == 3
        store.close()
    store, _ = pixels.build(data, Images(30, 32, (0.1,) * 3, (0.5,) * 3))
    assert store.decoded == 0, "size and normalisation do not touch the stored pixels"
    store.close()
    Image.fromarray(noise(99)).save(tmp_path / "in" / "000.png")
    store, _ = pixels.build(data, GEOMETRY)
    assert store.decoded == 3
    assert np.array_equal(store.pixels(0), image.read(noise(99), GEOMETRY).pixels)
    store.close()


def test_a_picture_that_is_cut_and_a_scene_that_is_squeezed_are_not_the_same_pixels(tmp_path):
    data = make(tmp_path / "in")
    whole = Scenes(size=32, short=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    for geometry in (GEOMETRY, whole):
        store, _ = pixels.build(data, geometry)
        assert store.decoded == 12
        assert np.array_equal(store.pixels(1), image.read(data.records[1].source, geometry).pixels)
        store.close()


def test_a_file_that_appears_later_is_seen(tmp_path):
    data = make(tmp_path / "in", 3)
    hidden = tmp_path / "in" / "001.jpg"
    content = hidden.read_bytes()
    hidden.unlink()
    store, reports = pixels.build(data, GEOMETRY)
    assert reports[1].reason == "missing"
    store.close()
    hidden.write_bytes(content)
    store, reports = pixels.build(data, GEOMETRY)
    assert reports[1].status == "ok"
    store.close()


def test_arrays_are_keyed_by_content():
    arrays = [noise(i) for i in range(4)]
    data = Dataset("arrays", tuple(Record(f"{i}", i, "a") for i in range(4)), None, arrays=arrays)
    store, reports = pixels.build(data, GEOMETRY)
    assert np.array_equal(store.pixels(2), image.read(arrays[2], GEOMETRY).pixels)
    assert len({report.digest for report in reports}) == 4
    store.close()
    same = Dataset("again", data.records, None, arrays=[a.copy() for a in arrays])
    store, _ = pixels.build(same, GEOMETRY)
    assert store.decoded == 0
    store.close()
    arrays[3] = arrays[3] ^ 1
    store, _ = pixels.build(data, GEOMETRY)
    assert store.decoded == 4
    store.close()


def test_images_can_be_read_while_later_ones_are_still_being_decoded(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 8)
    gate, fitted = threading.Event(), image.fitted

    def slow(source, geometry, name=""):
        if name >= "004":
            gate.wait(10)
        return fitted(source, geometry, name)

    monkeypatch.setattr(image, "fitted", slow)
    store = pixels.start(data, GEOMETRY, threads=2)
    assert store.stored([0, 1, 2, 3]).shape == (4, 28, 28, 3)
    assert np.array_equal(store.pixels(3), image.read(data.records[3].source, GEOMETRY).pixels)
    seen = []
    threading.Timer(0.2, gate.set).start()
    reports = store.reports(lambda progress: seen.append((progress.done, progress.total)))
    assert len(reports) == 8
    assert seen[0][0] < 8
    assert seen[-1] == (8, 8)
    assert seen == sorted(seen)
    store.close()


def test_no_process_is_started_and_no_thread_survives(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess.Popen, "__init__", forbidden)
    if hasattr(os, "fork"):
        monkeypatch.setattr(os, "fork", forbidden)
    before = threading.active_count()
    store, _ = pixels.build(make(tmp_path / "in"), GEOMETRY, threads=4)
    store.close()
    assert threading.active_count() == before


def test_closing_early_leaves_nothing_behind(tmp_path, monkeypatch):
    fitted = image.fitted

    def slow(source, geometry, name=""):
        time.sleep(0.02)
        return fitted(source, geometry, name)

    monkeypatch.setattr(image, "fitted", slow)
    store = pixels.start(make(tmp_path / "in", 40), GEOMETRY, threads=2)
    store.wait(0)
    store.close()
    assert store.decoded < 40
    assert not list(cache.folder("pixels").rglob("*.bin"))
    assert not list(cache.folder("pixels").rglob("state.json"))
    with pytest.raises(HeadstartError, match="closed"):
        store.reports()


def test_an_interrupt_while_waiting_stops_the_threads(tmp_path, monkeypatch):
    fitted = image.fitted

    def slow(source, geometry, name=""):
        time.sleep(0.02)
        return fitted(source, geometry, name)

    monkeypatch.setattr(image, "fitted", slow)

    def interrupt(progress):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        pixels.build(make(tmp_path / "in", 40), GEOMETRY, interrupt)
    assert threading.active_count() == before


def test_an_error_that_is_no_fault_of_a_file_reaches_the_caller(tmp_path, monkeypatch):
    def bug(*args, **kwargs):
        raise RuntimeError("bug")

    monkeypatch.setattr(image, "fitted", bug)
    with pytest.raises(RuntimeError, match="bug"):
        pixels.build(make(tmp_path / "in", 3), GEOMETRY)


def test_memory_that_does_not_suffice_quarantines_the_file(tmp_path, monkeypatch):
    def hungry(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(image, "fitted", hungry)
    _, reports = pixels.build(make(tmp_path / "in", 2), GEOMETRY)
    assert {report.reason for report in reports} == {"bomb"}


# ------------------------------------------------------------------------------------------------- disks that do not oblige


def same_as_fresh(store, data):
    for i, record in enumerate(data.records):
        assert np.array_equal(store.pixels(i), image.read(record.source, GEOMETRY).pixels)


def test_too_little_disk_decodes_on_the_fly(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 5)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, _shelf.RESERVE + 10))
    store, reports = pixels.build(data, GEOMETRY)
    assert {report.status for report in reports} == {"ok"}
    assert "decoded again" in store.notes[0]
    assert "HEADSTART_CACHE" in store.notes[0]
    assert len(store.notes) == 1
    same_as_fresh(store, data)
    assert store.decoded == 10
    assert not list(cache.folder("pixels").rglob("*.*"))
    store.close()


def test_old_pixels_make_room_for_new_ones(tmp_path, monkeypatch):
    pixels.build(make(tmp_path / "old", 5), GEOMETRY)[0].close()
    old = next(cache.folder("pixels").iterdir())
    usage = namedtuple("usage", "total used free")
    data = make(tmp_path / "new", 6)
    needed = int(6 * 32 * 32 * 3 * _shelf.USUAL_ASPECT)

    def free(path):
        return usage(0, 0, _shelf.RESERVE + (needed - 1000 if old.exists() else needed + 1))

    monkeypatch.setattr(shutil, "disk_usage", free)
    store, _ = pixels.build(data, GEOMETRY)
    assert store.notes == []
    assert not old.exists()
    store.close()


def test_a_disk_that_fills_up_keeps_what_fits(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 8)

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 20_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data)[:5000])  # disks may take less than asked

    monkeypatch.setattr(_filling, "FileIO", Full)
    store, reports = pixels.build(data, GEOMETRY, threads=1)
    assert {report.status for report in reports} == {"ok"}
    assert "full" in store.notes[0]
    same_as_fresh(store, data)
    assert 8 < store.decoded < 16
    store.close()
    assert not list(cache.folder("pixels").rglob("*.bin"))
    monkeypatch.undo()


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EROFS, "Read-only file system")]
)
def test_a_read_only_cache_decodes_on_the_fly(tmp_path, monkeypatch, error):
    from pathlib import Path

    data = make(tmp_path / "in", 4)

    def refused(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(Path, "mkdir", refused)
    store, _ = pixels.build(data, GEOMETRY)
    assert len(store.notes) == 1
    same_as_fresh(store, data)
    assert not (tmp_path / "cache").exists()
    store.close()


def test_a_cache_that_is_a_file_decodes_on_the_fly(tmp_path):
    data = make(tmp_path / "in", 4)
    (tmp_path / "cache").write_text("in the way")
    store, _ = pixels.build(data, GEOMETRY)
    assert store.notes
    same_as_fresh(store, data)
    store.close()


@pytest.mark.parametrize("damage", ["cut", "no state", "bad state", "no layout", "bad layout", "other format"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    data = make(tmp_path / "in", 4)
    pixels.build(data, GEOMETRY)[0].close()
    folder = next(cache.folder("pixels").iterdir())
    binary, layout, state = next(folder.glob("*.bin")), next(folder.glob("*.npz")), folder / "state.json"
    if damage == "cut":
        binary.write_bytes(binary.read_bytes()[:-1])
    elif damage == "no layout":
        layout.unlink()
    elif damage == "bad layout":
        layout.write_bytes(b"PK nonsense")
    elif damage == "no state":
        state.unlink()
    elif damage == "bad state":
        state.write_text(f'{{"format": {_shelf.FORMAT}}}')
    else:
        state.write_text(state.read_text().replace(f'"format": {_shelf.FORMAT}', '"format": 99'))
    store, _ = pixels.build(data, GEOMETRY)
    assert store.decoded == 4
    same_as_fresh(store, data)
    store.close()


def test_a_cache_deleted_under_a_running_process(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 6)
    store, _ = pixels.build(data, GEOMETRY)
    store.close()
    store, _ = pixels.build(data, GEOMETRY)
    held = store.pixels(0)
    copy = held.copy()
    if sys.platform != "win32":
        shutil.rmtree(cache.folder("pixels"))
    monkeypatch.setattr(pixels, "REMAP_BYTES", 0)
    for _ in range(3):
        same_as_fresh(store, data)
    assert np.array_equal(held, copy)
    store.close()


def test_remapping_keeps_old_views_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "REMAP_BYTES", 5_000)
    data = make(tmp_path / "in", 6)
    store, _ = pixels.build(data, GEOMETRY)
    views = [store.pixels(i) for i in range(6)] + [store.pixels(i) for i in range(6)]
    for i, view in enumerate(views):
        assert np.array_equal(view, image.read(data.records[i % 6].source, GEOMETRY).pixels)
    assert not views[0].flags.writeable
    store.close()


def test_leftovers_of_dead_writers_are_removed(tmp_path):
    data = make(tmp_path / "in", 3)
    folder = _shelf.folder_of(_shelf.key_of(data, GEOMETRY))
    folder.mkdir(parents=True)
    dead, living = folder / "dead.bin", folder / "living.bin"
    dead.write_bytes(b"x")
    living.write_bytes(b"x")
    os.utime(dead, (1, 1))
    pixels.build(data, GEOMETRY)[0].close()
    assert not dead.exists()
    assert living.exists()


def test_two_writers_of_the_same_pixels_do_not_disturb_each_other(tmp_path):
    data = make(tmp_path / "in", 10)
    first, second = pixels.start(data, GEOMETRY), pixels.start(data, GEOMETRY)
    first.reports()
    second.reports()
    same_as_fresh(first, data)
    same_as_fresh(second, data)
    first.close()
    second.close()
    third, _ = pixels.build(data, GEOMETRY)
    assert third.decoded == 0
    same_as_fresh(third, data)
    third.close()


def test_the_users_folder_is_never_written_to(tmp_path):
    data = make(tmp_path / "in", 5, broken={1})

    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [tmp_path / "in", *(tmp_path / "in").iterdir()]}

    before = state()
    store, _ = pixels.build(data, GEOMETRY)
    store.windows([0, 2], [0.1, 0.9])
    store.close()
    assert state() == before


def test_opening_a_warm_cache_costs_one_stat_a_file(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 20)
    pixels.build(data, GEOMETRY)[0].close()

    def forbidden(*args, **kwargs):
        raise AssertionError("a file was read")

    monkeypatch.setattr(image, "read_bytes", forbidden)
    stat, asked = os.stat, []
    monkeypatch.setattr(os, "stat", lambda path, *args, **kwargs: asked.append(str(path)) or stat(path, *args, **kwargs))
    store, _ = pixels.build(data, GEOMETRY)
    store.close()
    assert sum(path.startswith(str(tmp_path / "in")) for path in asked) == 20


# -------------------------------------------------------------------------------------------------------- many small images


def test_small_images_of_a_large_set_are_kept_as_they_are_and_read_as_ever(tmp_path, monkeypatch):
    data = make(tmp_path / "in", 12, broken={4})
    Image.fromarray(noise(50, 20, 300)).save(tmp_path / "in" / "005.jpg")  # a panorama, which scaling cuts
    geometry = Images(size=56, short=60, mean=(0.5,) * 3, std=(0.5,) * 3)
    monkeypatch.setattr(_shelf, "ENLARGED_BYTES", 0)
    for opened in range(2):
        store, _ = pixels.build(data, geometry)
        assert store.decoded == (0 if opened else 12), "each file is decoded once"
        for i, record in enumerate(data.records):
            if i != 4:
                assert np.array_equal(store.pixels(i), image.read(record.source, geometry).pixels)
        store.close()
    stored = next(cache.folder("pixels").rglob("*.bin")).stat().st_size
    own = sum((40 + i) * 56 * 3 for i in range(12) if i not in (4, 5))
    assert stored == own + 60 * 240 * 3


def test_grey_pictures_of_all_images_are_read_in_stretches_from_a_file(tmp_path):
    data = make(tmp_path / "in", 12, broken={4})
    expected = [
        _filling.thumbnail(Image.fromarray(image.read(r.source, GEOMETRY).pixels)) for i, r in enumerate(data.records) if i != 4
    ]
    expected.insert(4, np.zeros((32, 32), np.uint8))
    for _ in range(2):
        store, _ = pixels.build(data, GEOMETRY)
        for stretch in (slice(0, 12), slice(3, 6), slice(9, 99), slice(5, 5)):
            assert np.array_equal(store.prints[stretch], np.array(expected[stretch], np.uint8).reshape(-1, 32, 32))
        store.close()
        with pytest.raises(AssertionError):
            store.prints[0:1]


def test_grey_pictures_that_a_full_disk_does_not_take_are_in_memory(tmp_path, monkeypatch):
    from headstart.data.stores import _prints

    def full(file, data):
        if os.lseek(file, 0, os.SEEK_CUR) >= 5 * _prints.BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    data, write = make(tmp_path / "in", 8), os.write
    monkeypatch.setattr(_prints.os, "write", full)
    store, _ = pixels.build(data, GEOMETRY, threads=1)
    for i, record in enumerate(data.records):
        assert np.array_equal(
            store.prints[i : i + 1][0], _filling.thumbnail(Image.fromarray(image.read(record.source, GEOMETRY).pixels))
        )
    store.close()
    monkeypatch.undo()
    store, _ = pixels.build(data, GEOMETRY)
    assert store.decoded == 8, "a store without all pictures is not trusted later"
    store.close()
