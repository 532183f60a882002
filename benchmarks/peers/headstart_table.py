"""headstart on a table of images with labels or numbers, judged on its test part. One JSON line out: what it says of each test image.

    python headstart_table.py TABLE FOLDER RUN [--minutes M] [--seed N] [--task multi_label|regression] [--set NAME=VALUE ...]

TABLE has the columns image, part (train, valid, test) and the labels, FOLDER is where its paths start. The minutes hold everything
from the call on: reading, features, head, training, evaluation and saving. `said` are probabilities of the labels, or pairs of mean
and deviation.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import headstart as hs


class Silent:
    """Nothing is shown."""

    def show(self, event: object) -> None: ...

    def close(self) -> None: ...


def said_of(prediction: Any) -> list[float]:
    """The probability of each label in the order of the task, or mean and deviation."""
    if hasattr(prediction, "deviations"):
        return [float(prediction.values[0]), float(prediction.deviations[0])]
    return [float(value) for value in prediction.values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("folder")
    parser.add_argument("run")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", default="multi_label")
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (word.partition("=") for word in asked.set)}
    with Path(asked.table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [name for name in rows[0] if name not in ("image", "part")]
    started = time.perf_counter()
    data = hs.image_csv(asked.table, folder=asked.folder, image_column="image", label_column=labels)
    learn = hs.Learner(data, task=asked.task, seed=asked.seed, run=asked.run, observer=Silent(), **settings)
    learn.fine_tune(0) if asked.minutes is None else learn.fine_tune(minutes=asked.minutes)
    seconds = time.perf_counter() - started
    test = [str(Path(asked.folder) / row["image"]) for row in rows if row["part"] == "test"]
    told = {
        "seconds": round(seconds, 1),
        "kept": learn.kept,
        "names": list(learn.task.names),
        "said": [said_of(prediction) for prediction in learn.predictions(test)],
        "curve": [{key: row[key] for key in ("epoch", "valid_loss", "seconds")} for row in learn.history],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
