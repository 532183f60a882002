"""Photographs of 12 megapixels: five epochs over them with headstart and with fastai's documented recipe, as whole processes.

    python benchmarks/camera.py --peer-python PYTHON_WITH_FASTAI [--place FOLDER] [--count 2000] [--pairs 1] [--no-peer]

The photographs (4000 x 3000, JPEG of quality 92, some 3 MB each, two classes) are generated under FOLDER and used again if
they are there: 40 scenes of smooth fields and grain, varied by place, mirroring and brightness, with a round or an angular
thing in each. headstart: `train --epochs 5`, its cache empty. fastai: `fine_tune(5)` with the transforms of its
documentation. Rows already in results/camera.jsonl are not run again. `--decode` only times decoding, in this process.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from first_model import fastai, ours
from harness import Table, ratio
from PIL import Image

WIDTH, HEIGHT, SCENES, MARGIN = 4000, 3000, 40, 200
CLASSES = ("angular", "round")


def generate(place: Path, count: int) -> Path:
    """`place/COUNT/{train,valid}/<class>`, a fifth of it for validation; made if it is not there."""
    target = place / str(count)
    if (target / ".done").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    for part in ("train", "valid"):
        for name in CLASSES:
            (target / part / name).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for scene in range(SCENES):
            base = _scene(scene)
            list(pool.map(partial(_photograph, target, base), range(scene, count, SCENES)))
    (target / ".done").touch()
    return target


def _scene(seed: int) -> np.ndarray:
    """Smooth fields of three scales and the grain of a sensor, larger than a photograph by a margin."""
    random, size = np.random.default_rng(seed), (WIDTH + MARGIN, HEIGHT + MARGIN)
    fields = np.full((size[1], size[0], 3), 120, np.float32)
    for cells, strength in ((5, 45), (40, 20), (400, 10)):
        coarse = random.normal(0, strength, (cells, cells * 4 // 3, 3)).astype(np.float32)
        for band in range(3):
            fields[..., band] += np.asarray(Image.fromarray(coarse[..., band]).resize(size, Image.Resampling.BICUBIC))
    grain = random.normal(0, 5, (size[1], size[0])).astype(np.float32)
    return (fields + grain[..., None]).clip(0, 255).astype(np.uint8)


def _photograph(target: Path, scene: np.ndarray, number: int) -> None:
    random = np.random.default_rng((7, number))
    top, left = random.integers(0, MARGIN, 2)
    picture = scene[top : top + HEIGHT, left : left + WIDTH].copy()
    if random.random() < 0.5:
        picture = picture[:, ::-1].copy()
    label = int(random.integers(2))
    side = int(random.integers(300, 700))
    y, x = (int(random.integers(side, limit - side)) for limit in (HEIGHT, WIDTH))
    rows, columns = np.mgrid[-side:side, -side:side]
    mask = np.hypot(rows, columns) < side if label else np.maximum(abs(rows), abs(columns)) < 0.87 * side
    part = picture[y - side : y + side, x - side : x + side]
    colour = random.integers(0, 256, 3)
    part[mask] = (0.35 * part[mask] + 0.65 * colour).astype(np.uint8)
    table = (np.arange(256) * random.uniform(0.75, 1.2)).clip(0, 255).astype(np.uint8)
    where = target / ("valid" if number % 5 == number // SCENES % 5 else "train") / CLASSES[label]
    Image.fromarray(table[picture]).save(where / f"{number:05d}.jpg", quality=92)


def decode_times(files: list[Path]) -> dict[str, float]:
    """Milliseconds a photograph, from file to stored pixels: on one thread and on two, and what reading the file alone takes."""
    from headstart.modalities import image
    from headstart.modalities.image import Images

    geometry = Images(224, 256, (0.5,) * 3, (0.5,) * 3)
    ways: dict[str, tuple[Callable[[Path], Any], int]] = {
        "read": (Path.read_bytes, 1),
        "decode, 1 thread": (lambda file: image.read(file, geometry), 1),
        "decode, 2 threads": (lambda file: image.read(file, geometry), 2),
        "decode at full size, 1 thread": (lambda file: Image.open(file).convert("RGB").load(), 1),
    }
    found = {}
    for name, (way, threads) in ways.items():
        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            list(pool.map(way, files))
            found[name] = round(1000 * (time.perf_counter() - started) / len(files), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "headstart_camera")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true", help="headstart alone")
    parser.add_argument("--decode", action="store_true")
    args = parser.parse_args()
    data, table = generate(args.place, args.count), Table("camera", here=True)
    if args.decode:
        print(decode_times(sorted(data.glob("*/*/*.jpg"))[:40]))
        return
    case, rows = f"{args.count} photographs, {args.epochs} epochs", {"headstart": [], "fastai": []}
    for repeat in range(args.pairs):
        with tempfile.TemporaryDirectory() as cache:
            run = partial(ours, data, Path(cache), "--epochs", str(args.epochs))
            rows["headstart"].append(table.once("headstart", case, repeat, run))
        if not args.no_peer:
            run = partial(fastai, args.peer_python, data, args.epochs)
            rows["fastai"].append(table.once("fastai", case, repeat, run))
    for entrant, found in rows.items():
        for row in found:
            print(f"{entrant:10} wall {row['wall']} s, peak {row['peak_mb']} MB, error rate {row['error_rate']:.3f}")
    if rows["fastai"]:
        walls = ([row["wall"] for row in rows[entrant]] for entrant in ("fastai", "headstart"))
        print("fastai / headstart, wall:", ratio(*walls))


if __name__ == "__main__":
    main()
