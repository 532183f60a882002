"""What 100,000 small images cost: peak memory and seconds of `check`, of `train` and of each of their stages, against their number.

    python benchmarks/large.py [--place FOLDER] [--counts 10000,30000,100000]

The images (48 x 40 pixels, JPEG and PNG, no two equal) are generated under FOLDER and used again if they are there; smaller
sets are links to the first images of each class of the largest. The backbone is `tiny`: what is measured is the data path.
Each process starts with an empty cache. `anon_mb` is memory that belongs to the process alone; `peak_mb` also counts pages of
files mapped into memory, which the system may take back at any time. Rows already in results/large.jsonl are not run again.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, Table, headstart, last_json, measure
from PIL import Image

CLASSES = ("circle", "cross", "ring", "square")
WIDTH, HEIGHT, TILES = 48, 40, 400
STAGES = """
import json, sys, time
from pathlib import Path

def anonymous():
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), None)

told, began = {}, time.perf_counter()
def done(stage):
    global began
    told[stage] = {"seconds": round(time.perf_counter() - began, 2), "anon_mb": anonymous()}
    began = time.perf_counter()

import headstart as hs
from headstart.data import audit, split
from headstart.data.stores import pixels
from headstart.modalities import image
from headstart.tasks._choice import read
from headstart.backbones import tiny
geometry = image.of(tiny.build().spec)
done("imports")
data = hs.image_folder(sys.argv[1])
done("listing")
store, reports = pixels.build(data, geometry)
done("decoding")
found = audit.audit(data, reports, store.prints, read(data)[0])
done("audit")
split.make_split(data, found.usable(), found.groups(), read(data)[0])
done("split")
store.close()
again, reports = pixels.build(data, geometry)
done("opening again")
assert again.decoded == 0
print(json.dumps({"stages": told}))
"""


def generate(place: Path, count: int) -> Path:
    """`place/COUNT` with a folder for each class; made if it is not there."""
    target = place / str(count)
    if (target / ".done").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    random = np.random.default_rng(0)
    tiles = [_smooth(random) for _ in range(TILES)]
    masks = [_shape(name) for name in CLASSES]
    for name in CLASSES:
        (target / name).mkdir(parents=True)
    for number in range(count):
        label = number % len(CLASSES)
        one, two = (tiles[each] for each in random.integers(0, TILES, 2))
        shift = random.integers(0, WIDTH, 4)
        field = np.roll(one, shift[:2], (0, 1)) + np.roll(two, shift[2:], (0, 1))
        shape = np.roll(masks[label], random.integers(-6, 7, 2), (0, 1))[..., None] * random.uniform(20, 60, 3)
        picture = Image.fromarray((128 + field + shape).clip(0, 255).astype(np.uint8))
        ending = "jpg" if number % 3 else "png"
        picture.save(
            target / CLASSES[label] / f"{number:06d}.{ending}", **({"quality": 90} if number % 3 else {"compress_level": 1})
        )
    (target / ".done").touch()
    return target


def subset(full: Path, place: Path, count: int) -> Path:
    """`place/COUNT` with links to the first `count` files of a larger set."""
    target = place / str(count)
    if (target / ".done").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    for name in CLASSES:
        (target / name).mkdir(parents=True)
    for file in full.glob("*/*.*"):
        if int(file.stem) < count:
            os.link(file, target / file.parent.name / file.name)
    (target / ".done").touch()
    return target


def _smooth(random: np.random.Generator) -> np.ndarray:
    coarse = random.normal(0, 35, (6, 7, 3)).astype(np.float32)
    bands = [Image.fromarray(coarse[..., band]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for band in range(3)]
    return np.stack([np.asarray(band) for band in bands], -1) + random.normal(0, 4, (HEIGHT, WIDTH, 3)).astype(np.float32)


def _shape(name: str) -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] - np.array([HEIGHT / 2, WIDTH / 2])[:, None, None]
    radius = np.hypot(x, y)
    masks = {
        "circle": radius < 9,
        "ring": (radius < 11) & (radius > 7),
        "square": np.maximum(abs(x), abs(y)) < 8,
        "cross": (np.minimum(abs(x), abs(y)) < 3) & (np.maximum(abs(x), abs(y)) < 11),
    }
    return masks[name].astype(np.float32)


def fresh(command: Sequence[str]) -> dict[str, Any]:
    """One whole process with an empty cache, working in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        where = Path(place)
        found = measure(command, {"HEADSTART_CACHE": f"{place}/cache", "PYTHONPATH": str(ROOT / "src")}, where)
        told = last_json(found.pop("printed"))
        sizes = {file.name: file.stat().st_size for file in (where / "run").glob("*.json*")}
    kept = {name: told[name] for name in ("stages", "rows", "files", "usable", "near_distance") if name in told}
    groups = {"near_groups": len(told["near_duplicates"])} if "near_duplicates" in told else {}
    return {**found, **kept, **groups, **({"run_files": sizes} if sizes else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "headstart_large")
    parser.add_argument("--counts", default="10000,30000,100000")
    parser.add_argument("--repeat", type=int, default=0, help="the number under which the rows are filed")
    args = parser.parse_args()
    counts = sorted(int(count) for count in args.counts.split(","))
    table, full = Table("large", here=True), generate(args.place, counts[-1])
    rows: dict[str, list[dict[str, Any]]] = {}
    for count in counts:
        data = full if count == counts[-1] else subset(full, args.place, count)
        commands = {
            "stages": [sys.executable, "-c", STAGES, str(data)],
            "check": headstart("check", str(data), "--json"),
            "train": headstart("train", str(data), "--json", "--run", "run", "--backbone", "tiny", "--epochs", "1"),
        }
        for entrant, command in commands.items():
            row = table.once(entrant, f"{count} images", args.repeat, lambda: fresh(command))
            rows.setdefault(entrant, []).append(row)
    for entrant, found in rows.items():
        for kind in ("anon_mb", "peak_mb"):
            line = np.polyfit(counts, [row[kind] for row in found], 1) if len(counts) > 1 else (np.nan,)
            told = ", ".join(f"{count:,}: {row[kind]} MB" for count, row in zip(counts, found, strict=True))
            print(f"{entrant:7} {kind:8} {told}; {line[0] * 2**20:.0f} bytes an image")
        print(f"{entrant:7} seconds  " + ", ".join(f"{count:,}: {row['wall']}" for count, row in zip(counts, found, strict=True)))
    for stage in rows["stages"][-1]["stages"]:
        told = (f"{row['stages'][stage]['seconds']:8.2f}" for row in rows["stages"])
        print(f"{stage:14} seconds {' '.join(told)}")


if __name__ == "__main__":
    main()
