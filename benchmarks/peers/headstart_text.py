"""headstart on a table of texts, judged on another: the head alone, or all layers for so many minutes. One JSON line out.

    python headstart_text.py TABLE TEST RUN [--minutes M] [--seed N] [--set NAME=VALUE ...]

TABLE has the columns text, label and part, TEST text and label. The minutes hold everything from the call on: reading, tokens,
features, head, training, evaluation and saving.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import headstart as hs


class Silent:
    """Nothing is shown."""

    def show(self, event: object) -> None: ...

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("test")
    parser.add_argument("run")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (word.partition("=") for word in asked.set)}
    started = time.perf_counter()
    learn = hs.Learner(hs.text_csv(asked.table), seed=asked.seed, run=asked.run, observer=Silent(), **settings)
    learn.fine_tune(0) if asked.minutes is None else learn.fine_tune(minutes=asked.minutes)
    seconds = time.perf_counter() - started
    test = hs.text_csv(asked.test)
    texts, names = [test.arrays[record.source] for record in test.records], list(learn.task.names)
    probs = np.array([prediction.values for prediction in learn.predictions(texts)], np.float64)
    labels = np.array([names.index(str(record.target)) for record in test.records])
    losses = -np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12))
    wrong = np.flatnonzero(probs.argmax(1) != labels).tolist()
    told = {
        "seconds": round(seconds, 1),
        "kept": learn.kept,
        "curve": [{key: row[key] for key in ("epoch", "valid_loss", "error_rate", "seconds")} for row in learn.history],
        "test": {"nll": float(losses.mean()), "error_rate": len(wrong) / len(labels), "n": len(labels)},
        "wrong": [str(place) for place in wrong],
        "losses": [round(loss, 6) for loss in losses.tolist()],
    }
    print(json.dumps(told | {"run": str(Path(asked.run).absolute())}))


if __name__ == "__main__":
    main()
