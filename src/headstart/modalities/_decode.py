"""From a file, bytes, array or PIL image to upright RGB bytes in memory, or a sentence that says why not."""

import io
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from headstart.errors import DataError
from headstart.modalities._signatures import looks_like, shown, wrong_extension

Reason = Literal["missing", "permission", "empty", "not_an_image", "truncated", "bomb", "heic", "raw", "unsupported"]

MAX_PIXELS = 178_956_970
"""Where Pillow refuses too: beyond it a few kilobytes on disk can ask for gigabytes of memory."""
MAX_BYTES = 1 << 30
DRAFT_MARGIN = 2
"""A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but never below this many times the size that is kept."""

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_ORIENTATION_TAG = 0x0112
_WARNINGS_LOCK = threading.Lock()


class Unreadable(DataError):
    """An input that is no usable image; `reason` is one short word for tables, the message says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the file was before it became RGB: upright size, container, mode, and `notes` on what had to be changed.

    Notes are from: wrong_extension, grey, palette, transparency, cmyk, 16_bit, float, animated, exif_rotated, other_mode.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    frames: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Upright RGB pixels with what they were made from."""

    pixels: UInt8[np.ndarray, "height width 3"]
    info: ImageInfo


def decode(source: str | Path | bytes | np.ndarray | Image.Image, short: int | None = None) -> Decoded:
    """Upright RGB pixels of a path, of the bytes of a file, of an array [height, width(, channels)] or of a PIL image.

    Transparency is laid on white (an image that is transparent everywhere is shown as if it were opaque); 16-bit greys are
    scaled from the smallest of 8, 12 and 16 bits that holds them; of an animated file the first frame is taken. `short` says
    how small the short side will be made: it lets large JPEGs be decoded at a fraction of their size, never below twice `short`.

    Raises:
        Unreadable: with a reason and what to do.
    """
    image, info, _ = load(source, short)
    return Decoded(np.array(image.convert("RGB")), info)


def load(
    source: str | Path | bytes | np.ndarray | Image.Image, short: int | None = None, name: str = ""
) -> tuple[Image.Image, ImageInfo, Box]:
    """As `decode`, still a PIL image of mode L or RGB, with the part of it that holds the whole picture.

    That part is smaller than the image, by less than a pixel, where a JPEG was decoded at a fraction of its size and its sides
    are no multiples. `name` is what messages call the source (its own path by default).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "the array")
    if isinstance(source, Image.Image):
        return _upright(source, name or "the image", (), short=None)
    if isinstance(source, (str, Path)):
        name, source = name or str(source), read_bytes(source, name)
    name = name or "the image"
    _refuse_foreign(source, name)
    try:
        with _quiet():
            image = Image.open(io.BytesIO(source))
    except Image.DecompressionBombError as error:
        raise _bomb(name, f"asks for more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except UnidentifiedImageError as error:
        kind = looks_like(source)
        what = f"it looks like {kind}" if kind else "its content is of no known image format"
        raise Unreadable("not_an_image", f"{shown(name)} is not an image: {what}. Replace it or delete it.") from error
    except Exception as error:  # Pillow's readers raise nearly every built-in error on damaged headers
        raise _broken(name, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise _bomb(name, f"is {image.width} x {image.height} pixels")
    with image:
        notes = ("wrong_extension",) if wrong_extension(name, image.format or "") else ()
        return _upright(image, name, notes, short)


def read_bytes(path: str | Path, name: str = "") -> bytes:
    """The content of a file, never waiting on a pipe or a device; `name` is what messages call it.

    Raises:
        Unreadable: missing, permission, empty, not_an_image (a folder, a pipe) or bomb (too large).
    """
    name = shown(name or str(path))
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise Unreadable("not_an_image", f"{name} is {kind}, not an image file.")
        if status.st_size > MAX_BYTES:
            raise _bomb(name, f"has {status.st_size / 1e9:.1f} GB")
        data = Path(path).read_bytes()
    except PermissionError as error:
        raise Unreadable("permission", f"{name} may not be read by this user. Change its permissions, or copy it.") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unreadable(
            "missing", f"{name} does not exist (any more). Check the path, or a link that points nowhere."
        ) from error
    except (OSError, ValueError) as error:
        raise Unreadable("missing", f"{name} cannot be read: {error}. Check the disk or the network it is on.") from error
    if not data:
        raise Unreadable("empty", f"{name} is empty (0 bytes). Copy it again from where it came, or delete it.")
    return data


def area(path: str | Path) -> int:
    """Pixels of an image, from the head of its file; 0 where that does not tell."""
    try:
        if not Path(path).is_file():
            return 0
        with _quiet(), Image.open(path) as image:
            return image.width * image.height
    except Exception:  # Pillow's readers raise nearly every built-in error on damaged headers
        return 0


def size_of(source: Any) -> tuple[int, int] | None:
    """(height, width) of an upright image that is not in memory as an array; None where that cannot be told."""
    try:
        if isinstance(source, Image.Image):
            return _size_of(source)
        with _quiet(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _size_of(image)
    except Exception:  # Pillow's readers raise nearly every built-in error on damaged headers
        return None


def _size_of(image: Image.Image) -> tuple[int, int]:
    lying = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return (image.width, image.height) if lying else (image.height, image.width)


def _refuse_foreign(data: bytes, name: str) -> None:
    """Raise for what phones and cameras write and Pillow cannot read, or reads as a tiny preview."""
    kind = looks_like(data, Path(name).suffix)
    if kind == "a HEIC photograph":
        raise Unreadable(
            "heic",
            f"{shown(name)} is a HEIC photograph, which cannot be read here. Convert it to JPEG: "
            "`sips -s format jpeg IN --out OUT` on a Mac, `heif-convert IN OUT` on Linux, the Photos app on Windows; "
            'an iPhone writes JPEG itself with Settings > Camera > Formats > "Most Compatible".',
        )
    if kind == "a camera raw file":
        raise Unreadable(
            "raw",
            f"{shown(name)} is a camera raw file, which has to be developed first. Export it as JPEG with the camera's "
            "program, darktable, RawTherapee or Lightroom.",
        )


def _bomb(name: str, what: str) -> Unreadable:
    return Unreadable("bomb", f"{shown(name)} {what}: too large to be safe to open. Scale it down or cut it into tiles.")


def _broken(name: str, error: Exception) -> Unreadable:
    """The right reason for an error raised while a file of a known format is opened or decoded."""
    if isinstance(error, Unreadable):
        return error
    if isinstance(error, MemoryError):
        return _bomb(name, "needs more memory than there is")
    text = str(error).strip() or type(error).__name__
    if "unsupported" in text.lower() or "not supported" in text.lower() or isinstance(error, NotImplementedError):
        return Unreadable(
            "unsupported", f"{shown(name)} uses a variant of its format that cannot be read ({text}). Save it as PNG or JPEG."
        )
    return Unreadable("truncated", f"{shown(name)} is damaged or cut short ({text}). Copy or download it again, or delete it.")


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of Pillow about odd metadata; one thread at a time, for the filters belong to the whole process."""
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _upright(image: Image.Image, name: str, notes: tuple[str, ...], short: int | None) -> tuple[Image.Image, ImageInfo, Box]:
    """Decode, convert to L or RGB, turn as EXIF says."""
    width, height, mode = image.width, image.height, image.mode
    format = "JPEG" if image.format == "MPO" else image.format or "memory"
    try:
        if short is not None:
            image.draft(None, (DRAFT_MARGIN * short, DRAFT_MARGIN * short))
        frames = getattr(image, "n_frames", 1) if format != "JPEG" and getattr(image, "is_animated", False) else 1
        image.load()
        if min(image.size) < 1:
            raise Unreadable("truncated", f"{shown(name)} has no pixels. Replace it or delete it.")
        with _quiet():
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        plain, changes = _to_plain(image)
    except Exception as error:  # Pillow's readers raise nearly every built-in error on damaged files
        raise _broken(name, error) from error
    fraction = max(1, round(max(width, height) / max(plain.size)))
    right, bottom = plain.width - width / fraction, plain.height - height / fraction
    if orientation in _TURN:
        plain = plain.transpose(_TURN[orientation])
        changes = (*changes, "exif_rotated")
        width, height = (height, width) if orientation >= 5 else (width, height)
    else:
        orientation = 1
    if frames > 1:
        changes = (*changes, "animated")
    left, top, right, bottom = _turned_margins(right, bottom, orientation)
    box = (left, top, plain.width - right, plain.height - bottom)
    return plain, ImageInfo(width, height, format, mode, orientation, frames, (*notes, *changes)), box


def _turned_margins(right: float, bottom: float, orientation: int) -> Box:
    """Left, top, right and bottom margin after the turn, of an image that had margins on its right and at its bottom."""
    return {
        2: (right, 0.0, 0.0, bottom),
        3: (right, bottom, 0.0, 0.0),
        4: (0.0, bottom, right, 0.0),
        5: (0.0, 0.0, bottom, right),
        6: (bottom, 0.0, 0.0, right),
        7: (bottom, right, 0.0, 0.0),
        8: (0.0, right, bottom, 0.0),
    }.get(orientation, (0.0, 0.0, right, bottom))


def _to_plain(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB, and the names of what that took."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(to_8_bits(np.asarray(image))), ("float" if mode == "F" else "16_bit", "grey")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA")), (("palette", "transparency") if mode in ("P", "PA") else ("transparency",))
    if mode in ("1", "L"):
        return image.convert("L"), ("grey",)
    if mode == "RGB":
        return image, ()
    return image.convert("RGB"), ("palette" if mode == "P" else "cmyk" if mode == "CMYK" else "other_mode",)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB of an RGBA image laid on white; alpha that is everywhere 0 or everywhere 255 says nothing and is ignored."""
    alpha = image.getchannel("A")
    if alpha.getextrema() in ((255, 255), (0, 0)):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=alpha)
    return canvas


def to_8_bits(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Any numbers as bytes: integers from the smallest of 8, 12 and 16 bits that holds them, floats from 0..1 or 0..255.

    Numbers outside of these ranges are stretched from their least to their greatest.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(wide.min()), float(wide.max())) if wide.size else (0.0, 0.0)
    tops = (1.0, 255.0) if np.issubdtype(values.dtype, np.floating) else (255.0, 4095.0, 65535.0)
    top = next((t for t in tops if low >= 0 and high <= t), None)
    if top is None:
        wide, top = wide - low, max(high - low, 1e-12)
    return np.rint(wide * (255.0 / top)).clip(0, 255).astype(np.uint8)


def _from_array(values: np.ndarray, name: str) -> tuple[Image.Image, ImageInfo, Box]:
    """An array [height, width], [height, width, 1 | 3 | 4] as a plain image."""
    shape = values.shape
    if values.ndim not in (2, 3) or 0 in shape or (values.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = " It looks like channels first: transpose it to [height, width, channels]." if _channels_first(shape) else ""
        raise Unreadable(
            "unsupported",
            f"{shown(name)} has shape {list(shape)}; an image is [height, width] or [height, width, 1, 3 or 4].{hint}",
        )
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_) or np.iscomplexobj(values):
        raise Unreadable(
            "unsupported", f"{shown(name)} holds {values.dtype}; an image holds numbers from 0 to 255, or from 0 to 1."
        )
    if shape[0] * shape[1] > MAX_PIXELS:
        raise _bomb(name, f"is {shape[1]} x {shape[0]} pixels")
    image = Image.fromarray(np.ascontiguousarray(to_8_bits(values).reshape(shape[:2] if shape[2:] in ((), (1,)) else shape)))
    return _upright(image, name, (), short=None)


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3, 4)
