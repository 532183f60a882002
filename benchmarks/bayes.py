"""What knowing how sure it is is worth: test NLL and errors of every posterior of a head, on the splits of the training benchmark.

    python benchmarks/bayes.py --data cats_dogs=FOLDER --data trashnet=FOLDER --data brain_mri=FOLDER [--sets NAME ...]
        [--seeds 3] [--minutes 3 | --head-only] [--posteriors none temperature laplace laplace-torch ensemble]
        [--peer-python PYTHON] [--report]

Each set and seed is trained once with the head alone and once for so many minutes; then each posterior answers for the same test images,
which nothing else has read. A difference is that of the losses of the same images, with its paired 95 % interval over them. Every
posterior chooses what it chooses (temperature, width) on the validation images, the point estimate's temperature too; laplace-torch
(extra `dev`) has the same head and features, and its defaults. "ensemble" is the mean of the probabilities of five models, each trained
for as many epochs as the single one got in its minutes, with other seeds on the same split, at the temperature that the validation
images choose (with the prior that headstart has for it): by epochs, so that it may run beside other work.
Rows already in results/bayes.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import math
import tempfile
import time
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import Quiet, Table, stoppable
from paired import compared, markdown, paired_t
from sets import Divided, arguments, divisions, files_in

from headstart.data._steps import exhausted
from headstart.train.solved import features_now

Row = dict[str, Any]
PEER = "laplace-torch"
ENSEMBLE = "ensemble"
POSTERIORS = ("none", "temperature", "laplace", PEER)
MEMBERS = 5
BASELINE = "temperature"


def run_case(table: Table, split: Divided, case: str, minutes: float | None, asked: argparse.Namespace) -> None:
    """Whatever is missing of one set, seed and course."""
    same = {"case": case, "repeat": split.seed, "split": split.digest}
    if ENSEMBLE in asked.posteriors and (single := table.kept("laplace", **same)) is not None and "epochs" in single:
        table.tried(ENSEMBLE, run=partial(ensemble, split, single["epochs"]), **same)
    missing = [name for name in asked.posteriors if name != ENSEMBLE and not table.kept(name, **same)]
    if not missing:
        return
    import headstart as hs

    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(hs.image_folder(split.folder), observer=Quiet(), seed=split.seed, run=Path(folder) / "run")
        started = time.perf_counter()
        learn.fine_tune(0) if minutes is None else learn.fine_tune(minutes=minutes)
        trained = time.perf_counter() - started
        for name in missing:
            run = peer if name == PEER else partial(answers, name=name, trained=trained)
            table.tried(name, run=partial(run, learn, split.test), **same)


def peer(learn: Any, test: Path) -> Row:
    """The defaults of laplace-torch for the same head on the same features: last layer, Kronecker factors, prior by evidence, probit."""
    import torch

    started = time.perf_counter()
    state, model, modality = learn._session.ready().state, learn.model, learn.modality
    rows, which = exhausted(features_now(state, "train"))
    model.eval()
    files, seen = files_in(test), []
    for first in range(0, len(files), 32):
        batch = modality.stacked([modality.prepared(str(file), file.name) for file in files[first : first + 32]])
        with torch.no_grad():
            seen.append(model.features(modality.to_input(torch.as_tensor(batch))).float())
    reading = time.perf_counter() - started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from laplace import Laplace

        head = torch.nn.Linear(model.head.final.in_features, model.head.final.out_features)
        head.load_state_dict(model.head.final.state_dict())
        pairs = torch.utils.data.TensorDataset(torch.from_numpy(rows), state.parts["train"].targets[which])
        started = time.perf_counter()
        made = Laplace(torch.nn.Sequential(torch.nn.Identity(), head), "classification")
        made.fit(torch.utils.data.DataLoader(pairs, batch_size=64))
        made.optimize_prior_precision()
        fitting = time.perf_counter() - started
        probs = torch.cat([made(one).detach() for one in seen]).double()
    truths = torch.tensor([learn.task.classes.index(file.parent.name) for file in files])
    losses = -probs[torch.arange(len(files)), truths].clamp(min=1e-300).log()
    wrong = [f"{file.parent.name}/{file.name}" for file, right in zip(files, probs.argmax(1) == truths, strict=True) if not right]
    return {
        "words": f"laplace-torch {version('laplace-torch')}",
        "reading": round(reading, 2),
        "fitting": round(fitting, 3),
        "test": {"nll": float(losses.mean()), "error": len(wrong) / len(files), "n": len(files)},
        "losses": [round(loss, 6) for loss in losses.tolist()],
        "wrong": wrong,
    }


def answers(learn: Any, test: Path, name: str, trained: float) -> Row:
    """What a posterior says of the test images: losses, errors, and the seconds that it took to be fitted."""
    started = time.perf_counter()
    post = learn.posterior(name)
    fitting = time.perf_counter() - started
    files = files_in(test)
    started = time.perf_counter()
    said = post.predict([str(file) for file in files])
    asking = time.perf_counter() - started
    losses = [-math.log(max(one.probs[file.parent.name], 1e-300)) for one, file in zip(said, files, strict=True)]
    wrong = [f"{file.parent.name}/{file.name}" for one, file in zip(said, files, strict=True) if one.label != file.parent.name]
    unsure = [one.epistemic for one in said]
    return {
        "words": repr(post),
        "kept": learn.kept,
        "epochs": learn.history[-1]["epoch"],
        "trained": round(trained, 1),
        "fitting": round(fitting, 3),
        "asking": round(asking, 2),
        "test": {"nll": sum(losses) / len(losses), "error": len(wrong) / len(files), "n": len(files)},
        "epistemic": None if unsure[0] is None else sum(unsure) / len(unsure),
        "losses": [round(loss, 6) for loss in losses],
        "wrong": wrong,
    }


def ensemble(split: Divided, epochs: int) -> Row:
    """What five models say together of the test images."""
    import numpy as np
    import torch

    import headstart as hs
    from headstart.core import Outputs
    from headstart.posteriors import _calibrate

    files, said, started = files_in(split.test), {"valid": [], "test": []}, time.perf_counter()
    for member in range(MEMBERS):
        with tempfile.TemporaryDirectory() as folder:
            data = hs.image_folder(split.folder)
            learn = hs.Learner(data, observer=Quiet(), seed=1000 * (1 + member) + split.seed, run=Path(folder) / "run").fine_tune(
                epochs
            )
            state = learn._session.ready().state
            said["valid"].append(torch.as_tensor(state.outputs("valid").mean).double())
            answers = learn.predict([str(file) for file in files], posterior="none")
            said["test"].append(torch.from_numpy(np.array([one.values for one in answers])).log())
            task, targets = state.task, state.parts["valid"].targets
    trained = time.perf_counter() - started
    valid, test = (Outputs(torch.stack([one.log_softmax(1) for one in said[part]]).logsumexp(0)) for part in ("valid", "test"))
    warm, _ = _calibrate.temperature(task, valid, targets)
    probs = torch.as_tensor(task.tempered(test, warm).mean).softmax(1)
    truths = torch.tensor([task.names.index(file.parent.name) for file in files])
    losses = -probs[torch.arange(len(files)), truths].clamp(min=1e-300).log()
    wrong = [f"{file.parent.name}/{file.name}" for file, right in zip(files, probs.argmax(1) == truths, strict=True) if not right]
    return {
        "words": f"{MEMBERS} models of {epochs} epochs, temperature {warm:.2f}",
        "trained": round(trained, 1),
        "test": {"nll": float(losses.mean()), "error": len(wrong) / len(files), "n": len(files)},
        "losses": [round(loss, 6) for loss in losses.tolist()],
        "wrong": wrong,
    }


def report(rows: Sequence[Row], posteriors: Sequence[str]) -> str:
    """NLL of each posterior by set, course and seed, and the paired difference to the point estimate at its temperature."""
    by = {(row["case"], row["repeat"], row["entrant"]): row for row in rows}
    cases = sorted({(row["case"], row["repeat"]) for row in rows})
    lines, totals = [], dict[tuple[str, str], list[float]]()
    for case, seed in cases:
        line = [case, seed]
        for name in posteriors:
            row, base = by.get((case, seed, name)), by.get((case, seed, BASELINE))
            line.append("" if row is None else f"{row['test']['nll']:.4f}")
            if row is not None and base is not None:
                totals.setdefault((case, name), []).extend(a - b for a, b in zip(row["losses"], base["losses"], strict=True))
        lines.append(line)
    parts = [markdown(["set, course", "seed", *posteriors], lines)]
    differences = []
    for case in dict.fromkeys(case for case, _ in cases):
        for name in posteriors:
            if name != BASELINE and (case, name) in totals:
                pairs = [
                    (by[case, seed, name], by[case, seed, BASELINE])
                    for each, seed in cases
                    if each == case and (case, seed, name) in by
                ]
                wrong = [compared(b["wrong"], a["wrong"], a["test"]["n"]) for a, b in pairs]
                first, second = sum(one.first for one in wrong), sum(one.second for one in wrong)
                differences.append(
                    [case, name, paired_t(totals[case, name]), f"{first} -> {second} of {sum(one.n for one in wrong)}"]
                )
    parts.append(markdown(["set, course", "posterior", f"NLL less that of {BASELINE} (95 %, images)", "errors"], differences))
    return "\n\n".join(parts)


def main() -> None:
    """Runs what is missing, then shows the table."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--head-only", action="store_true")
    parser.add_argument("--posteriors", nargs="+", default=list(POSTERIORS))
    asked = parser.parse_args()
    stoppable()
    table = Table("bayes", asked.results)
    if not asked.report:
        for split in divisions(asked):
            run_case(table, split, f"{split.name} head", None, asked)
            if not asked.head_only:
                run_case(table, split, f"{split.name} {asked.minutes:g} min", asked.minutes, asked)
    print(report(table.rows(), (*POSTERIORS, ENSEMBLE)))


if __name__ == "__main__":
    main()
