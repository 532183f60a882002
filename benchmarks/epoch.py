"""One epoch of all layers, validation included: headstart against fastai at the same batch size, input size and augmentation.

    python benchmarks/epoch.py --peer-python PYTHON_WITH_FASTAI [--pairs 3] [--batch-size 64]

fastai: `unfreeze(); fit_one_cycle(1)` with `aug_transforms(size=224, min_scale=0.75)`; headstart: `--method fit --epochs 1
--augment light`, which draws the same changes. The seconds are those of the training call (fastai) and of the table's row
minus what came before it (headstart); whole-process figures stand beside them.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from first_model import fastai, ours, solar_cells
from harness import Table, ratio


def epoch(data: Path, cache: Path, batch_size: int) -> dict[str, Any]:
    """One process of headstart that trains one epoch after a solved head; `seconds` is the epoch's."""
    row = ours(data, cache, "--epochs", "1", "--batch-size", str(batch_size), "--augment", "light", "--keep", "last")
    first, last = row["rows"][0], row["rows"][-1]
    return {**row, "seconds": round(last["seconds"] - first["seconds"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--no-peer", action="store_true")
    args = parser.parse_args()
    table, size = Table("epoch"), str(args.batch_size)
    ours_, theirs = [], []
    with tempfile.TemporaryDirectory() as place:
        data, cache = solar_cells(Path(place) / "solar_cells"), Path(place) / "cache"
        for repeat in range(args.pairs):
            ours_.append(table.once("headstart", f"batch {size}", repeat, lambda: epoch(data, cache, args.batch_size)))
            if not args.no_peer:
                run = lambda: fastai(args.peer_python, data, 1, "--verb", "epoch", "--batch-size", size)
                theirs.append(table.once("fastai", f"batch {size}", repeat, run))
    print(
        "headstart, seconds:",
        statistics.median(row["seconds"] for row in ours_),
        "peak MB:",
        max(row["peak_mb"] for row in ours_),
    )
    if theirs:
        print("fastai / headstart:", ratio([row["seconds"] for row in theirs], [row["seconds"] for row in ours_]))


if __name__ == "__main__":
    main()
