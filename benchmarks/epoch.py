"""One epoch of all layers, validation included: headstart, a bare PyTorch loop and fastai at the same batch size and input size.

    python benchmarks/epoch.py --peer-python PYTHON_WITH_FASTAI [--pairs 3] [--batch-size 64] [--no-fastai] [--no-bare]

fastai: `unfreeze(); fit_one_cycle(1)` with `aug_transforms(size=224, min_scale=0.75)`; the bare loop (peers/bare_loop.py) is
what an expert would write, with the Python and torch that run headstart. headstart three times, all with `augment="light"`:
`fit(1)` with its fixed norms; the same with norms that learn, as both peers have them; and the epoch of `fine_tune(1)`, which
mixes images and solves the head again on the features of all images. All draw changes of the same kind. The seconds are those of
the training call (fastai), of the epoch (bare loop) and of the table's row minus what came before it (headstart); whole-process
figures stand beside them. The entrants take turns.
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from first_model import fastai, solar_cells
from harness import ROOT, Table, last_json, measure, ratio

SCRIPT = """
import json, sys
import headstart as hs

data, batch_size, changes = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
learn = hs.Learner(hs.image_folder(data), batch_size=batch_size, augment="light", keep="last").fine_tune(0)
getattr(learn, changes.pop("verb"))(1, **changes)
print(json.dumps({"rows": learn.history}))
"""
OURS = {
    "headstart": {"verb": "fit"},
    "headstart, norms learn": {"verb": "fit", "norms": "train"},
    "headstart fine_tune": {"verb": "fine_tune"},
}


def epoch(data: Path, cache: Path, batch_size: str, changes: dict[str, str]) -> dict[str, Any]:
    """One process of headstart that trains one epoch after a solved head; `seconds` is the epoch's."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", SCRIPT, str(data), batch_size, json.dumps(changes)]
        found = measure(command, {"HEADSTART_CACHE": str(cache), "PYTHONPATH": str(ROOT / "src")}, Path(place))
    first, last = last_json(found.pop("printed"))["rows"]
    seconds = round(last["seconds"] - first["seconds"], 2)
    return {**found, "error_rate": last["error_rate"], "nll": last["valid_loss"], "seconds": seconds}


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
    left_out = {name for name, asked in (("fastai", args.no_fastai), ("bare loop", args.no_bare)) if asked}
    with tempfile.TemporaryDirectory() as place:
        data, cache = solar_cells(Path(place) / "solar_cells"), Path(place) / "cache"
        peer = partial(fastai, args.peer_python, data, 1, "--verb", "epoch", "--batch-size", size)
        runs = {name: partial(epoch, data, cache, size, changes) for name, changes in OURS.items()}
        runs |= {"bare loop": partial(bare, data, size), "fastai": peer}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in runs if name not in left_out}
        for repeat in range(args.pairs):
            for entrant, found in rows.items():
                found.append(table.once(entrant, f"batch {size}", repeat, runs[entrant]))
    seconds = {entrant: [row["seconds"] for row in found] for entrant, found in rows.items()}
    for entrant, found in seconds.items():
        print(f"{entrant:22} median {statistics.median(found)} s, peak {max(row['peak_mb'] for row in rows[entrant])} MB")
    for peer_name in (name for name in seconds if name not in OURS):
        for name in OURS:
            print(f"{peer_name} / {name}: {ratio(seconds[peer_name], seconds[name])}")


if __name__ == "__main__":
    main()
