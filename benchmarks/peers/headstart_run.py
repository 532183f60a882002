"""headstart on given folders, one JSON line out: what the other entrants of `peers/` do, with what only it can do.

    python headstart_run.py FOLDER RUN (--epochs N | --minutes M) [--go-on] [--cut-off M] [--seed N] [--set NAME=VALUE ...]

FOLDER holds train/, valid/ and test/ with one folder per class. Nothing but the last judgement reads test/. `--go-on` trains an
existing RUN further with `more`. `--cut-off M` stops M minutes after the process began, wherever the schedule is, and judges the
weights as they are: what a tool without a schedule for deadlines gives; the same features with the head solved are judged too.
The time asked for begins with the process and ends with the saved model; the judgement on test/ comes after it.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

began = time.perf_counter() - time.process_time()
import headstart as hs
from headstart.core import Event, Note, RowDone, StepDone


class Watch:
    """Counts optimizer steps; at the cut-off it keeps a copy of the weights and stops as Ctrl-C would."""

    def __init__(self, cut_off: float | None) -> None:
        self.cut_off = cut_off
        self.steps = 0
        self.learner: hs.Learner | None = None
        self.weights: dict[str, Any] = {}
        self.lr: float | None = None

    def show(self, event: Event) -> None:
        match event:
            case Note(text):
                print(text, file=sys.stderr)
            case RowDone(row):
                print(json.dumps(row), file=sys.stderr, flush=True)
            case StepDone():
                self.steps += 1
                self.lr = event.lr
                if self.cut_off is not None and self.learner and time.perf_counter() - began >= 60 * self.cut_off:
                    self.weights = {name: value.detach().clone() for name, value in self.learner.model.state_dict().items()}
                    raise KeyboardInterrupt
            case _:
                pass

    def close(self) -> None:
        """Nothing is open."""


def judged(learner: hs.Learner, folder: Path) -> dict[str, Any]:
    """NLL, errors and which images they are, of every image below `folder`."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    losses, wrong = [], []
    for file, told in zip(files, learner.predictions([str(file) for file in files]), strict=True):
        if told.error:
            raise SystemExit(f"{file}: {told.error}")
        losses.append(-math.log(told.probs[file.parent.name] + 1e-9))
        if told.label != file.parent.name:
            wrong.append(f"{file.parent.name}/{file.name}")
    return {"nll": sum(losses) / len(losses), "error_rate": len(wrong) / len(files), "n": len(files), "wrong": wrong}


def main() -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--go-on", action="store_true")
    parser.add_argument("--cut-off", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, its value in JSON")
    asked = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in asked.set)}
    watch = Watch(asked.cut_off)
    if asked.go_on:
        learner = hs.load(asked.run, observer=watch, started=began)
        before = learner.history[-1]["seconds"]
        verb = learner.more
    else:
        data = hs.image_folder(asked.folder)
        learner = hs.Learner(data, run=asked.run, observer=watch, started=began, seed=asked.seed, **settings)
        before, verb = 0.0, learner.fine_tune
    watch.learner = learner
    verb(asked.epochs, minutes=asked.minutes)
    said: dict[str, Any] = {
        "taken": time.perf_counter() - began,
        "steps": watch.steps,
        "training_seconds": learner.history[-1]["seconds"] - before,
        "kept": learner.kept,
        "stopped": learner.stopped,
        "last_lr": watch.lr,
        "rows": learner.history,
    }
    if asked.cut_off is not None and not learner.stopped:
        raise SystemExit("the training ended before the cut-off: ask for more minutes.")
    if watch.weights:
        learner.model.load_state_dict(watch.weights)
        bundle = learner.save(asked.run.with_name(asked.run.name + "-cut"))
        data, run = hs.image_folder(asked.folder), asked.run.with_name(asked.run.name + "-solved")
        solved = hs.Learner(data, run=run, backbone=bundle, observer=Watch(None), seed=asked.seed).fine_tune(0)
        said["solved"] = {"test": judged(solved, asked.folder / "test"), "valid": judged(solved, asked.folder / "valid")}
    said |= {"test": judged(learner, asked.folder / "test"), "valid": judged(learner, asked.folder / "valid")}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
