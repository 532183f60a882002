"""headstart on a table of images with labels or numbers, judged on its test part. One JSON line out: what it says of each test image.

    python headstart_table.py TABLE FOLDER RUN [--minutes M] [--seed N] [--task multi_label|regression] [--set NAME=VALUE ...]

TABLE has the columns image, part (train, valid, test) and the labels, FOLDER is where its paths start. The minutes hold everything
from the call on: reading, features, head, training, evaluation and saving. `said` are probabilities of the labels, or pairs of mean
and deviation.
"""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

from ours import parser, trained

import headstart as hs


def said_of(prediction: Any) -> list[float]:
    """The probability of each label in the order of the task, or mean and deviation."""
    if hasattr(prediction, "deviations"):
        return [float(prediction.values[0]), float(prediction.deviations[0])]
    return [float(value) for value in prediction.values]


def main() -> None:
    made = parser(__doc__, "table", "folder", "run")
    made.add_argument("--task", default="multi_label")
    asked = made.parse_args()
    with Path(asked.table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [name for name in rows[0] if name not in ("image", "part")]
    read = partial(hs.image_csv, asked.table, folder=asked.folder, image_column="image", label_column=labels)
    learn, told = trained(asked, read, task=asked.task)
    test = [str(Path(asked.folder) / row["image"]) for row in rows if row["part"] == "test"]
    said = [said_of(prediction) for prediction in learn.predictions(test)]
    print(json.dumps({**told, "names": list(learn.task.names), "said": said}))


if __name__ == "__main__":
    main()
