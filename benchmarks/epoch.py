"""One epoch of all layers, validation included: headstart, a bare PyTorch loop and fastai at the same batch size and input size.

    python benchmarks/epoch.py --peer-python PYTHON_WITH_FASTAI [--pairs 3] [--batch-size 64] [--no-fastai] [--no-bare]

fastai: `unfreeze(); fit_one_cycle(1)` with `aug_transforms(size=224, min_scale=0.75)`; the bare loop (peers/bare_loop.py) is
what an expert would write, with the Python and torch that run headstart; headstart: `--epochs 1 --augment light`. All draw
changes of the same kind. The seconds are those of the training call (fastai), of the epoch (bare loop) and of the table's row
minus what came before it (headstart); whole-process figures stand beside them. The three take turns.
"""

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from first_model import fastai, ours, solar_cells
from harness import ROOT, Table, last_json, measure, ratio


def epoch(data: Path, cache: Path, batch_size: int) -> dict[str, Any]:
    """One process of headstart that trains one epoch after a solved head; `seconds` is the epoch's."""
    row = ours(data, cache, "--epochs", "1", "--batch-size", str(batch_size), "--augment", "light", "--keep", "last")
    first, last = row["rows"][0], row["rows"][-1]
    return {**row, "seconds": round(last["seconds"] - first["seconds"], 2)}


def bare(data: Path, batch_size: str) -> dict[str, Any]:
    """One whole process of the bare loop."""
    script = ROOT / "benchmarks/peers/bare_loop.py"
    command = [sys.executable, str(script), str(data / "train"), str(data / "valid"), "1", "--verb", "epoch"]
    found = measure([*command, "--batch-size", batch_size])
    said = last_json(found.pop("printed"))
    return {**found, **{key: said[key] for key in ("error_rate", "nll", "seconds", "precision")}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--no-fastai", action="store_true")
    parser.add_argument("--no-bare", action="store_true")
    args = parser.parse_args()
    table, size = Table("epoch", here=True), str(args.batch_size)
    rows: dict[str, list[dict[str, Any]]] = {"headstart": [], "bare loop": [], "fastai": []}
    with tempfile.TemporaryDirectory() as place:
        data, cache = solar_cells(Path(place) / "solar_cells"), Path(place) / "cache"
        peer = partial(fastai, args.peer_python, data, 1, "--verb", "epoch", "--batch-size", size)
        runs = {"headstart": partial(epoch, data, cache, args.batch_size), "bare loop": partial(bare, data, size), "fastai": peer}
        left_out = {name for name, asked in (("fastai", args.no_fastai), ("bare loop", args.no_bare)) if asked}
        for repeat in range(args.pairs):
            for entrant in (name for name in runs if name not in left_out):
                rows[entrant].append(table.once(entrant, f"batch {size}", repeat, runs[entrant]))
    seconds = {entrant: [row["seconds"] for row in found] for entrant, found in rows.items() if found}
    for entrant, found in seconds.items():
        peak = max(row["peak_mb"] for row in rows[entrant])
        print(f"{entrant:10} median {statistics.median(found)} s, peak {peak} MB")
        if entrant != "headstart":
            print(f"{entrant} / headstart: {ratio(found, seconds['headstart'])}")


if __name__ == "__main__":
    main()
