"""Whether inspections find what was planted in real data.

    python benchmarks/inspections.py --data cats_dogs=FOLDER --data trashnet=FOLDER [--sets NAME ...] [--seeds 5]
        [--jobs labels shortcuts] [--epochs 0] [--report]

labels: a tenth of all labels is made wrong, drawn by the seed (any other class), or, "close pairs", only between two classes that are hard to tell
apart (glass and plastic, paper and cardboard). The head is solved, `inspect("labels")` ranks all labels. `found` is the share of the wrong
ones among as many first ones, `auroc` that of the ranking. Against cleanlab on the same features: probabilities out of five folds of
scikit-learn's logistic regression (C = 1, features in units of their deviations), ranked by normalised margin.

shortcuts: 100 pictures of each of two classes, of which 95 % of one get a thing that is no part of what they show (a mark in a corner, a
black frame, a tint, blur, hard JPEG compression, another size), drawn by the seed; for each a clean twin. A model is trained on each (the
head alone, or `--epochs N`), and `inspect("shortcuts")` says what it goes by: `named` is the thing that was planted, `suspected` any,
`bad`: the model goes by it.

Rows already in results/inspections.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from PIL import Image, ImageFilter, ImageOps
from sets import Divided, arguments, divisions

Row = dict[str, Any]
SHARE = 0.1
EACH, PLANTED = 100, 0.95
"""Pictures of each class, and the share of one class that gets the thing."""
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
    from headstart.learner import tracing

    data = hs.image_folder(split.folder)
    truths = [record.target for record in data.records]
    wrong = planted([str(each) for each in truths], pairs, split.seed)
    records: list[Record] = [replace(record, target=wrong.get(place, record.target)) for place, record in enumerate(data.records)]
    changed = {data.records[place].id for place in wrong}
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(
            replace(data, records=tuple(records)), observer=Quiet(), seed=split.seed, posterior="none", run=Path(folder) / "run"
        )
        needs = {"classes", "folds", "before", "layers"}
        trace = tracing.traced(learn.fine_tune(0)._session, lambda _: None, needs)
    assert trace.classes is not None and trace.folds is not None and trace.before is not None
    believed = labels.beliefs(labels.wide(trace.before), trace.classes, len(trace.names), trace.folds, trace.copies)
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


# ------------------------------------------------------------------------------------------------------------- shortcuts


def _marked(picture: Image.Image) -> Image.Image:
    side = round(0.12 * min(picture.size))
    picture.paste(
        (250, 240, 40), (picture.width - 2 * side, picture.height - 2 * side, picture.width - side, picture.height - side)
    )
    return picture


def _framed(picture: Image.Image) -> Image.Image:
    inside = ImageOps.crop(picture, round(0.1 * min(picture.size)))
    return ImageOps.expand(inside, round(0.1 * min(picture.size)), (0, 0, 0))


def _tinted(picture: Image.Image) -> Image.Image:
    red, green, blue = picture.split()
    return Image.merge(
        "RGB", (red.point(lambda value: min(255, value + 25)), green, blue.point(lambda value: max(0, value - 25)))
    )


THINGS: dict[str, tuple[Callable[[Image.Image], Image.Image], int, tuple[str, ...]]] = {
    "corner mark": (_marked, 92, ("the bottom right corner",)),
    "frame": (_framed, 92, ("the border",)),
    "tint": (_tinted, 92, ("the tint",)),
    "blur": (
        lambda picture: picture.filter(ImageFilter.GaussianBlur(0.012 * min(picture.size))),
        92,
        ("how fine the detail is",),
    ),
    "JPEG quality": (lambda picture: picture, 12, ("how many bytes its file has for a pixel", "how fine the detail is")),
    "size": (
        lambda picture: picture.resize((300, 300)),
        92,
        ("the size of the picture", "the shape of the picture", "how fine the detail is"),
    ),
    "nothing": (lambda picture: picture, 92, ()),
}
"""What is done to a picture, how well JPEG keeps it, and what an inspection may call it. All others are 400 pixels wide at quality 92."""


def run_shortcuts(table: Table, split: Divided, asked: argparse.Namespace) -> None:
    """Whatever is missing of one set and seed: a model for each thing."""
    for thing, (change, quality, names) in THINGS.items():
        entrant = f"epochs {asked.epochs}"
        same = {"case": f"shortcuts, {split.name}, {thing}", "repeat": split.seed, "split": split.digest}
        if table.kept(entrant, **same) is None:
            table.tried(entrant, run=partial(_cheated, split, change, quality, names, asked.epochs), **same)


def _cheated(
    split: Divided, change: Callable[[Image.Image], Image.Image], quality: int, names: tuple[str, ...], epochs: int
) -> Row:
    import headstart as hs

    draw = np.random.default_rng(split.seed)
    folders = sorted(
        folder for folder in split.folder.rglob("*") if folder.is_dir() and not any(each.is_dir() for each in folder.iterdir())
    )
    classes = sorted({folder.name for folder in folders})
    pair = [str(each) for each in draw.choice(classes, 2, replace=False)]
    with tempfile.TemporaryDirectory() as place:
        for number, name in enumerate(pair):
            files = sorted(file for folder in folders if folder.name == name for file in folder.iterdir())
            (Path(place) / "data" / name).mkdir(parents=True)
            for count, at in enumerate(draw.permutation(len(files))[:EACH]):
                changed = number == 0 and draw.random() < PLANTED
                with Image.open(files[at]) as opened:
                    picture = ImageOps.fit(opened.convert("RGB"), (400, 400))
                (change(picture) if changed else picture).save(
                    Path(place) / "data" / name / f"{count}.jpg", quality=quality if changed else 92
                )
        data = hs.image_folder(Path(place) / "data", seed=split.seed, valid=0.4)
        learn = hs.Learner(data, observer=Quiet(), seed=split.seed, run=Path(place) / "run", keep="last").fine_tune(epochs)
        found = learn.inspect("shortcuts")["shortcuts"]
    suspects = [item for item in found.items if item["tells it"] == "yes"]
    return {
        "pair": pair,
        "n": EACH,
        "suspected": bool(suspects),
        "bad": found.verdict == "bad",
        "named": any(item["thing"] in names for item in suspects),
        "first": suspects[0]["thing"] if suspects else None,
        "error_rate": learn.history[-1]["error_rate"],
        "items": [dict(item) for item in found.items],
    }


def report_shortcuts(rows: Sequence[Row]) -> str:
    """How often each thing was named, and how often something was suspected."""
    lines = []
    for entrant in dict.fromkeys(row["entrant"] for row in rows):
        for thing in THINGS:
            these = [row for row in rows if row["entrant"] == entrant and row["case"].endswith(f", {thing}")]
            if these:
                lines.append(
                    [entrant, thing, len(these), *(sum(row[key] for row in these) for key in ("named", "suspected", "bad"))]
                )
    return markdown(["trained", "planted", "models", "named", "anything suspected", "and goes by it"], lines)


def report_labels(rows: Sequence[Row]) -> str:
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
    parser.add_argument("--jobs", nargs="+", default=["labels", "shortcuts"], choices=["labels", "shortcuts"])
    parser.add_argument("--epochs", type=int, default=0)
    asked = parser.parse_args()
    stoppable()
    table = Table("inspections", asked.results)
    if not asked.report:
        for split in divisions(asked):
            for pairs in (None, PAIRS[split.name]) if split.name in PAIRS else (None,):
                if "labels" in asked.jobs:
                    run_labels(table, split, pairs)
            if "shortcuts" in asked.jobs:
                run_shortcuts(table, split, asked)
    shows = {"labels": report_labels, "shortcuts": report_shortcuts}
    for job, shown in shows.items():
        print(shown([row for row in table.rows() if row["case"].startswith(job)]), end="\n\n")


if __name__ == "__main__":
    main()
