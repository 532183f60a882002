"""Whether promises are kept on real images: risks of answers, and coverage of sets, when the images that they are made from are drawn anew.

    python benchmarks/promises.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...] [--seeds 3]
        [--posteriors temperature laplace hmc] [--splits 200] [--small 60 120 250 500] [--draws 40] [--peer-python PYTHON] [--report]

The head is solved on the train part, its posterior calibrated on the valid part; the test part is divided at random, so many times, into n images
that promises are made from (20, 50, 100, and half of all) and the rest, on which they are judged. `answer`: how often the share of wrong
answers among those promised at a risk of .05 is above .05 on the rest: it may be in one of ten (the confidence of 90 % is over the draw of the
n). A share on finitely many images is above .05 more often than the risk that it estimates, so beside it stands how often it is above by more
than chance (a one-sided binomial test at .05 with the images of the rest). Sets at .1: mean coverage against the law,
ceil((n + 1) .9) / (n + 1) at least and at most 1 / (n + 1) more but for ties and the most probable class, which is always in; with its standard
error over draws.

`--small`: so many labelled images in all, a fifth of them for validation, drawn anew each time from the whole set (its features as numbers, so
that only a head is trained); judged on all others. Promises by the validation images alone against those that stand on training images too
(`learner/crossed.py`), on the same draws. Rows already in results/promises.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from scipy import special
from sets import Divided, arguments, available, divided, files_in, parse_folders
from suggest import features

from headstart.learner import crossed
from headstart.seeds import numpy_generator
from headstart.tasks._promises import Promises

Row = dict[str, Any]
RISK, ALPHA = 0.05, 0.1
ALONE, BOTH = "validation images alone", "and training images"


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
    found = []
    for split in range(splits):
        order = numpy_generator(split, "promises").permutation(len(probs))
        chosen, rest = order[:n], order[n:]
        found.append(kept(Promises.of(probs[chosen], truths[chosen]), probs[rest], truths[rest]))
    return {**together(found), "law": min(1.0, math.ceil((n + 1) * (1 - ALPHA)) / (n + 1))}


def kept(made: Promises, probs: np.ndarray, truths: np.ndarray) -> Row:
    """What came of these promises on other images."""
    threshold, least, rows = made.threshold(RISK), made.least(ALPHA), np.arange(len(probs))
    inside = np.ones_like(probs, bool) if least is None else probs >= least
    inside[rows, probs.argmax(1)] = True
    sets = {"coverage": float(inside[rows, truths].mean()), "size": float(inside.sum(1).mean())}
    count = 0 if threshold is None else int((probs.max(1) >= threshold).sum())
    if not count:
        return {**sets, "promised": False}
    wrong = int((probs.argmax(1) != truths)[probs.max(1) >= threshold].sum())
    beyond = wrong > 0 and special.bdtrc(wrong - 1, count, RISK) < 0.05
    return {**sets, "promised": True, "above": wrong / count > RISK, "beyond_chance": beyond, "answered": count / len(probs)}


def together(found: Sequence[Row]) -> Row:
    """Counts and means over draws."""
    made = [one for one in found if one["promised"]]
    coverage = [one["coverage"] for one in found]
    return {
        "promised": len(made),
        "above": sum(int(one["above"]) for one in made),
        "beyond_chance": sum(int(one["beyond_chance"]) for one in made),
        "answered": float(np.mean([one["answered"] for one in made])) if made else None,
        "coverage": float(np.mean(coverage)),
        "error": float(np.std(coverage) / len(found) ** 0.5),
        "size": float(np.mean([one["size"] for one in found])),
        "splits": len(found),
    }


# ------------------------------------------------------------------------------------------------------------- small sets


def run_small(table: Table, split: Divided, asked: argparse.Namespace) -> None:
    """Whatever is missing of small sets drawn from one set."""
    same = {"case": f"{split.name}, few labels", "repeat": 0, "split": split.digest}
    if not asked.small or all(table.kept(name, **same) for name in (ALONE, BOTH)):
        return
    data = features(split)
    rows = np.concatenate([data[part][0] for part in ("pool", "test")])
    truths = np.concatenate([data[part][1] for part in ("pool", "test")])
    for name, few in ((ALONE, 0), (BOTH, crossed.FEW)):
        with patch.object(crossed, "FEW", few):
            table.tried(name, run=partial(by_size, rows, truths, asked), **same)


def by_size(rows: np.ndarray, truths: np.ndarray, asked: argparse.Namespace) -> Row:
    """What came of the promises of so many draws at each size."""
    found: dict[int, list[Row]] = {n: [] for n in asked.small}
    for n in asked.small:
        for draw in range(asked.draws):
            order = numpy_generator(draw, "few labels").permutation(len(rows))
            chosen, rest = order[:n], order[n:]
            if len(np.unique(truths[chosen])) == len(np.unique(truths)):
                found[n].append(drawn(rows, truths, chosen, rest, draw))
    return {"n": len(rows), "by_n": {str(n): {**together(each), "law": 1 - ALPHA} for n, each in found.items() if each}}


def drawn(rows: np.ndarray, truths: np.ndarray, chosen: np.ndarray, rest: np.ndarray, draw: int) -> Row:
    """A head on these images, and what came of its promises on the rest."""
    import headstart as hs

    labels = [f"{truth:03d}" for truth in truths[chosen]]
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(hs.from_arrays(rows[chosen], labels, seed=draw), observer=Quiet(), seed=draw, run=Path(folder) / "run")
        learn.fine_tune(0)
        answering = learn.posterior()
        probs = np.array([one.values for one in answering.predict(rows[rest])])
    assert answering.fitted is not None
    return kept(answering.fitted.task.promises, probs, truths[rest])


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
    parser.add_argument("--small", type=int, nargs="*", default=[], metavar="N")
    parser.add_argument("--draws", type=int, default=40)
    asked = parser.parse_args()
    stoppable()
    table = Table("promises", asked.results)
    if not asked.report:
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items():
            for seed in range(asked.seeds):
                run_set(table, divided(name, read, seed), asked)
            run_small(table, divided(name, read, 0), asked)
    print(report(table.rows()))


if __name__ == "__main__":
    main()
