"""Every image file under a folder, by its name alone: no file is opened, and none is asked for its size or date."""
# Plain strings, for a Path for each of 100,000 files costs seconds.
# ruff: noqa: PTH116, PTH122

import os
import stat
from collections import Counter
from dataclasses import dataclass, field

from headstart.modalities._signatures import shown

# What Pillow reads, and then what it does not (HEIC, camera raw): those are listed so that the audit can say what to do.
_SUFFIXES = """
.jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .webp .tif .tiff .avif .avifs .ico .ppm .pgm .pbm .pnm .pfm .tga
.jp2 .j2k .jpx .jpf .j2c .jpc .pcx .sgi .dds .icns .xbm .xpm .qoi
.heic .heif .hif .jxl .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .sr2
.srf .srw .x3f
"""
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
TABLE_SUFFIXES = (".csv", ".tsv")
_SYSTEM_NAMES = frozenset(
    {"__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "@eadir", "lost+found"}
    | {"system volume information"}
)


def is_hidden(name: str) -> bool:
    """Whether a name belongs to the system and not to the data: `.ipynb_checkpoints`, `__MACOSX`, `Thumbs.db` and their like."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def suffix_of(name: str) -> str:
    """The ending of a file name in small letters with its dot, or ""."""
    return os.path.splitext(name)[1].lower()


def clean(name: str) -> str:
    """The name as text that can be stored anywhere: bytes that are no UTF-8 become escapes such as `\\udcff`."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(name: str) -> str:
    """The name in double quotes on one line, fit for a message."""
    safe = shown(name)
    return safe if safe != name else f'"{safe}"'


def counted(number: int, one: str, many: str = "") -> str:
    """`1 image`, `3 images`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@dataclass(slots=True)
class Scan:
    """What lies under `root`: `images` are (id, absolute path), sorted; ids are paths inside `root` with forward slashes."""

    root: str
    images: list[tuple[str, str]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """How many files are no images by their ending, for each ending."""
    tables: list[str] = field(default_factory=list)
    """CSV and TSV files directly in the root."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that could not be listed."""
    repeated: list[str] = field(default_factory=list)
    """Links to folders that had been read already; without skipping them a link to its own parent would never end."""

    def notes(self) -> list[str]:
        """Sentences about what was passed over."""
        notes = []
        if self.others:
            endings = ", ".join(f"{ending or 'no ending'} {count:,}" for ending, count in self.others.most_common(4))
            notes.append(f"Left out {counted(sum(self.others.values()), 'file')}, not images by their ending ({endings}).")
        if self.unreadable:
            first = quoted(min(self.unreadable))
            notes.append(f"Left out {counted(len(self.unreadable), 'folder')} without permission to read (first: {first}).")
        if self.repeated:
            first = quoted(min(self.repeated))
            notes.append(f"Left out {counted(len(self.repeated), 'link')} to a folder that is already read (first: {first}).")
        return notes


def scan(root: str) -> Scan:
    """All image files under `root`, an absolute path; hidden and system names are passed over in silence.

    Links are followed, each folder is read once, and real folders are read before links to them.

    Raises:
        OSError: the root itself cannot be listed.
    """
    found = Scan(root)
    folders, links, seen = [(root, "")], [], set()
    while folders or links:
        if not folders:
            links.sort(key=lambda link: link[1])
            folders.append(links.pop(0))
        path, prefix = folders.pop()
        try:
            identity = _identity(path)
            if identity in seen:
                found.repeated.append(prefix[:-1])
                continue
            seen.add(identity)
            _read_folder(found, path, prefix, folders, links)
        except OSError:
            if not prefix:
                raise
            found.unreadable.append(prefix[:-1])
    found.images.sort()
    _make_unique(found.images)
    return found


def _read_folder(found: Scan, path: str, prefix: str, folders: list[tuple[str, str]], links: list[tuple[str, str]]) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if is_hidden(name):
                continue
            kind = _kind(entry)
            if kind == "file":
                suffix = suffix_of(name)
                if suffix in IMAGE_SUFFIXES:
                    found.images.append((prefix + clean(name), entry.path))
                    continue
                found.others[suffix] += 1
                if not prefix and suffix in TABLE_SUFFIXES:
                    found.tables.append(name)
            elif kind == "folder":
                folders.append((entry.path, f"{prefix}{clean(name)}/"))
            elif kind == "link":
                links.append((entry.path, f"{prefix}{clean(name)}/"))


def _kind(entry: os.DirEntry[str]) -> str:
    """file, folder, link (to a folder), or special: a pipe or device, which would hang whoever opens it."""
    try:
        if entry.is_file(follow_symlinks=False):
            return "file"
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        mode = entry.stat().st_mode
        return "link" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"
    except OSError:
        return "file"  # a broken link: the audit will name it


def _identity(path: str) -> tuple[int, int] | str:
    status = os.stat(path)
    # Some Windows network drives give every folder the number 0.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.normcase(os.path.realpath(path))


def _make_unique(images: list[tuple[str, str]]) -> None:
    """Cleaned names can meet a name that is spelled like the escape; a `~2` keeps both."""
    seen: set[str] = set()
    for position, (identifier, source) in enumerate(images):
        unique, number = identifier, 1
        while unique in seen:
            number += 1
            unique = f"{identifier}~{number}"
        seen.add(unique)
        if unique is not identifier:
            images[position] = (unique, source)
