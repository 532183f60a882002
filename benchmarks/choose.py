"""Whether what `headstart choose` says of backbones is so: its two figures against the loss of each one's head on images held out.

    python benchmarks/choose.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...] [--seeds 1]
        [--candidates tf_efficientnet_lite0@224 ...] [--peer-python PYTHON] [--report]

The figures are of the train and valid parts of each split; the loss is that of the test part, by the head that a training with this backbone
solves (row 0). Told are rank correlations (Spearman's) over the candidates, whether the first is the best, and what choosing costs: seconds
for each candidate against the seconds of its features alone. Rows already in results/choose.jsonl are not run again; `--report` runs nothing.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from scipy import stats
from sets import Divided, arguments, divisions

Row = dict[str, Any]
CANDIDATES = (
    *(f"tf_efficientnet_lite0@{size}" for size in (96, 160, 224, 288)),
    *(f"tf_efficientnet_lite1@{size}" for size in (160, 240)),
    *(f"tf_efficientnet_lite2@{size}" for size in (160, 260)),
)


def run_one(split: Divided, candidate: str) -> Row:
    """What is promised of a backbone, and what its head does."""
    import headstart as hs

    backbone, size = candidate.split("@")
    data = hs.image_folder(split.folder)
    found = hs.choose(data, [backbone], [int(size)], observer=Quiet()).best
    if found.error is not None:
        raise RuntimeError(found.error)
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(data, backbone=backbone, size=int(size), observer=Quiet(), run=Path(folder) / "run").fine_tune(0)
        test = learn.evaluate(part="test", posterior="none")
    return {
        "left_out": found.left_out,
        "evidence": found.evidence,
        "error_left_out": found.figures["error_rate"].value,
        "test": {name: one.value for name, one in test.items()},
        "n": test["nll"].n if "nll" in test else None,
        "seconds": round(found.seconds, 2),
        "million": found.parameters / 1e6,
    }


def report(rows: Sequence[Row]) -> str:
    """Rank correlations by set and seed."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        for seed in sorted({row["repeat"] for row in rows if row["case"] == case}):
            found = [row for row in rows if row["case"] == case and row["repeat"] == seed]
            truth = np.array([row["test"]["nll"] for row in found])
            left, evidence = np.array([row["left_out"] for row in found]), np.array([-row["evidence"] for row in found])
            ranks = [stats.spearmanr(figure, truth).statistic for figure in (left, evidence)]
            regret = [truth[figure.argmin()] - truth.min() for figure in (left, evidence)]
            lines.append(
                [
                    case,
                    seed,
                    len(found),
                    *(f"{rank:.2f}" for rank in ranks),
                    *(f"{lost:.3f}" for lost in regret),
                    f"{truth.min():.3f}-{truth.max():.3f}",
                    found[int(left.argmin())]["entrant"],
                    found[int(truth.argmin())]["entrant"],
                ]
            )
    heading = [
        "set",
        "seed",
        "candidates",
        "rank correlation: left out",
        "evidence",
        "lost by taking the first: left out",
        "evidence",
    ]
    return markdown([*heading, "test NLL", "first", "best"], lines)


def main() -> None:
    """Runs what is missing, then shows the table."""
    parser = arguments(__doc__, seeds=1)
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    asked = parser.parse_args()
    stoppable()
    table = Table("choose", asked.results)
    if not asked.report:
        for split in divisions(asked):
            for candidate in asked.candidates:
                same = {"case": split.name, "repeat": split.seed, "split": split.digest}
                table.tried(candidate, run=partial(run_one, split, candidate), **same)
    print(report(table.rows()))


if __name__ == "__main__":
    main()
