"""What step 2 is worth: test error and NLL of row 0 and of the kept row after so many minutes, on a part that nothing else reads.

    python benchmarks/quality.py NAME=FOLDER [NAME=FOLDER ...] [--seeds 3] [--minutes 3]

Each seed is a new split: 60 % train, 20 % choose the row, 20 % judge. Whole processes, one after another: the head alone, then
everything within the minutes. Rows already in results/quality.jsonl are not run again.
"""

import argparse
import math
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from harness import ROOT, Table, last_json, measure

ENTRANT = """
import json, sys, time
began = time.perf_counter() - time.process_time()
import headstart as hs
folder, run, seed, minutes = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
learn = hs.Learner(hs.image_folder(folder, valid=0.2, test=0.2, seed=seed), run=run, seed=seed, started=began)
learn = learn.fine_tune(minutes=minutes) if minutes else learn.fine_tune(0)
taken = time.perf_counter() - began
told = {name: value.value for name, value in learn.evaluate(part="test").items()}
print(json.dumps({"test": told, "n": len(learn.run.split().test), "taken": taken, "kept": learn.kept, "rows": learn.history}))
"""


def judged(folder: Path, seed: int, minutes: float, cache: Path) -> dict[str, Any]:
    """One whole process, with the figures of the kept row on the test part."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", ENTRANT, str(folder), f"{place}/run", str(seed), str(minutes)]
        found = measure(command, {"HEADSTART_CACHE": str(cache), "PYTHONPATH": str(ROOT / "src")}, Path(place))
    said = last_json(found.pop("printed"))
    return {**found, **said}


def main() -> None:
    """Runs what is missing, then prints the table of all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3.0)
    asked = parser.parse_args()
    table = Table("quality")
    folders = dict(each.split("=", 1) for each in asked.sets)
    pairs: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in folders}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(asked.seeds):
            for name, folder in folders.items():
                pair = []
                for minutes in (0.0, asked.minutes):
                    run = partial(judged, Path(folder), seed, minutes, Path(cache))
                    pair.append(table.once("headstart", f"{name}, {minutes:g} min", seed, run))
                pairs[name].append(pair)
    ratios = []
    for name, both in pairs.items():
        logs = [math.log(after["test"]["nll"] / before["test"]["nll"]) for before, after in both]
        ratios.append(statistics.mean(logs))
        wrong = [sum(round(row["test"]["error_rate"] * row["n"]) for row in rows) for rows in zip(*both, strict=True)]
        late = max(abs(after["taken"] - 60 * asked.minutes) for _, after in both)
        each = " ".join(f"{math.exp(log):.2f}" for log in logs)
        print(
            f"{name:12} NLL ratios {each}  errors {wrong[0]} -> {wrong[1]} of {sum(p['n'] for p, _ in both)}  off by {late:.1f} s"
        )
    print(f"geometric mean of the sets' NLL ratios: {math.exp(statistics.mean(ratios)):.3f}")


if __name__ == "__main__":
    main()
