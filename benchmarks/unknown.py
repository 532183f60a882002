"""What a model says of what it has not learned: images from elsewhere, spoiled images, and solar cells on which experts do not agree.

    python benchmarks/unknown.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--outside emoji=FOLDER ...]
        [--sets solar_cells cats_dogs] [--seeds 3] [--minutes 3] [--peer-python PYTHON] [--report]

A model is trained on a set (the head alone, or with `--minutes` all layers) and shown images of others, beside the test part of its own. Each score
is judged by AUROC and FPR95, the outside being positive: `ood` of headstart; the softmax score (one less the largest probability) of the point
estimate and at its temperature; the entropy of the default posterior and its epistemic part; the squared Mahalanobis distance to the
nearest class in the features (Lee et al. 2018). Near cases are the model's own test images, blurred and noised (ImageNet-C's strengths 1, 3
and 5, computed here). The ambiguous solar cells (defect probability 1/3 and 2/3) are judged by how much more uncertain they are
than the clear test cells, and by the predicted probability against the experts'. Rows already in results/unknown.jsonl are not run again.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Quiet, Table, stoppable
from jaxtyping import Float
from paired import markdown
from PIL import Image, ImageFilter
from sets import Divided, _package, arguments, available, divided, files_in, parse_folders

from headstart.core import Outputs
from headstart.learner.believing import through_head
from headstart.metrics import outside
from headstart.places import evenly

Row = dict[str, Any]
MODELS = {
    "solar_cells": ("cats_dogs", "textile", "trashnet", "brain_mri"),
    "cats_dogs": ("solar_cells", "trashnet", "textile", "brain_mri"),
}
"""Who is shown what."""
MOST = 400
"""Images of each other set."""
NOISE = {1: 0.08, 3: 0.18, 5: 0.38}
BLUR = {1: 1.0, 3: 3.0, 5: 6.0}
"""Deviations of the noise, of pixels in [0, 1], and radii of the blur in pixels (of 224)."""
SCORES = ("ood", "softmax", "softmax at its temperature", "entropy", "epistemic", "mahalanobis")


def features(learn: Any, images: Sequence[Any]) -> Float[np.ndarray, "batch features"]:
    """Of files or arrays, by the model as it is."""
    model, modality, rows = learn.model.eval(), learn.modality, []
    for first in range(0, len(images), 32):
        batch = modality.stacked(
            [modality.prepared(each if isinstance(each, np.ndarray) else str(each), "") for each in images[first : first + 32]]
        )
        with torch.inference_mode():
            rows.append(model.features(modality.to_input(torch.as_tensor(batch))).float().numpy())
    return np.concatenate(rows)


class Scores:
    """What each score says of features, for a trained learner."""

    def __init__(self, learn: Any) -> None:
        self.learn, self.posteriors = learn, {name: learn.posterior(name) for name in ("laplace", "temperature")}
        state = learn._session.ready().state
        from headstart.data._steps import exhausted
        from headstart.train.solved import features_now

        rows, which = exhausted(features_now(state, "train"))
        targets = np.asarray(state.parts["train"].targets)[which]
        self.means = np.stack([rows[targets == kind].mean(0) for kind in np.unique(targets)])
        apart = (rows - self.means[np.searchsorted(np.unique(targets), targets)]).astype(np.float64)
        covariance = apart.T @ apart / len(rows)
        self.inverse = np.linalg.inv(covariance + 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))

    def predictions(self, rows: Float[np.ndarray, "batch features"], name: str) -> list[Any]:
        """By a posterior."""
        post = self.posteriors[name]
        given, said = through_head(self.learn.model, rows)
        return post.task.predict(post.fitted.posterior.outputs(given, said), [""] * len(rows))

    def of(self, rows: Float[np.ndarray, "batch features"]) -> dict[str, Float[np.ndarray, " batch"]]:
        """Every score; large ones mean outside."""
        laplace, warm = self.predictions(rows, "laplace"), self.predictions(rows, "temperature")
        point = self.learn.task.predict(Outputs(through_head(self.learn.model, rows)[1]), [""] * len(rows))
        apart = rows[:, None].astype(np.float64) - self.means
        likeness = self.posteriors["laplace"].fitted.likeness
        return {
            "ood": likeness.unlike(torch.from_numpy(rows)).numpy(),
            "softmax": 1 - np.array([one.probability for one in point]),
            "softmax at its temperature": 1 - np.array([one.probability for one in warm]),
            "entropy": np.array([one.total for one in laplace]),
            "epistemic": np.array([one.epistemic for one in laplace]),
            "mahalanobis": np.einsum("bkf,fg,bkg->bk", apart, self.inverse, apart, optimize=True).min(1),
        }


def spoiled(file: Path, kind: str, strength: int) -> np.ndarray:
    """The image, small as the model sees it, with noise or blurred."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    side = 256 / min(image.size)
    image = image.resize((round(image.width * side), round(image.height * side)), Image.Resampling.BICUBIC)
    if kind == "blurred":
        return np.asarray(image.filter(ImageFilter.GaussianBlur(BLUR[strength])))
    pixels = np.asarray(image) / 255 + NOISE[strength] * np.random.default_rng(len(file.name)).normal(size=(*image.size[::-1], 3))
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def ambiguous(peer_python: str) -> list[tuple[float, Path]]:
    """(defect probability by experts, file) of the solar cells that nobody is sure of."""
    package = _package("elpv_dataset", peer_python)
    if package is None:
        return []
    found = []
    for line in (package / "data" / "labels.csv").read_text().splitlines():
        words = next(csv.reader([line], delimiter=" ", skipinitialspace=True))
        if len(words) >= 2 and 0.1 < float(words[1]) < 0.9:
            found.append((float(words[1]), package / "data" / words[0]))
    return found


def run_case(table: Table, split: Divided, asked: argparse.Namespace, others: Mapping[str, Callable[[], list[Any]]]) -> None:
    """Whatever is missing of one model."""
    import headstart as hs

    course = "head" if asked.minutes is None else f"{asked.minutes:g} min"
    same = {"case": f"{split.name} {course}", "repeat": split.seed, "split": split.digest}
    if all(table.kept(name, **same) for name in others):
        return
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(hs.image_folder(split.folder), observer=Quiet(), seed=split.seed, run=Path(folder) / "run")
        learn.fine_tune(0) if asked.minutes is None else learn.fine_tune(minutes=asked.minutes)
        scores = Scores(learn)
        inside = scores.of(features(learn, files_in(split.test)))
        for name, read in others.items():
            table.tried(name, run=lambda read=read: judged(inside, scores.of(features(learn, read()))), **same)
        if split.name == "solar_cells" and (cells := ambiguous(asked.peer_python)):
            table.tried("ambiguous cells", run=lambda: of_cells(scores, learn, split.test, cells), **same)


def judged(inside: Mapping[str, np.ndarray], beyond: Mapping[str, np.ndarray]) -> Row:
    """AUROC and FPR95 of every score."""
    return {
        "n": [len(inside["ood"]), len(beyond["ood"])],
        "told": float((beyond["ood"] >= 0.975).mean()),
        "auroc": {name: outside.auroc(inside[name], beyond[name]).json() for name in SCORES},
        "fpr95": {name: outside.fpr95(inside[name], beyond[name]).value for name in SCORES},
    }


def of_cells(scores: Scores, learn: Any, test: Path, cells: Sequence[tuple[float, Path]]) -> Row:
    """How uncertain the cells are that experts do not agree on, and what is predicted of them."""
    clear, unclear = features(learn, files_in(test)), features(learn, [file for _, file in cells])
    experts, told = np.array([chance for chance, _ in cells]), {}
    for name in scores.posteriors:
        sure, unsure = scores.predictions(clear, name), scores.predictions(unclear, name)
        defective = np.array([one.probs["defective"] for one in unsure])
        told[name] = {
            "auroc_total": outside.auroc(
                np.array([one.total or 0.0 for one in sure]), np.array([one.total or 0.0 for one in unsure])
            ).json()
            if sure[0].total is not None
            else None,
            "auroc_epistemic": outside.auroc(*(np.array([one.epistemic for one in some]) for some in (sure, unsure))).json()
            if sure[0].epistemic is not None
            else None,
            "predicted_at_a_third": float(defective[experts < 0.5].mean()),
            "predicted_at_two_thirds": float(defective[experts > 0.5].mean()),
            "correlation": float(np.corrcoef(defective, experts)[0, 1]),
        }
    return {"n": [len(clear), len(unclear)], "posteriors": told}


def some(files: Sequence[Any]) -> list[Any]:
    """At most so many of them, evenly over their order."""
    return [files[place] for place in evenly(len(files), MOST)]


def report(rows: Sequence[Row]) -> str:
    """Means over seeds."""
    lines, cells = [], []
    for case in dict.fromkeys(row["case"] for row in rows):
        for name in dict.fromkeys(row["entrant"] for row in rows if row["case"] == case):
            found = [row for row in rows if row["case"] == case and row["entrant"] == name]
            if "posteriors" in found[0]:
                for post in found[0]["posteriors"]:
                    each = [row["posteriors"][post] for row in found]
                    areas = [
                        np.mean([one[key]["value"] for one in each]) if each[0][key] else None
                        for key in ("auroc_total", "auroc_epistemic")
                    ]
                    figures = [
                        np.mean([one[key] for one in each])
                        for key in ("predicted_at_a_third", "predicted_at_two_thirds", "correlation")
                    ]
                    cells.append([case, post, len(found), *("" if one is None else f"{one:.3f}" for one in (*areas, *figures))])
                continue
            areas = [np.mean([row["auroc"][score]["value"] for row in found]) for score in SCORES]
            missed = [np.mean([row["fpr95"][score] for row in found]) for score in SCORES]
            told = np.mean([row["told"] for row in found])
            lines.append(
                [
                    case,
                    name,
                    len(found),
                    *(f"{area:.3f} / {share:.2f}" for area, share in zip(areas, missed)),
                    f"{100 * told:.0f} %",
                ]
            )
    heading = ["model", "shown", "seeds", *(f"{score}" for score in SCORES), "told unlike"]
    ambiguous_heading = ["model", "posterior", "seeds", "AUROC total", "epistemic", "said at 1/3", "said at 2/3", "correlation"]
    return "\n\n".join(["AUROC / FPR95, the outside positive", markdown(heading, lines), markdown(ambiguous_heading, cells)])


def main() -> None:
    """Runs what is missing, then shows the tables."""
    parser = arguments(__doc__, tuple(MODELS))
    parser.add_argument("--outside", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--minutes", type=float, default=None)
    asked = parser.parse_args()
    stoppable()
    table = Table("unknown", asked.results)
    if not asked.report:
        wanted = sorted({*asked.sets, *(name for model in asked.sets for name in MODELS[model])})
        readable = available(wanted, parse_folders(asked.data), asked.peer_python)
        extra = parse_folders(asked.outside)
        for seed in range(asked.seeds):
            for model in asked.sets:
                if model not in readable:
                    continue
                split = divided(model, readable[model], seed)
                others: dict[str, Callable[[], list[Any]]] = {
                    name: lambda name=name: some(files_in(divided(name, readable[name], 0).test))
                    for name in MODELS[model]
                    if name in readable
                }
                others |= {name: lambda folder=folder: some(files_in(folder)) for name, folder in extra.items()}
                for kind in ("blurred", "noised"):
                    for strength in NOISE:
                        others[f"{kind}, {strength}"] = lambda kind=kind, strength=strength, split=split: [
                            spoiled(file, kind, strength) for file in some(files_in(split.test))
                        ]
                run_case(table, split, asked, others)
    print(report(table.rows()))


if __name__ == "__main__":
    main()
