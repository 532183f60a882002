"""Whether promises are kept on real images: risks of answers, and coverage of sets, when the images that they are made from are drawn anew.

    python benchmarks/promises.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...] [--seeds 3]
        [--posteriors temperature laplace hmc] [--splits 200] [--peer-python PYTHON] [--report]

The head is solved on the train part, its posterior calibrated on the valid part; the test part is divided at random, so many times, into n images
that promises are made from (20, 50, 100, and half of all) and the rest, on which they are judged. `answer`: how often the share of wrong
answers among those promised at a risk of .05 is above .05 on the rest: it may be in one of ten (the confidence of 90 % is over the draw of the
n). A share on finitely many images is above .05 more often than the risk that it estimates, so beside it stands how often it is above by more
than chance (a one-sided binomial test at .05 with the images of the rest). Sets at .1: mean coverage against the law,
ceil((n + 1) .9) / (n + 1) at least and at most 1 / (n + 1) more but for ties and the most probable class, which is always in; with its standard
error over draws. Rows already in results/promises.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from scipy import special
from sets import Divided, arguments, available, divided, files_in, parse_folders

from headstart.seeds import numpy_generator
from headstart.tasks._promises import Promises

Row = dict[str, Any]
RISK, ALPHA = 0.05, 0.1


def run_set(table: Table, split: Divided, asked: argparse.Namespace) -> None:
    """Whatever is missing of one set and seed."""
    import headstart as hs

    same = {"case": split.name, "repeat": split.seed, "split": split.digest}
    if all(table.kept(name, **same) for name in asked.posteriors):
        return
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(hs.image_folder(split.folder), observer=Quiet(), seed=split.seed, run=Path(folder) / "run").fine_tune(
            0
        )
        for name in asked.posteriors:
            table.tried(name, run=lambda name=name: judged(learn, split.test, name, asked.splits), **same)


def judged(learn: Any, test: Path, name: str, splits: int) -> Row:
    """Both promises at each n."""
    files = files_in(test)
    said = learn.posterior(name).predict([str(file) for file in files])
    probs = np.array([one.values for one in said])
    truths = np.array([learn.task.names.index(file.parent.name) for file in files])
    return {
        "n": len(files),
        "by_n": {str(n): _at(probs, truths, n, splits) for n in sorted({20, 50, 100, len(files) // 2}) if n < len(files)},
    }


def _at(probs: np.ndarray, truths: np.ndarray, n: int, splits: int) -> Row:
    promised = above = beyond = 0
    coverage, sizes, answered = [], [], []
    for split in range(splits):
        order = numpy_generator(split, "promises").permutation(len(probs))
        chosen, rest = order[:n], order[n:]
        made = Promises.of(probs[chosen], truths[chosen])
        threshold = made.threshold(RISK)
        best, right = probs[rest].max(1), probs[rest].argmax(1) == truths[rest]
        if threshold is not None and (count := int((best >= threshold).sum())):
            wrong = int((~right[best >= threshold]).sum())
            promised += 1
            above += int(wrong / count > RISK)
            beyond += int(wrong > 0 and special.bdtrc(wrong - 1, count, RISK) < 0.05)
            answered.append(count / len(rest))
        least = made.least(ALPHA)
        inside = np.ones_like(probs[rest], bool) if least is None else probs[rest] >= least
        inside[np.arange(len(rest)), probs[rest].argmax(1)] = True
        coverage.append(float(inside[np.arange(len(rest)), truths[rest]].mean()))
        sizes.append(float(inside.sum(1).mean()))
    law = min(1.0, math.ceil((n + 1) * (1 - ALPHA)) / (n + 1))
    return {
        "promised": promised,
        "above": above,
        "beyond_chance": beyond,
        "answered": float(np.mean(answered)) if answered else None,
        "coverage": float(np.mean(coverage)),
        "error": float(np.std(coverage) / splits**0.5),
        "law": law,
        "size": float(np.mean(sizes)),
        "splits": splits,
    }


def report(rows: Sequence[Row]) -> str:
    """A line for each set, posterior and n, over the seeds."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        for name in dict.fromkeys(row["entrant"] for row in rows):
            found = [row for row in rows if row["case"] == case and row["entrant"] == name]
            for n in sorted({int(n) for row in found for n in row["by_n"]}):
                each = [row["by_n"][str(n)] for row in found if str(n) in row["by_n"]]
                total, made = sum(one["splits"] for one in each), sum(one["promised"] for one in each)
                shares = [f"{sum(one[key] for one in each) / total:.3f}" for key in ("above", "beyond_chance")]
                said = [one["answered"] for one in each if one["answered"] is not None]
                cover = [np.mean([one[key] for one in each]) for key in ("coverage", "error", "law", "size")]
                lines.append(
                    [
                        case,
                        name,
                        n,
                        len(each),
                        f"{made / total:.2f}",
                        *shares,
                        f"{np.mean(said):.2f}" if said else "-",
                        f"{cover[0]:.3f} ({cover[1]:.3f})",
                        f"{cover[2]:.3f}",
                        f"{cover[3]:.2f}",
                    ]
                )
    heading = ["set", "posterior", "n", "seeds", "promised in", "wrong above .05 in", "by more than chance", "answered"]
    return markdown([*heading, "sets cover (s.e.)", "law", "mean size"], lines)


def main() -> None:
    """Runs what is missing, then shows the table."""
    parser = arguments(__doc__)
    parser.add_argument("--posteriors", nargs="+", default=["temperature", "laplace"])
    parser.add_argument("--splits", type=int, default=200)
    asked = parser.parse_args()
    stoppable()
    table = Table("promises", asked.results)
    if not asked.report:
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items():
            for seed in range(asked.seeds):
                run_set(table, divided(name, read, seed), asked)
    print(report(table.rows()))


if __name__ == "__main__":
    main()
