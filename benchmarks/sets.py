"""The five sets of images and their splits into train, valid and test, as folders that every entrant is given alike.

    <place>/<name>/pool/<class>/<image>                          every usable image, once
    <place>/<name>/seed<n>/{train,valid,test}/<class>/<image>    hard links into the pool; seed<n>.json is the manifest

A split is headstart's own: 60 / 20 / 20 at random, stratified, duplicates and near-duplicates together. The manifest holds a
digest of every file; its own digest goes into each row of a benchmark, so that rows of other files are never compared.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock
from harness import RESULTS, ROOT

PLACE = Path(tempfile.gettempdir()) / "headstart-benchmarks"
SETS = ("solar_cells", "cats_dogs", "trashnet", "brain_mri", "textile")
PACKAGES = {"solar_cells": "elpv_dataset", "textile": "conformal_clip_data"}
WITHOUT_COPIES = frozenset({"brain_mri"})
"""Sets of which one image of each group of duplicates is used (the audit finds them); in the others they stay, in one part."""
SHARE = 0.2
Source = Iterator[tuple[str, str, Path]]


@dataclass(frozen=True)
class Divided:
    """One split of one set on disk. `digest` names its files, their parts and classes."""

    name: str
    seed: int
    folder: Path
    digest: str
    sizes: Mapping[str, int]

    @property
    def train(self) -> Path:
        return self.folder / "train"

    @property
    def valid(self) -> Path:
        return self.folder / "valid"

    @property
    def test(self) -> Path:
        return self.folder / "test"


def files_in(folder: Path) -> list[Path]:
    """The images below a folder, in order."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def arguments(doc: str | None, sets: Sequence[str] = SETS, seeds: int = 3, results: Path = RESULTS) -> argparse.ArgumentParser:
    """What every benchmark on these sets is asked: which of them, where they are, how many divisions, where the rows go."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", default=list(sets))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--report", action="store_true")
    return parser


def parse_folders(given: list[str]) -> dict[str, Path]:
    """NAME=FOLDER as a mapping.

    Raises:
        SystemExit: with what is wrong, for anything else.
    """
    folders = {}
    for each in given:
        name, sign, folder = each.partition("=")
        if not sign or not Path(folder).is_dir():
            raise SystemExit(f"--data takes NAME=FOLDER with a folder that is there, got {each!r}.")
        folders[name] = Path(folder).resolve()
    return folders


def available(names: list[str], folders: Mapping[str, Path], peer_python: str) -> dict[str, Callable[[], Source]]:
    """How to read each set of `names` that is at hand; what is not is told."""
    found: dict[str, Callable[[], Source]] = {}
    for name in names:
        if name in folders:
            found[name] = lambda name=name: of_folder(folders[name])
        elif name in PACKAGES and (package := _package(PACKAGES[name], peer_python)):
            found[name] = lambda package=package, name=name: FROM_PACKAGE[name](package)
        else:
            hint = f"pip install {PACKAGES[name].replace('_', '-')}" if name in PACKAGES else f"--data {name}=FOLDER"
            print(f"{name}: not here, left out ({hint}).", flush=True)
    return found


def divided(name: str, read: Callable[[], Source], seed: int, place: Path = PLACE) -> Divided:
    """The split of this set and seed; made when it is not there yet, by one process at a time."""
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / f"{name}.lock"):
        return _divided(name, read, seed, place)


def divisions(asked: argparse.Namespace) -> Iterator[Divided]:
    """The splits that are asked for (`arguments`), one of every set that is at hand before the second of any."""
    found = available(asked.sets, parse_folders(asked.data), asked.peer_python)
    for seed in range(asked.seeds):
        for name, read in found.items():
            yield divided(name, read, seed)


def _divided(name: str, read: Callable[[], Source], seed: int, place: Path) -> Divided:
    folder = place / name / f"seed{seed}"
    manifest = folder.with_suffix(".json")
    if not manifest.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        pool = _pool(name, read, place)
        parts = _parts(pool, seed)
        digests = json.loads((pool.parent / "pool.json").read_text())["digests"]
        for image, part in parts.items():
            _link(pool / image, folder / part / image)
        text = json.dumps({"set": name, "seed": seed, "parts": {i: [p, digests[i]] for i, p in sorted(parts.items())}}, indent=1)
        unfinished = folder.with_suffix(".part")
        unfinished.write_text(text)
        unfinished.replace(manifest)  # last and at once, so that its being there means that all is there
    text = manifest.read_text()
    where = [part for part, _ in json.loads(text)["parts"].values()]
    sizes = {part: where.count(part) for part in ("train", "valid", "test")}
    return Divided(name, seed, folder, hashlib.blake2b(text.encode(), digest_size=6).hexdigest(), sizes)


# ------------------------------------------------------------------------------------------------------------ sources


def of_folder(root: Path) -> Source:
    """(class, name, file) of a folder of class folders, those of train/ and valid/ pooled."""
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            yield file.parent.name, "__".join(file.relative_to(root).parts), file


def of_solar_cells(package: Path) -> Source:
    """The solar cells that are surely whole or surely defective (probability 0 or 1)."""
    with (ROOT / "src/headstart/cli/solar_cells.csv").open() as table:
        for row in csv.DictReader(table):
            yield row["label"], Path(row["image"]).name, package / "data" / row["image"]


def of_textile(package: Path) -> Source:
    """Simulated textiles, three classes as the package has them: nominal, with a local, with a global defect."""
    for kind in ("nominal", "local", "global"):
        for file in sorted((package / "data" / "textile_images" / "simulated" / kind).glob("*.jpg")):
            yield kind, f"{kind}_{file.name}", file


FROM_PACKAGE: Mapping[str, Callable[[Path], Source]] = {"solar_cells": of_solar_cells, "textile": of_textile}


def _package(module: str, peer_python: str) -> Path | None:
    """The folder of an installed package, of this Python or of the peer's."""
    find = f"from importlib.util import find_spec; spec = find_spec({module!r}); print(spec.origin if spec else '')"
    for python in dict.fromkeys((sys.executable, peer_python)):
        said = subprocess.run([python, "-c", find], capture_output=True, text=True, check=False).stdout.strip()
        if said:
            return Path(said).parent
    return None


# --------------------------------------------------------------------------------------------------------------- pool


def _pool(name: str, read: Callable[[], Source], place: Path) -> Path:
    """Every image of the set, each once under a name of its own; `pool.json` beside it holds the digests and what is tied."""
    pool, about = place / name / "pool", place / name / "pool.json"
    if about.is_file():
        return pool
    shutil.rmtree(pool, ignore_errors=True)
    digests: dict[str, str] = {}
    for label, image, file in read():
        target = pool / label / image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        digests[f"{label}/{image}"] = hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    import headstart as hs

    found = hs.check(hs.image_folder(pool)).audit
    usable, tied = sorted(found.usable()), found.groups()
    if name in WITHOUT_COPIES:
        usable = sorted({tied.get(image, image): image for image in reversed(usable)}.values())
    print(f"{name}: {len(usable)} of {len(digests)} images are used. {' '.join(found.summary())}", flush=True)
    text = json.dumps({"digests": digests, "usable": usable, "tied": tied})
    about.with_suffix(".part").write_text(text)
    about.with_suffix(".part").replace(about)
    return pool


def _parts(pool: Path, seed: int) -> dict[str, str]:
    """The part of each usable image."""
    import headstart as hs
    from headstart.data.split import make_split
    from headstart.tasks._choice import read

    about = json.loads((pool.parent / "pool.json").read_text())
    dataset = replace(hs.image_folder(pool), valid=SHARE, test=SHARE, seed=seed)
    split = make_split(dataset, set(about["usable"]), about["tied"], read(dataset)[0])
    parts = (("train", split.train), ("valid", split.valid), ("test", split.test))
    return {image: part for part, images in parts for image in images}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
