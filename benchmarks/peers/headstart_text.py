"""headstart on a table of texts, judged on another: the head alone, or all layers for so many minutes. One JSON line out.

    python headstart_text.py TABLE TEST RUN [--minutes M] [--seed N] [--set NAME=VALUE ...]

TABLE has the columns text, label and part, TEST text and label. The minutes hold everything from the call on: reading, tokens,
features, head, training, evaluation and saving.
"""

import json
from functools import partial

import numpy as np
from ours import parser, trained

import headstart as hs


def main() -> None:
    asked = parser(__doc__, "table", "test", "run").parse_args()
    learn, told = trained(asked, partial(hs.text_csv, asked.table))
    test = hs.text_csv(asked.test)
    assert test.arrays is not None, "a table of texts holds them"
    texts, names = [test.arrays[record.source] for record in test.records], list(learn.task.names)
    probs = np.array([prediction.values for prediction in learn.predictions(texts)], np.float64)
    labels = np.array([names.index(str(record.target)) for record in test.records])
    losses = -np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12))
    wrong = np.flatnonzero(probs.argmax(1) != labels).tolist()
    told["test"] = {"nll": float(losses.mean()), "error_rate": len(wrong) / len(labels), "n": len(labels)}
    told |= {"wrong": [str(place) for place in wrong], "losses": [round(loss, 6) for loss in losses.tolist()]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
