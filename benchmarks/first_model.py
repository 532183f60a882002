"""Cold process to a saved, usable model: headstart's solved head against fastai's `fine_tune(1)` on the same files.

    python benchmarks/first_model.py --peer-python PYTHON_WITH_FASTAI [--pairs 3] [--peer-epochs 1] [--five]

Whole processes, alternating: headstart cold (its cache empty), headstart warm, fastai. The files are the solar cells of
elpv-dataset with the split that the demo uses. `--five` adds one run of fastai's `fine_tune(5)`, for the error it reaches.
Rows already in results/first_model.jsonl are not run again.
"""

import argparse
import csv
import shutil
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import ROOT, Table, headstart, last_json, measure, ratio


def solar_cells(target: Path) -> Path:
    """A folder with train/<class> and valid/<class>, as the demo divides the cells."""
    spec = find_spec("elpv_dataset")
    assert spec is not None and spec.origin is not None, "pip install elpv-dataset"
    source = Path(spec.origin).parent / "data"
    with (ROOT / "src/headstart/cli/solar_cells.csv").open() as file:
        for row in csv.DictReader(file):
            folder = target / ("valid" if row["is_valid"] == "1" else "train") / row["label"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / row["image"], folder)
    return target


def ours(data: Path, cache: Path, *options: str) -> dict[str, Any]:
    """One whole process of `headstart train`, with the figures of the kept row."""
    with tempfile.TemporaryDirectory() as place:
        command = headstart("train", str(data), "--json", "--run", f"{place}/run", *options)
        found = measure(command, {"HEADSTART_CACHE": str(cache)})
        summary = last_json(found.pop("printed"))
        kept = next(row for row in summary["rows"] if row["epoch"] == summary["kept"])
        return {
            **found,
            "error_rate": kept["error_rate"],
            "nll": kept["valid_loss"],
            "rows": summary["rows"],
            "kept": summary["kept"],
        }


def fastai(python: str, data: Path, epochs: int, *options: str) -> dict[str, Any]:
    """One whole process of the peer."""
    script = ROOT / "benchmarks/peers/fastai_fine_tune.py"
    with tempfile.TemporaryDirectory() as place:
        found = measure([python, str(script), str(data / "train"), str(data / "valid"), str(epochs), *options], cwd=Path(place))
    said = last_json(found.pop("printed"))
    return {**found, "error_rate": said["error_rate"], "nll": said["nll"], "seconds": said["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--five", action="store_true")
    parser.add_argument("--no-peer", action="store_true", help="headstart alone")
    args = parser.parse_args()
    table = Table("first_model", here=True)
    with tempfile.TemporaryDirectory() as place:
        data = solar_cells(Path(place) / "solar_cells")
        rows: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": [], "fastai": []}
        for repeat in range(args.pairs):
            cache = Path(place) / f"cache{repeat}"
            rows["cold"].append(table.once("headstart", "head alone, cold", repeat, lambda: ours(data, cache, "--epochs", "0")))
            if not cache.exists():
                ours(data, cache, "--epochs", "0")
            rows["warm"].append(table.once("headstart", "head alone, warm", repeat, lambda: ours(data, cache, "--epochs", "0")))
            if not args.no_peer:
                rows["fastai"].append(table.once("fastai", "fine_tune(1)", repeat, lambda: fastai(args.peer_python, data, 1)))
        if args.five:
            table.once("fastai", "fine_tune(5)", 0, lambda: fastai(args.peer_python, data, 5))
    for case in ("cold", "warm", "fastai"):
        if rows[case]:
            middle = {
                key: statistics.median(row[key] for row in rows[case]) for key in ("wall", "cpu", "peak_mb", "error_rate", "nll")
            }
            print(case, middle)
    if rows["fastai"]:
        print(
            "fastai / headstart cold, wall:",
            ratio([row["wall"] for row in rows["fastai"]], [row["wall"] for row in rows["cold"]]),
        )


if __name__ == "__main__":
    main()
