"""Whether a kind of image on which a model fails is found and named, where the kind is known.

    python benchmarks/failing.py --data trashnet=FOLDER [--sets trashnet] [--seeds 2] [--report]

The six classes of rubbish are joined to two (CLASSES), and of one of the six only a twentieth stays among the training images: a kind that the
model has hardly seen, with the label of its larger class. The head alone is trained and `inspect("slices")` asked. `failing`: errors on
the rare kind and on the rest of its class, by the validation images. `found`: whether a slice is told of at least six tenths of whose images are
of the rare kind; `purity`: of the best one. `clean`: the same with all training images, where a slice may be told too: some rubbish is harder
than other. Rows already in results/failing.jsonl are not run again; `--report` runs nothing.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faults import by_class, linked
from harness import Quiet, Table, stoppable
from paired import markdown
from sets import Divided, arguments, divisions

Row = dict[str, Any]
CLASSES = {"stiff": ("glass", "metal", "plastic"), "soft": ("cardboard", "paper", "trash")}
LEFT, PURE = 0.05, 0.6


def _rare(split: Divided, kind: str) -> Row:
    """What is told with the kind rare, and with all of it."""
    return {**_told(split, kind, LEFT), "clean": _told(split, kind, 1.0)}


def _told(split: Divided, kind: str, left: float) -> Row:
    import headstart as hs

    draw = np.random.default_rng(split.seed)
    with tempfile.TemporaryDirectory() as place:
        data, kinds = Path(place) / "data", dict[str, str]()
        for part in ("train", "valid"):
            found = by_class(split.folder / part)
            for name, own in CLASSES.items():
                for each in own:
                    files = found[each]
                    if part == "train" and each == kind:
                        files = [files[at] for at in draw.permutation(len(files))[: max(2, round(left * len(files)))]]
                    linked(files, data / part / name)
                    kinds |= {f"{part}/{name}/{file.name}": each for file in files}
        learn = hs.Learner(
            hs.image_folder(data), observer=Quiet(), seed=split.seed, posterior="none", run=Path(place) / "run"
        ).fine_tune(0)
        valid = learn._session.ready().state.parts["valid"]
        wrong = learn._session.ready().state.judged[-1].answers != valid.targets.numpy()
        finding = learn.inspect("slices")["slices"]
    own = np.array([kinds[name] == kind for name in valid.ids])
    same = np.array([kinds[name] in next(group for group in CLASSES.values() if kind in group) for name in valid.ids])
    purity = [float(np.mean([kinds[name] == kind for name in item["members"].split(", ")])) for item in finding.items]
    return {
        "n": int(own.sum()),
        "errors": [int(wrong[own].sum()), int(wrong[same & ~own].sum())],
        "of": [int(own.sum()), int((same & ~own).sum())],
        "told": len(purity),
        "purity": max(purity, default=0.0),
        "found": max(purity, default=0.0) >= PURE,
        "chance": [item["chance"] for item in finding.items],
    }


def report(rows: Sequence[Row]) -> str:
    """A line for each kind, divisions together."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        rates = [sum(row["errors"][at] for row in own) / max(1, sum(row["of"][at] for row in own)) for at in (0, 1)]
        told = sum(row["told"] for row in own), sum(row["clean"]["told"] for row in own)
        found = f"{sum(row['found'] for row in own)} of {len(own)}"
        purity = ", ".join(f"{row['purity']:.2f}" for row in own)
        lines.append([case, f"{rates[0]:.2f}", f"{rates[1]:.2f}", found, purity, f"{told[0]}", f"{told[1]}"])
    return markdown(
        ["rare", "error on it", "on the rest of its class", "found", "purity", "slices told", "told of the clean twin"], lines
    )


def main() -> None:
    """Runs what is missing, then shows the table."""
    asked = arguments(__doc__, ("trashnet",), 2).parse_args()
    stoppable()
    table = Table("failing", asked.results)
    if not asked.report:
        for split in divisions(asked):
            for kind in (each for own in CLASSES.values() for each in own):
                same = {"case": f"{split.name}, {kind}", "repeat": split.seed, "split": split.digest}
                table.tried("headstart", run=partial(_rare, split, kind), **same)
    print(report([row for row in table.rows() if "case" in row]))


if __name__ == "__main__":
    main()
