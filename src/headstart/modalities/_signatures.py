"""What a file is by its first bytes, in words for people, and names that are safe to print."""

from pathlib import PurePath

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = """
.3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srf .srw .x3f
"""
_RAW_SUFFIXES = frozenset(_RAW.split())
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "ICO": (".ico",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
}
_STARTS = (
    (b"\xff\x0a", "a JPEG XL image (convert it to JPEG)"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image (convert it to JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull` to get the image)"),
    (b"FUJIFILMCCD-RAW", "a camera raw file"),
    (b"IIRO", "a camera raw file"),
    (b"IIRS", "a camera raw file"),
    (b"IIU\x00", "a camera raw file"),
)


def looks_like(data: bytes, suffix: str = "") -> str:
    """What the content is in words ("an HTML page", "a HEIC photograph"), or "" when its first bytes say nothing.

    The suffix decides only for camera raw files, which share their first bytes with TIFF.
    """
    head = data[:1024]
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand:
        if brand == b"crx ":
            return "a camera raw file"
        if brand in _HEIC and b"avif" not in head[8:64]:
            return "a HEIC photograph"
        return "an AVIF image" if brand in (b"avif", b"avis") or brand in _HEIC else "a video"
    tiff = head[:4] in (b"II*\x00", b"MM\x00*")
    if tiff and (head[8:10] == b"CR" or suffix.lower() in _RAW_SUFFIXES):
        return "a camera raw file"
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[128:132] == b"DICM":
        return "a DICOM scan (export it as PNG)"
    return _looks_like_text(head)


def _looks_like_text(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text:
        return "an HTML page (a download that failed?)"
    if b"<svg" in text:
        return "an SVG drawing (export it as PNG)"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    if text and not any(byte < 9 for byte in text):
        return "text"
    return ""


def wrong_extension(name: str, format: str) -> bool:
    """Whether a file name ends as if it held another well-known format than it does."""
    suffix = PurePath(name).suffix.lower()
    format = "JPEG" if format == "MPO" else format
    known = {each for suffixes in _SUFFIXES.values() for each in suffixes}
    return suffix in known and format in _SUFFIXES and suffix not in _SUFFIXES[format]


def shown(name: str) -> str:
    """A name that can be printed anywhere: control characters and undecodable bytes as escapes, quotes around odd ones."""
    safe = "".join(
        c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else c.encode("unicode_escape", "surrogatepass").decode()
        for c in name
    )
    return safe if safe == name and name.strip() == name else f'"{safe}"'
