"""What choosing what to label is worth: labels needed by each rule, from two of each class on, on features of the default backbone.

    python benchmarks/suggest.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...] [--seeds 10]
        [--rules random epig logdet ...] [--batch 10] [--most 400] [--peer-python PYTHON] [--report]

The training part of each split (train and valid of `sets.py` together) is the pool, of which two examples of each class have a label; the
test part judges. After each batch of labels the head is solved again, its posterior fitted (there is no validation part: its usual
width), and the rule picks the next batch. "random" is what every rule must beat; "baal_bald" and "baal_batch_bald" are the rules of
baal (a peer, where it is installed in this environment) on the same draws of the same posterior. Every entrant of a set and seed starts from the
same labels. Rows already in results/suggest.jsonl are not run again; `--report` runs nothing.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from harness import Table, stoppable
from jaxtyping import Float, Int
from paired import markdown
from sets import Divided, arguments, available, divided, parse_folders

from headstart import plugins
from headstart.acquisitions._pool import Pool
from headstart.data._steps import exhausted
from headstart.posteriors import laplace
from headstart.posteriors._problem import Labelled, Problem
from headstart.seeds import numpy_generator
from headstart.tasks.single_label import SingleLabel
from headstart.train.head_solve import solve_softmax

Row = dict[str, Any]
RANDOM = "random"
RULES = (RANDOM, "unsure", "cover", "epig", "logdet", "batch_bald", "bald", "entropy")
PEERS = ("baal_bald", "baal_batch_bald")
EACH = 2
"""Labels of each class to start with."""
ENOUGH = 0.95
"""Of the accuracy with all labels."""
DRAWS = 512


def features(split: Divided) -> dict[str, Any]:
    """Features and classes of the pool and of the test part."""
    import headstart as hs

    found: dict[str, Any] = {}
    for part, folders in (("pool", (split.train, split.valid)), ("test", (split.test,))):
        rows, names = [], []
        for folder in folders:
            learn = hs.Learner(hs.image_folder(folder, valid=0.5))
            begun = exhausted(learn._session._beginning(True))
            targets = {record.id: record.target for record in begun.dataset.records}
            usable = [place for place, name in enumerate(begun.store.ids) if name in begun.audit.usable()]
            rows.append(begun.features.rows[usable])
            names += [targets[begun.store.ids[place]] for place in usable]
            begun.store.close()
        found[part] = np.concatenate(rows), names
    classes = sorted(set(found["pool"][1]))
    return {"classes": classes} | {
        part: (rows, np.array([classes.index(name) for name in names])) for part, (rows, names) in found.items()
    }


class Course:
    """A head that learns from ever more labels of a pool."""

    def __init__(self, data: dict[str, Any], seed: int) -> None:
        self.task = SingleLabel(tuple(data["classes"]))
        (self.rows, self.truths), (self.test, self.test_truths) = data["pool"], data["test"]
        draw = numpy_generator(seed, "suggest", "first labels")
        order = draw.permutation(len(self.rows))
        self.labelled: list[int] = [int(i) for c in range(len(data["classes"])) for i in order[self.truths[order] == c][:EACH]]

    def solve(self, places: Sequence[int]) -> tuple[float, float]:
        """(error, NLL) of the test part with these labels; the head is kept."""
        self.solved = solve_softmax(self.rows[places], self.truths[places], len(self.task.classes))
        said = torch.from_numpy(self.test @ self.solved.weight.T + self.solved.bias)
        truths = torch.from_numpy(self.test_truths)
        losses = self.task.loss(said, truths)
        return float((said.argmax(1) != truths).double().mean()), float(losses.double().mean())

    def pool(self, left: Int[np.ndarray, " left"]) -> Pool:
        """What is not labelled yet, as the head that was solved last sees it."""
        rows, known = self.rows[self.labelled], self.truths[self.labelled]
        learned = Labelled(torch.from_numpy(rows), self._said(rows), torch.from_numpy(known))
        posterior = laplace.fit(Problem(self.task, learned, learned.some(0), self.solved.precision, len(rows)))
        given, said = torch.from_numpy(self.rows[left]), self._said(self.rows[left])
        return Pool(self.task, self.rows[left], posterior.outputs(given, said), posterior.together(given, said, DRAWS), rows)

    def _said(self, rows: Float[np.ndarray, "batch features"]) -> torch.Tensor:
        return torch.from_numpy((rows @ self.solved.weight.T + self.solved.bias).astype(np.float32))


def run_one(data: dict[str, Any], rule: str, seed: int, batch: int, most: int) -> Row:
    """The errors after each batch."""
    course, spent = Course(data, seed), 0.0
    error, _ = course.solve(range(len(course.rows)))
    goal = ENOUGH * (1 - error)
    pick, draw, curve = picker(rule), numpy_generator(seed, "suggest", rule), []
    while True:
        curve.append([len(course.labelled), *(round(value, 5) for value in course.solve(course.labelled))])
        left = np.setdiff1d(np.arange(len(course.rows)), course.labelled)
        if len(course.labelled) >= most or not len(left):
            break
        started = time.perf_counter()
        chosen = draw.permutation(len(left))[:batch] if rule == RANDOM else pick(course.pool(left), min(batch, len(left)))
        spent += time.perf_counter() - started
        course.labelled += left[chosen].tolist()
    return {
        "all": {"labels": len(course.rows), "error": error},
        "needed": next((labels for labels, wrong, _ in curve if 1 - wrong >= goal), None),
        "mean_error": statistics.mean(wrong for _, wrong, _ in curve),
        "seconds_each": round(spent / max(1, len(curve) - 1), 3),
        "curve": curve,
    }


def picker(rule: str) -> Callable[[Pool, int], Sequence[int]]:
    """Places in a pool by a rule of ours, or of baal."""
    if rule not in PEERS:
        return lambda pool, count: plugins.find("acquisitions", rule).pick(pool, count).places

    def by_baal(pool: Pool, count: int) -> Sequence[int]:
        from baal.active import heuristics

        shares = pool.task.answer_probabilities(pool.together).permute(1, 2, 0).numpy().astype(np.float32)
        made = heuristics.BALD() if rule == "baal_bald" else heuristics.BatchBALD(num_samples=count)
        return np.asarray(made(shares))[:count]

    return by_baal


def report(rows: Sequence[Row], rules: Sequence[str]) -> str:
    """Medians over seeds: labels needed, the mean error over all budgets, and how much worse than random at the worst budget."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        by = {(row["entrant"], row["repeat"]): row for row in rows if row["case"] == case}
        for rule in rules:
            both = [(by[rule, seed], by[RANDOM, seed]) for name, seed in by if name == rule and (RANDOM, seed) in by]
            if not both:
                continue
            # who never got there is counted as needing one more than was given
            needed, base = ([one["needed"] or one["curve"][-1][0] + 1 for one in some] for some in zip(*both))
            saved = 1 - statistics.median(needed) / statistics.median(base)
            errors = [100 * (one["mean_error"] - other["mean_error"]) for one, other in both]
            gaps = np.mean(
                [[a[1] - b[1] for a, b in zip(one["curve"], other["curve"], strict=True)] for one, other in both], axis=0
            )
            failed = sum(one["needed"] is None for one, _ in both)
            spread = f"{min(needed)}-{max(needed)}{f', {failed} never' if failed else ''}"
            lines.append(
                [
                    case,
                    rule,
                    len(both),
                    f"{statistics.median(needed):g} ({spread})",
                    f"{100 * saved:.0f} %",
                    f"{statistics.mean(errors):+.2f}",
                    f"{100 * gaps.max():+.2f}",
                    f"{statistics.median(one['seconds_each'] for one, _ in both):.2f}",
                ]
            )
    return markdown(
        [
            "set",
            "rule",
            "seeds",
            "labels needed, median (least-most)",
            "saved",
            "mean error less random's, points",
            "worst budget",
            "seconds each",
        ],
        lines,
    )


def main() -> None:
    """Runs what is missing, then shows the table."""
    parser = arguments(__doc__, seeds=10)
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--most", type=int, default=400)
    asked = parser.parse_args()
    stoppable()
    table = Table("suggest", asked.results)
    if not asked.report:
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items():
            split = divided(name, read, 0)
            data = None
            for seed in range(asked.seeds):
                same = {"case": f"{name} by {asked.batch}", "repeat": seed, "split": split.digest}
                for rule in asked.rules:
                    if table.kept(rule, **same):
                        continue
                    data = features(split) if data is None else data
                    table.tried(
                        rule,
                        run=lambda data=data, rule=rule, seed=seed: run_one(data, rule, seed, asked.batch, asked.most),
                        **same,
                    )
    print(report(table.rows(), (*RULES, *PEERS)))


if __name__ == "__main__":
    main()
