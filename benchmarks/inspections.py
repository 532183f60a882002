"""Whether inspections find what was planted in real data.

    python benchmarks/inspections.py --data cats_dogs=FOLDER --data trashnet=FOLDER [--sets NAME ...] [--seeds 5] [--report]

labels: a tenth of all labels is made wrong, drawn by the seed (any other class), or, "close pairs", only between two classes that are hard to tell
apart (glass and plastic, paper and cardboard). The head is solved, `inspect("labels")` ranks all labels. `found` is the share of the wrong
ones among as many first ones, `auroc` that of the ranking. Against cleanlab on the same features: probabilities out of five folds of
scikit-learn's logistic regression (C = 1, features in units of their deviations), ranked by normalised margin.

Rows already in results/inspections.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from sets import Divided, arguments, available, divided, parse_folders

Row = dict[str, Any]
SHARE = 0.1
PAIRS = {"trashnet": (("glass", "plastic"), ("paper", "cardboard"))}
SETS = ("cats_dogs", "trashnet")


def planted(labels: Sequence[str], pairs: Sequence[tuple[str, str]] | None, seed: int) -> dict[int, str]:
    """The wrong label of each place that gets one: a tenth of those whose label is one of a pair, or of all."""
    draw, names = np.random.default_rng(seed), sorted(set(labels))
    other = {one: [two] for pair in pairs or () for one, two in (pair, pair[::-1])} or {
        one: [two for two in names if two != one] for one in names
    }
    able = [place for place, label in enumerate(labels) if label in other]
    chosen = draw.permutation(able)[: round(SHARE * len(able))]
    return {int(place): str(draw.choice(other[labels[place]])) for place in chosen}


def run_labels(table: Table, split: Divided, pairs: Sequence[tuple[str, str]] | None) -> None:
    """Whatever is missing of one set and seed."""
    same = {"case": f"labels, {split.name}{', close pairs' if pairs else ''}", "repeat": split.seed, "split": split.digest}
    entrants = ("headstart", "cleanlab")
    if all(table.kept(name, **same) for name in entrants):
        return
    rows, given, wrong, logits = _out_of_fold(split, pairs)
    for name, ranked in zip(entrants, (partial(_ours, logits), partial(_cleanlab, rows)), strict=True):
        table.tried(name, run=lambda ranked=ranked: judged(*ranked(given), wrong), **same)


def _out_of_fold(
    split: Divided, pairs: Sequence[tuple[str, str]] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, given classes and which of them are wrong, and what heads say that have not seen a label, of train and valid together."""
    import headstart as hs
    from headstart.core import Record
    from headstart.inspections import labels
    from headstart.learner import inspecting

    data = hs.image_folder(split.folder)
    truths = [record.target for record in data.records]
    wrong = planted([str(each) for each in truths], pairs, split.seed)
    from dataclasses import replace

    records: list[Record] = [replace(record, target=wrong.get(place, record.target)) for place, record in enumerate(data.records)]
    changed = {data.records[place].id for place in wrong}
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(
            replace(data, records=tuple(records)), observer=Quiet(), seed=split.seed, posterior="none", run=Path(folder) / "run"
        )
        trace = inspecting.traced(learn.fine_tune(0)._session, lambda _: None, {"classes", "crossed"})
    assert trace.classes is not None and trace.crossed is not None and trace.before is not None
    believed = (
        labels.logs(trace.crossed.astype(np.float64)) + labels.neighbours(trace.before.features, trace.classes, len(trace.names))
    ) / 2
    return trace.before.features, trace.classes, np.array([name in changed for name in trace.ids]), believed


def _ours(logits: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from headstart.inspections import labels

    margins, _, suspected = labels.judged(logits.astype(np.float64), given)
    return margins, suspected


def _cleanlab(rows: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    probs = cross_val_predict(head, rows, given, cv=5, method="predict_proba")
    return get_label_quality_scores(given, probs, method="normalized_margin"), find_label_issues(given, probs)


def judged(scores: np.ndarray, suspected: np.ndarray, wrong: np.ndarray) -> Row:
    """How good a ranking (the smallest score first) and a selection are."""
    from sklearn.metrics import roc_auc_score

    first = np.argsort(scores, kind="stable")[: wrong.sum()]
    return {
        "n": len(wrong),
        "wrong": int(wrong.sum()),
        "found": float(wrong[first].mean()),
        "auroc": float(roc_auc_score(wrong, -scores)),
        "selected": int(suspected.sum()),
        "precision": float(wrong[suspected].mean()) if suspected.any() else None,
        "recall": float(suspected[wrong].mean()),
    }


def report(rows: Sequence[Row]) -> str:
    """Means over seeds, with the smallest and the largest."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        for name in dict.fromkeys(row["entrant"] for row in rows if row["case"] == case):
            these = [row for row in rows if (row["case"], row["entrant"]) == (case, name)]
            keys = ("found", "auroc", "precision", "recall")
            lines.append(
                [case, name, len(these), *(_spread([row[key] for row in these if row[key] is not None]) for key in keys)]
            )
    return markdown(
        ["case", "entrant", "seeds", "found among the first n", "AUROC", "precision of the selected", "recall"], lines
    )


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "-"


def main() -> None:
    """Runs what is missing, then shows the table."""
    parser: argparse.ArgumentParser = arguments(__doc__, SETS, 5)
    asked = parser.parse_args()
    stoppable()
    table = Table("inspections", asked.results)
    if not asked.report:
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items():
            for seed in range(asked.seeds):
                for pairs in (None, PAIRS[name]) if name in PAIRS else (None,):
                    run_labels(table, divided(name, read, seed), pairs)
    print(report(table.rows()))


if __name__ == "__main__":
    main()
