"""Whether what was planted in real data is found, and mended, and what looking costs.

    python benchmarks/faults.py --data cats_dogs=FOLDER --data trashnet=FOLDER [--sets NAME ...] [--seeds 5]
        [--jobs duplicates drift loop influence cost] [--epochs 0] [--report]

duplicates: of 300 training images, drawn by the seed, each gets a copy in valid/: encoded again, half the size, cut by a twentieth, mirrored or
recoloured (60 of each). `recall` is the share of copies that stand in one group with their image; `false` the share of pairs of a group
that are neither planted nor were there before.

drift: 80 pictures of each of two classes, and 80 of a third: pictures of these two in which a square of one texture (stripes, of a direction,
width and colours drawn by the seed) lies somewhere. All layers are trained, three epochs. The channel that took the texture up is the one
that, of 96 pictures that nothing has seen, tells those with the texture from those without it better than before by the most (eta
squared). `first five`: whether it is among the five channels that `inspect("drift")` shows first of the layer that took up most; `layers`: of
how many of the layers that are shown.

loop: a tenth of all labels made wrong, and of a tenth of the training images a copy in valid/. A model (the head alone, or `--epochs N`) is
trained on the faulty data, inspected, and `fixes` applied as they are written; a second one is trained on what results; a third on the
data without faults. `faulty`, `mended`, `clean`: error rates on the same test part, which none has seen.

influence: of the images that `inspect` looks into, what each training example adds to the answer, against leaving it out and solving the head
again: 30 examples that are told to be strongest for some image, and 20 others. `correlation`: median and smallest over the images.

cost: seconds of `inspect()` over those of one plain pass of the same model over the same images: by torch (`passes`), which is what layers can be
looked at with, and by the engine that `evaluate` takes (`engine passes`). 2,200 images of trashnet, and 5,000 of both sets together.

Rows already in results/faults.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from harness import Quiet, Table, stoppable
from paired import markdown
from PIL import Image, ImageEnhance, ImageOps
from sets import Divided, arguments, available, divided, files_in, parse_folders

from inspections import planted

Row = dict[str, Any]
SETS = ("cats_dogs", "trashnet")
JOBS = ("duplicates", "drift", "loop", "influence", "cost")
COPIED, EACH, FRESH = 300, 80, 96
WRONG = 0.1


def linked(files: Sequence[Path], target: Path) -> None:
    """These files in a folder, without copying where that can be."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        try:
            os.link(file, target / file.name)
        except OSError:
            (target / file.name).write_bytes(file.read_bytes())


def by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of each class below a folder of class folders, or of parts with class folders."""
    found: dict[str, list[Path]] = {}
    for file in files_in(folder):
        found.setdefault(file.parent.name, []).append(file)
    return dict(sorted(found.items()))


# ------------------------------------------------------------------------------------------------------------ duplicates


def _cut(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((round(0.025 * width), round(0.025 * height), round(0.975 * width), round(0.975 * height)))


def _recoloured(picture: Image.Image) -> Image.Image:
    warm = Image.merge(
        "RGB", [band.point(lambda value, by=by: min(255, value * by)) for band, by in zip(picture.split(), (1.1, 1, 0.85))]
    )
    return ImageEnhance.Brightness(ImageEnhance.Color(warm).enhance(0.6)).enhance(1.15)


COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "encoded again": (lambda picture: picture, 50),
    "half the size": (lambda picture: picture.resize((picture.width // 2, picture.height // 2)), 90),
    "cut": (_cut, 90),
    "mirrored": (ImageOps.mirror, 90),
    "recoloured": (_recoloured, 90),
}
"""What is done to a copy, and how well JPEG keeps it."""


def _copies(split: Divided) -> Row:
    import headstart as hs

    draw = np.random.default_rng(split.seed)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        for part in ("train", "valid"):
            for name, files in by_class(split.folder / part).items():
                linked(files, data / part / name)
        before = _pairs(hs.check(hs.image_folder(data)).audit.json())
        files = files_in(data / "train")
        chosen = [files[at] for at in draw.permutation(len(files))[:COPIED]]
        made: dict[tuple[str, str], str] = {}
        for number, file in enumerate(chosen):
            kind = list(COPIES)[number % len(COPIES)]
            change, quality = COPIES[kind]
            copy = data / "valid" / file.parent.name / f"copy_{number}.jpg"
            with Image.open(file) as opened:
                change(opened.convert("RGB")).save(copy, quality=quality)
            made[_pair(str(file.relative_to(data)), str(copy.relative_to(data)))] = kind
        learn = hs.Learner(
            hs.image_folder(data), observer=Quiet(), seed=split.seed, posterior="none", run=Path(place) / "run"
        ).fine_tune(0)
        found = _pairs(learn.run.audit())
        told = learn.inspect("duplicates")["duplicates"]
    hit = {kind: [pair in found for pair, this in made.items() if this == kind] for kind in COPIES}
    source = {copy: file for file, copy in ((sorted(pair, key=lambda name: "copy_" in name)) for pair in made)}
    strange = [pair for pair in found if pair not in made and not _excused(pair, source, before)]
    return {
        "n": len(made),
        "recall": float(np.mean([pair in found for pair in made])),
        "kinds": {kind: float(np.mean(each)) for kind, each in hit.items()},
        "pairs": len(found),
        "false": len(strange) / max(1, len(found)),
        "before": len(before),
        "headline": told.headline,
    }


def _excused(pair: tuple[str, str], source: dict[str, str], before: set[tuple[str, str]]) -> bool:
    """Whether two images were copies of each other already, or are copies of such."""
    one, two = (source.get(name, name) for name in pair)
    return one == two or _pair(one, two) in before


def _pair(one: str, two: str) -> tuple[str, str]:
    return (one, two) if one < two else (two, one)


def _pairs(audit: Row) -> set[tuple[str, str]]:
    groups = [*audit["exact_duplicates"], *audit["near_duplicates"]]
    return {_pair(one, two) for group in groups for one, two in combinations(group, 2)}


# ----------------------------------------------------------------------------------------------------------------- drift


def textured(picture: Image.Image, texture: np.ndarray, draw: np.random.Generator) -> Image.Image:
    """The picture with a square of the texture, half its side, somewhere."""
    picture = ImageOps.fit(picture.convert("RGB"), (320, 320))
    side = 160
    top, left = draw.integers(0, 320 - side, 2)
    down, right = draw.integers(0, texture.shape[0] - side, 2)
    picture.paste(Image.fromarray(texture[down : down + side, right : right + side]), (int(left), int(top)))
    return picture


def stripes(draw: np.random.Generator, side: int = 320) -> np.ndarray:
    """Stripes of a direction, a width and two colours that the generator chooses, with noise."""
    angle, width = draw.uniform(0, np.pi), draw.uniform(6, 24)
    down, right = np.mgrid[:side, :side]
    phase = (np.cos(angle) * right + np.sin(angle) * down) / width
    share = 0.5 + 0.5 * np.sin(2 * np.pi * phase)[..., None]
    one, two = draw.integers(0, 256, (2, 3))
    while np.abs(one - two).sum() < 200:
        one, two = draw.integers(0, 256, (2, 3))
    return np.clip(share * one + (1 - share) * two + draw.normal(0, 12, (side, side, 1)), 0, 255).astype(np.uint8)


def _took_up(split: Divided) -> Row:
    import torch

    import headstart as hs
    from headstart.inspections import drift
    from headstart.inspections._survey import survey
    from headstart.inspections._trace import Look
    from headstart.learner import tracing

    draw = np.random.default_rng(split.seed)
    files = by_class(split.folder)
    pair = [str(name) for name in draw.choice(sorted(files), 2, replace=False)]
    texture = stripes(draw)
    shuffled = {name: [files[name][at] for at in draw.permutation(len(files[name]))] for name in pair}
    half = EACH // 2
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        for name in pair:
            linked(shuffled[name][:EACH], data / name)
        (data / "texture").mkdir()
        for number, file in enumerate(file for name in pair for file in shuffled[name][EACH : EACH + half]):
            with Image.open(file) as opened:
                textured(opened, texture, draw).save(data / "texture" / f"{number}.jpg", quality=92)
        learn = hs.Learner(
            hs.image_folder(data, seed=split.seed),
            observer=Quiet(),
            seed=split.seed,
            posterior="none",
            keep="last",
            run=Path(place) / "run",
        ).fine_tune(3)
        told = learn.inspect("drift")["drift"]
        unseen = [file for name in pair for file in shuffled[name][EACH + half : EACH + half + FRESH // 2]]
        fresh, has = [], np.arange(len(unseen)) % 2
        for file, with_texture in zip(unseen, has, strict=True):
            with Image.open(file) as opened:
                shown = textured(opened, texture, draw) if with_texture else opened.convert("RGB")
                fresh.append(np.asarray(ImageOps.fit(shown, (224, 224))))
        inputs = learn.modality.to_input(torch.from_numpy(np.stack(fresh)))
        bodies = (tracing._as_it_was(learn._session), learn.model.backbone)
        looks = [[step for step in survey(body, inputs.split(32)) if isinstance(step, Look)][-1] for body in bodies]
    hits, takers = {}, {}
    for item, before, after in zip(told.items, *(look.layers for look in looks), strict=True):
        gain = drift.eta_squared(after.highest, has) - drift.eta_squared(before.highest, has)
        takers[item["layer"]] = int(gain.argmax())
        first = [int(number) for number in item["first channels"].split(", ")][:5]
        hits[item["layer"]] = int(gain.argmax()) in first
    shown = list(dict.fromkeys(strip.title.split(", channel")[0] for strip in told.strips))
    best = next(item for item in told.items if f"of {item['layer']}, strongest" in told.headline)
    return {
        "pair": pair,
        "n": 3 * EACH,
        "layer": best["layer"],
        "first five": bool(hits[best["layer"]]),
        "layers": [sum(hits[name] for name in shown), len(shown)],
        "all": [sum(hits.values()), len(hits)],
        "now": best["now"],
        "gain": best["gain"],
        "error_rate": learn.history[-1]["error_rate"],
    }


# ------------------------------------------------------------------------------------------------------------------ loop


def _mended(split: Divided, epochs: int) -> Row:
    """Error rates of three models on the same test part."""
    import headstart as hs

    draw = np.random.default_rng(split.seed)
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        files = [file for part in ("train", "valid") for file in files_in(split.folder / part)]
        wrong = planted([file.parent.name for file in files], None, split.seed)
        for at, file in enumerate(files):
            linked([file], here / "faulty" / file.parent.parent.name / wrong.get(at, file.parent.name))
            linked([file], here / "clean" / file.parent.parent.name / file.parent.name)
        trained = files_in(here / "faulty" / "train")
        leaks = [trained[at] for at in draw.permutation(len(trained))[: len(trained) // 10]]
        for number, file in enumerate(leaks):
            with Image.open(file) as opened:
                opened.convert("RGB").save(here / "faulty" / "valid" / file.parent.name / f"leak_{number}.jpg", quality=80)

        def model(data: Path, run: str, labels: Sequence[Path] = ()) -> Any:
            return hs.Learner(
                hs.image_folder(data), observer=Quiet(), seed=split.seed, run=here / run, labels=labels, posterior="none"
            ).fine_tune(epochs)

        def error(learn: Any) -> float:
            return learn.evaluate(split.test)["error_rate"].value

        faulty = model(here / "faulty", "one")
        report = faulty.inspect(["duplicates", "labels"])
        fixes = report.fixes(here / "fixes.csv")
        lines = fixes.read_text().count("\n") - 1
        mended, clean = model(here / "faulty", "two", [fixes]), model(here / "clean", "three")
        return {
            "n": len(files),
            "test": split.sizes["test"],
            "wrong": len(wrong),
            "leaks": len(leaks),
            "fixes": lines,
            "faulty": error(faulty),
            "mended": error(mended),
            "clean": error(clean),
            "faulty by valid": faulty.history[-1]["error_rate"],
            "mended by valid": mended.history[-1]["error_rate"],
        }


# ------------------------------------------------------------------------------------------------------------- influence


def _left_out(split: Divided) -> Row:
    import headstart as hs
    from headstart.inspections.influence import LeaveOneOut
    from headstart.learner import tracing

    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        for part in ("train", "valid"):
            for name, files in by_class(split.folder / part).items():
                linked(files, data / part / name)
        learn = hs.Learner(
            hs.image_folder(data), observer=Quiet(), seed=split.seed, posterior="none", run=Path(place) / "run"
        ).fine_tune(0)
        trace = tracing.traced(learn._session, lambda _: None, {"classes"})
        shown = trace.chosen
        features, asks = np.stack([one.features for one in shown]), np.stack([one.asks.numpy() for one in shown])
    assert trace.classes is not None
    trained = ~trace.valid
    started = time.perf_counter()
    known = LeaveOneOut.of(trace.after.features[trained], trace.classes[trained], len(trace.names))
    told = known.pushes(features, asks)
    seconds = time.perf_counter() - started
    order = np.argsort(-np.abs(told).max(0))
    draw = np.random.default_rng(split.seed)
    some = np.concatenate([order[:30], draw.permutation(order[30:])[:20]])
    real = np.empty((len(shown), len(some)))
    for number, example in enumerate(some.tolist()):
        head = known.without(example)
        real[:, number] = known.answers(features, asks) - ((features @ head.weight.T + head.bias) * asks).sum(1)
    correlations = [float(np.corrcoef(one, two)[0, 1]) for one, two in zip(told[:, some], real, strict=True)]
    return {
        "n": int(trained.sum()),
        "images": len(shown),
        "correlation": float(np.median(correlations)),
        "smallest": min(correlations),
        "slope": float((told[:, some] * real).sum() / (real**2).sum()),
        "seconds": seconds,
    }


# ------------------------------------------------------------------------------------------------------------------ cost


def _cost(splits: Sequence[Divided], most: int) -> Row:
    import headstart as hs
    from headstart.data.batches import stored
    from headstart.engine import device as engine
    from headstart.engine.frozen import choose_frozen, torch_features
    from headstart.learner import tracing

    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        files = [file for split in splits for file in files_in(split.folder)]
        for file in [files[at] for at in np.random.default_rng(0).permutation(len(files))[:most]]:
            linked([file], data / file.parent.name)
        learn = hs.Learner(hs.image_folder(data), observer=Quiet(), keep="last", run=Path(place) / "run").fine_tune(1)
        begun = learn._session.ready()
        examples, device = tracing.Examined.of(begun).examples, begun.state.device
        kind = (learn.model.backbone, learn.modality)
        first = examples.store.stored(examples.indices[:8].tolist())
        ways = {"torch": torch_features(*kind, device), "engine": choose_frozen(*kind, first, device, keep=False).features}
        seconds: dict[str, list[float]] = {name: [] for name in (*ways, "inspect")}
        for _ in range(2):
            with engine.tuned_run(device):
                for name, features in ways.items():
                    started = time.perf_counter()
                    for batch in stored(examples):
                        features(np.asarray(batch))
                    seconds[name].append(time.perf_counter() - started)
            started = time.perf_counter()
            learn.inspect()
            seconds["inspect"].append(time.perf_counter() - started)
        page = (learn.run.path / "report.html").stat().st_size
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    return {
        "n": len(examples),
        "seconds": medians,
        "passes": medians["inspect"] / medians["torch"],
        "engine passes": medians["inspect"] / medians["engine"],
        "page": page,
    }


# ---------------------------------------------------------------------------------------------------------------- report


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "-"


def report_duplicates(rows: Sequence[Row]) -> str:
    """Recall of each kind of copy, and the share of false pairs."""
    lines = [
        [
            case,
            len(these),
            *(_spread([row["kinds"][kind] for row in these]) for kind in COPIES),
            _spread([row["false"] for row in these]),
        ]
        for case, these in _cases(rows)
    ]
    return markdown(["case", "seeds", *COPIES, "false pairs"], lines)


def report_drift(rows: Sequence[Row]) -> str:
    """How often the channel that took the texture up stands among the first five."""
    lines = [
        [
            case,
            len(these),
            sum(row["first five"] for row in these),
            *(" of ".join(str(sum(row[key][at] for row in these)) for at in (0, 1)) for key in ("layers", "all")),
        ]
        for case, these in _cases(rows)
    ]
    return markdown(["case", "trainings", "among the first five", "of layers shown", "of all layers"], lines)


def report_loop(rows: Sequence[Row]) -> str:
    """Error rates, and how far the mended ones are from the clean ones."""
    lines = []
    for entrant in dict.fromkeys(row["entrant"] for row in rows):
        for case, these in _cases([row for row in rows if row["entrant"] == entrant]):
            gaps = [100 * (row["mended"] - row["clean"]) for row in these]
            errors = [_spread([row[key] for row in these]) for key in ("faulty", "mended", "clean")]
            apart = f"{np.mean(gaps):.2f} ({min(gaps):.2f} to {max(gaps):.2f})"
            lines.append([case, entrant, len(these), *errors, apart, sum(gap <= 1.0 + 1e-9 for gap in gaps)])
    return markdown(["case", "trained", "seeds", "faulty", "mended", "clean", "points apart", "within one point"], lines)


def report_influence(rows: Sequence[Row]) -> str:
    """Correlations with leaving out."""
    lines = [
        [case, len(these), *(_spread([row[key] for row in these]) for key in ("correlation", "smallest", "slope", "seconds"))]
        for case, these in _cases(rows)
    ]
    return markdown(["case", "seeds", "median correlation", "smallest", "slope", "seconds"], lines)


def report_cost(rows: Sequence[Row]) -> str:
    """How many passes the whole report costs."""
    lines = [
        [
            row["case"],
            row["n"],
            f"{row['seconds']['inspect']:.0f} s",
            f"{row['passes']:.1f}",
            f"{row['engine passes']:.1f}",
            f"{row['page'] / 1e6:.1f} MB",
        ]
        for row in rows
    ]
    return markdown(["case", "images", "inspect()", "passes of torch", "passes of the engine", "page"], lines)


def _cases(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(case, [row for row in rows if row["case"] == case]) for case in dict.fromkeys(row["case"] for row in rows)]


def main() -> None:
    """Runs what is missing, then shows the tables."""
    parser: argparse.ArgumentParser = arguments(__doc__, SETS, 5)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--epochs", type=int, default=0)
    asked = parser.parse_args()
    stoppable()
    table = Table("faults", asked.results)
    if not asked.report:
        found = available(asked.sets, parse_folders(asked.data), asked.peer_python)
        for seed in range(asked.seeds):
            for name, read in found.items():
                split = divided(name, read, seed)
                runs = {"duplicates": partial(_copies, split), "drift": partial(_took_up, split)}
                runs |= {"loop": partial(_mended, split, asked.epochs), "influence": partial(_left_out, split)}
                for job in (job for job in JOBS if job in asked.jobs and job in runs):
                    entrant = f"epochs {asked.epochs}" if job == "loop" else "headstart"
                    same = {"case": f"{job}, {name}", "repeat": seed, "split": split.digest}
                    if table.kept(entrant, **same) is None:
                        table.tried(entrant, run=runs[job], **same)
        if "cost" in asked.jobs:
            splits = [divided(name, read, 0) for name, read in found.items()]
            for most, some in ((2200, splits[-1:]), (5000, splits)):
                same = {"case": f"cost, {most}", "repeat": 0}
                if sum(sum(each.sizes.values()) for each in some) >= most and table.kept("headstart", **same) is None:
                    table.tried("headstart", run=partial(_cost, some, most), **same)
    shows = {
        "duplicates": report_duplicates,
        "drift": report_drift,
        "loop": report_loop,
        "influence": report_influence,
        "cost": report_cost,
    }
    for job, shown in shows.items():
        rows = [row for row in table.rows() if row["case"].startswith(job)]
        if rows:
            print(shown(rows), end="\n\n")


if __name__ == "__main__":
    main()
