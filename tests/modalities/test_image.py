"""Decoding and geometry: every mode and container gives upright RGB, every broken input a reason and a lesson."""

import io
import os
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.core import BackboneSpec
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.modalities import image
from headstart.modalities.image import Images

GEOMETRY = Images(size=28, short=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def picture(width=40, height=30, seed=0):
    """A smooth colour picture whose four corners differ."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    channels = [127 + 100 * np.sin(x / (5 + k) + phase[k]) * np.cos(y / (4 + k)) for k in range(3)]
    pixels = np.stack(channels, -1).clip(0, 255).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (250, 10, 20)
    return pixels


def saved(pixels, format, mode=None, **options):
    buffer = io.BytesIO()
    made = Image.fromarray(pixels)
    (made.convert(mode) if mode else made).save(buffer, format, **options)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------------ decode


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_containers_give_the_pixels_themselves(format):
    options = {"lossless": True} if format == "WEBP" else {}
    decoded = image.decode(saved(picture(), format, **options))
    assert np.array_equal(decoded.pixels, picture())
    assert (decoded.info.width, decoded.info.height, decoded.info.format, decoded.info.notes) == (40, 30, format, ())


def test_path_bytes_array_and_pil_image_agree(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(saved(picture(), "PNG"))
    for source in (file, str(file), file.read_bytes(), picture(), Image.fromarray(picture())):
        assert np.array_equal(image.decode(source).pixels, picture())


@pytest.mark.parametrize(
    ("mode", "note"), [("L", "grey"), ("1", "grey"), ("P", "palette"), ("CMYK", "cmyk"), ("YCbCr", "other_mode")]
)
def test_modes_become_rgb_as_pillow_converts_them(mode, note):
    made = Image.fromarray(picture()).convert(mode)
    decoded = image.decode(made)
    assert np.array_equal(decoded.pixels, np.asarray(made.convert("RGB")))
    assert decoded.info.mode == mode
    assert decoded.info.notes == (note,)


def test_adobe_cmyk_jpeg_keeps_its_colours():
    decoded = image.decode(saved(picture(), "JPEG", "CMYK", quality=95))
    assert decoded.info.mode == "CMYK"
    assert np.abs(decoded.pixels.astype(int) - picture()).mean() < 8


def test_transparency_is_laid_on_white_and_an_empty_alpha_is_ignored():
    rgba = np.dstack([picture(), np.full((30, 40), 255, np.uint8)])
    rgba[:, 20:, 3] = 0
    rgba[:, 19, 3] = 128
    pixels = image.decode(saved(rgba, "PNG")).pixels
    assert np.array_equal(pixels[:, :19], picture()[:, :19])
    assert (pixels[:, 20:] == 255).all()
    assert np.abs(pixels[:, 19].astype(int) - (picture()[:, 19].astype(int) + 255) // 2).max() <= 2
    rgba[..., 3] = 0
    assert np.array_equal(image.decode(saved(rgba, "PNG")).pixels, picture())


def test_transparent_palette_and_grey_alpha():
    palette = Image.fromarray(picture()).convert("P")
    buffer = io.BytesIO()
    index = palette.getpixel((0, 0))
    palette.save(buffer, "PNG", transparency=index)
    decoded = image.decode(buffer.getvalue())
    assert set(decoded.info.notes) == {"palette", "transparency"}
    assert tuple(decoded.pixels[0, 0]) == (255, 255, 255)
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 60), Image.new("L", (4, 4), 0)])
    grey_alpha.putpixel((0, 0), (60, 255))
    pixels = image.decode(grey_alpha).pixels
    assert tuple(pixels[0, 0]) == (60, 60, 60)
    assert tuple(pixels[3, 3]) == (255, 255, 255)


@pytest.mark.parametrize(("top", "divisor"), [(255, 1.0), (4095, 4095 / 255), (65535, 257.0)])
def test_16_bit_greys_are_scaled_from_the_depth_that_holds_them(top, divisor):
    values = np.linspace(0, top, 30 * 40).reshape(30, 40).astype(np.uint16)
    decoded = image.decode(saved(values, "PNG"))
    assert "16_bit" in decoded.info.notes
    assert np.abs(decoded.pixels[..., 0] - values / divisor).max() <= 0.51
    assert np.array_equal(decoded.pixels[..., 0], decoded.pixels[..., 2])


def test_floats_in_0_1_in_0_255_beyond_and_not_a_number():
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    expected = np.rint(ramp * 255)
    assert np.array_equal(image.decode(ramp).pixels[..., 0], expected)
    assert np.array_equal(image.decode(ramp * 255).pixels[..., 0], expected)
    assert np.array_equal(image.decode(ramp * 2000 - 1000).pixels[..., 0], expected)
    hole = ramp.copy()
    hole[2, 3] = np.nan
    assert image.decode(hole).pixels[2, 3, 0] == 0
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "TIFF")
    decoded = image.decode(buffer.getvalue())
    assert decoded.info.mode == "F"
    assert np.array_equal(decoded.pixels[..., 0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_undone_once(orientation, format):
    upright = picture(48, 32)
    undo = {1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"], 5: ["TRANSPOSE"], 6: ["ROTATE_90"],
            7: ["TRANSVERSE"], 8: ["ROTATE_270"]}[orientation]  # fmt: skip
    turned = Image.fromarray(upright)
    for step in undo:
        turned = turned.transpose(getattr(Image.Transpose, step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    turned.save(buffer, format, exif=exif, **({"quality": 100, "subsampling": 0} if format == "JPEG" else {}))
    decoded = image.decode(buffer.getvalue())
    assert (decoded.info.width, decoded.info.height) == (48, 32)
    assert np.abs(decoded.pixels.astype(int) - upright).mean() < 3
    if format != "TIFF":  # Pillow turns TIFF itself
        assert decoded.info.orientation == orientation
        assert ("exif_rotated" in decoded.info.notes) == (orientation > 1)


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    for format in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        options = {"lossless": True} if format == "WEBP" else {}
        frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=50, **options)
        decoded = image.decode(buffer.getvalue())
        assert tuple(decoded.pixels[10, 10]) == (255, 0, 0)
        assert decoded.info.frames == 3
        assert "animated" in decoded.info.notes


def test_a_pil_image_is_left_as_it_was_and_its_current_frame_is_used():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    with Image.open(buffer) as opened:
        opened.seek(1)
        assert tuple(image.decode(opened).pixels[0, 0]) == (0, 255, 0)
        assert opened.tell() == 1
    grey = Image.new("L", (8, 8), 7)
    image.decode(grey)
    assert grey.mode == "L"


@pytest.mark.parametrize("short", [16, 50, 100])
def test_large_jpegs_are_decoded_small_but_never_below_twice_the_short_side(short):
    data = saved(picture(901, 803), "JPEG", quality=95)
    decoded = image.decode(data, short)
    assert 2 * short <= min(decoded.pixels.shape[:2]) <= max(4 * short + 2, -(-803 // 8))
    assert (decoded.info.width, decoded.info.height) == (901, 803)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(901, 803), (803, 907), (3000, 500)])
def test_decoding_small_changes_nothing_that_matters(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(*size), "JPEG", quality=95, subsampling=0, exif=exif)
    geometry = Images(28, 60, (0.5,) * 3, (0.5,) * 3)
    whole = image.fit_short(image.decode(data).pixels, 60)
    small = image.read(data, geometry).pixels
    assert image.decode(data, 60).pixels.size < image.decode(data).pixels.size / 3
    assert whole.shape == small.shape
    assert np.abs(whole.astype(int) - small).mean() < 1.7


def test_small_jpegs_are_decoded_whole():
    data = saved(picture(100, 90), "JPEG")
    assert image.decode(data, short=50).pixels.shape == (90, 100, 3)


# -------------------------------------------------------------------------------------------------------------- unreadable


def reason(source, **options):
    with pytest.raises(image.Unreadable) as caught:
        image.decode(source, **options)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    return caught.value.reason, str(caught.value)


def test_missing_empty_folder_and_text(tmp_path):
    assert reason(tmp_path / "none.jpg")[0] == "missing"
    assert reason(tmp_path)[0] == "not_an_image"
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    kind, message = reason(empty)
    assert kind == "empty"
    assert "0 bytes" in message
    assert "empty.jpg" in message
    page = tmp_path / "page.jpg"
    page.write_text("<!DOCTYPE html><html><body>404</body></html>")
    kind, message = reason(page)
    assert kind == "not_an_image"
    assert "HTML" in message
    for content, word in (
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04aaaa", "ZIP"),
        (b"version https://git-lfs.github.com", "git lfs pull"),
    ):
        kind, message = reason(content)
        assert (kind, word in message) == ("not_an_image", True)
    assert reason(os.urandom(500))[0] == "not_an_image"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_of_every_format(format, share):
    data = saved(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    kind, message = reason(data[: int(len(data) * share)])
    assert kind in ("truncated", "not_an_image")
    assert "again" in message or "Replace" in message


@settings(max_examples=60)
@given(st.integers(0, 5), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=20))
def test_damaged_bytes_give_an_image_or_unreadable_and_nothing_else(which, changes):
    format = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"][which]
    data = bytearray(saved(picture(), format))
    for place, value in changes:
        data[int(place * len(data))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decoded = image.decode(bytes(data))
        except image.Unreadable:
            return
    assert decoded.pixels.shape[2] == 3


def test_decompression_bombs_are_refused_before_memory_is_asked_for():
    def chunk(kind, body):
        import struct
        import zlib

        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    kind, message = reason(data)
    assert kind == "bomb"
    assert "tiles" in message


def test_an_image_between_pillows_warning_and_error_is_read_without_a_warning():
    data = saved(np.zeros((9500, 9500), np.uint8), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture_read, info, _ = image.load(data)
    assert picture_read.size == (9500, 9500)
    assert info.mode == "L"


def test_phones_and_cameras_are_named_with_what_to_do(tmp_path):
    kind, message = reason(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100))
    assert kind == "heic"
    assert "heif-convert" in message
    tiff = saved(picture(), "TIFF")
    raw = tmp_path / "shot.NEF"
    raw.write_bytes(tiff)
    kind, message = reason(raw)
    assert kind == "raw"
    assert "Export" in message
    assert reason(b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(100))[0] == "raw"
    assert reason(b"FUJIFILMCCD-RAW 0201" + bytes(100))[0] == "raw"


def test_wrong_extensions_are_noted(tmp_path):
    for name, noted in (("a.jpg", True), ("a.JPEG", True), ("a.png", False), ("a.PNG", False), ("a.dat", False), ("a", False)):
        file = tmp_path / name
        file.write_bytes(saved(picture(), "PNG"))
        assert ("wrong_extension" in image.decode(file).info.notes) == noted, name


def test_odd_names_are_printable(tmp_path):
    _, message = reason(tmp_path / 'a\n"b\u2028c\udcff.jpg')
    message.encode("utf-8")
    assert "\\n" in message


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert reason(pipe)[0] == "not_an_image"


def test_permission(tmp_path, monkeypatch):
    from pathlib import Path

    file = tmp_path / "a.png"
    file.write_bytes(saved(picture(), "PNG"))

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert reason(file)[0] == "permission"


@pytest.mark.parametrize("shape", [(3,), (3, 32, 32), (2, 2, 2), (0, 4, 3), (1, 2, 3, 3)])
def test_arrays_that_are_no_images(shape):
    kind, message = reason(np.zeros(shape, np.uint8))
    assert kind == "unsupported"
    assert str(list(shape)) in message
    assert ("transpose" in message) == (shape == (3, 32, 32))


def test_array_kinds():
    assert image.decode(np.ones((5, 4, 1), np.uint8)).pixels.shape == (5, 4, 3)
    assert image.decode(np.ones((5, 4), bool)).pixels.max() == 255
    assert reason(np.zeros((4, 4), complex))[0] == "unsupported"
    assert reason(np.array([["a"]]))[0] == "unsupported"
    half = np.dstack([picture(), np.zeros((30, 40), np.uint8)])
    half[:, :20, 3] = 255
    assert (image.decode(half).pixels[:, 20:] == 255).all()


def test_warnings_of_other_threads_survive_decoding():
    before = list(warnings.filters)
    data = saved(picture(), "PNG")
    threads = [threading.Thread(target=lambda: [image.decode(data) for _ in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# ---------------------------------------------------------------------------------------------------------------- geometry


@settings(max_examples=40)
@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(4, 40), st.sampled_from(["bicubic", "bilinear", "lanczos", "nearest"])
)
def test_the_short_side_is_exact_and_the_ratio_kept_up_to_4(width, height, short, interpolation):
    fitted = image.fit_short(np.zeros((height, width, 3), np.uint8), short, interpolation)
    assert min(fitted.shape[:2]) == short
    ratio = min(max(width, height) / min(width, height), 4)
    assert abs(max(fitted.shape[:2]) - ratio * short) <= 0.5 + 1e-9
    assert (fitted.shape[0] < fitted.shape[1]) == (height < width) or fitted.shape[0] == fitted.shape[1]


def test_scaling_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3))
    assert abs(image.fit_short(stripes, 8).astype(int) - 127).max() <= 6


def test_panoramas_are_cut_at_the_centre():
    wide = np.zeros((10, 100, 3), np.uint8)
    wide[:, 30:70] = 255
    assert (image.fit_short(wide, 10) == 255).all()


def test_grey_files_give_the_numbers_of_their_rgb_twins():
    grey = picture(90, 70)[..., 0]
    single = image.read(saved(grey, "PNG"), GEOMETRY).pixels
    triple = image.read(saved(np.dstack([grey] * 3), "BMP"), GEOMETRY).pixels
    assert np.array_equal(single, triple)


def test_centre_and_windows_are_views_at_the_right_place():
    pixels = np.arange(32 * 50 * 3, dtype=np.int64).reshape(32, 50, 3).astype(np.uint8)
    assert np.array_equal(image.centre(pixels, 28), pixels[2:30, 11:39])
    for position, left in ((0.0, 0), (0.5, 9), (1.0, 18)):
        cut = image.window(pixels, 32, position)
        assert np.array_equal(cut, pixels[:, left : left + 32])
        assert np.shares_memory(cut, pixels)
    assert np.array_equal(image.window(pixels.transpose(1, 0, 2), 32, 1.0), pixels.transpose(1, 0, 2)[18:])


def spec(**changes):
    base = BackboneSpec("net", 224, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875, 8, "", 1, "random")
    return replace(base, **changes)


def test_geometry_follows_the_metadata():
    made = image.of(spec(), None)
    assert (made.size, made.short, made.interpolation) == (224, 256, "bicubic")
    assert image.of(spec(crop_pct=1.0), None).short == 224
    assert image.of(spec(crop_pct=0.9), 100).short == 111
    assert image.of(spec(interpolation="random"), None).interpolation == "bicubic"
    assert image.of(spec(fixed_size=True), 224).size == 224
    with pytest.raises(BadSetting, match="224"):
        image.of(spec(fixed_size=True), 128)
    with pytest.raises(UnknownName, match="bilinear"):
        image.of(spec(interpolation="bilinaer"), None)


def test_inputs_are_what_the_textbook_computes():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8))
    inputs = image.to_input(pixels, GEOMETRY)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (GEOMETRY.mean, GEOMETRY.std))
    assert torch.allclose(inputs, (pixels.permute(0, 3, 1, 2) / 255 - mean) / std, atol=1e-5)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)


# -------------------------------------------------------------------------------------------------------------------- show


def test_a_sheet_holds_every_image_and_survives_odd_captions():
    page = image.sheet([picture(seed=i) for i in range(7)], ["a\nb", "x" * 300, "\udcff", "ü", "", "f", "g"], columns=3, side=50)
    assert page.size == (3 * 56 + 6, 3 * (56 + 16) + 6)
    assert np.asarray(page).min() < 50
    assert image.sheet([picture()], side=20).size == (32, 32)


def test_the_module_does_without_torch():
    import subprocess

    code = "import sys; from headstart.modalities import image; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
