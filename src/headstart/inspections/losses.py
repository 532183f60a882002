"""The examples whose labels the model finds least probable."""

import numpy as np
import torch
from jaxtyping import Int

from headstart.core import Finding, Outputs
from headstart.curvature import softmax
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import average

QUESTION = "Which examples is it most wrong about?"
NEEDS: tuple[str, ...] = ()
SHOWN = 12
SHARE = 0.05
"""Of the examples: the worst of them, of which is told how much of all loss they make up."""
SURPRISING = 0.01
"""A label that the model finds no more probable than that is a surprise."""
CHANCE = 0.01
"""More surprises than a model that is right about its own probabilities would meet so often."""


def inspect(trace: Trace) -> Finding:
    """The validation examples by their loss, the largest first; how many labels surprise the model, and how many it expects to."""
    judged = trace.judged()
    losses = trace.losses[judged]
    order = np.argsort(-losses, kind="stable")
    worst = judged[order[:SHOWN]]
    few = max(1, round(SHARE * len(judged)))
    share = float(losses[order[:few]].sum() / max(losses.sum(), 1e-12))
    said, truth = _words(trace, worst), trace.task.texts(trace.targets[worst])
    items = [
        {"id": trace.ids[place], "given": true, "predicted": one.text, "probability": one.probability, "loss": float(loss)}
        for place, true, one, loss in zip(worst.tolist(), truth, said, losses[order[:SHOWN]].tolist(), strict=True)
    ]
    told, surprised = _surprises(trace, judged)
    headline = (
        f"The worst {few:,} of {len(judged):,} validation examples make up {100 * share:.0f} % of all loss."
        if len(judged) > few
        else "There is a single validation example."
    )
    return Finding(
        "losses",
        QUESTION,
        f"{headline}{told}",
        "look" if surprised else "good",
        {"nll": average(losses, 0.0)},
        items,
        trace.strip(
            "The largest losses", worst.tolist(), [f"labelled {item['given']}, said {item['predicted']}" for item in items]
        ),
        caveats=(
            "A large loss is a wrong label, a hard example, or a kind of example that the model has not seen: look to tell.",
        ),
        advice="Look at them. A wrong label can be corrected in a label file (path,label,action,part,reason).",
    )


def _surprises(trace: Trace, judged: Int[np.ndarray, " validation"]) -> tuple[str, bool]:
    """How many labels surprise the model and how many it expects to, in words, and whether that is more than chance (Poisson)."""
    if trace.classes is None or not len(judged):
        return "", False
    from scipy import stats

    probs = softmax(trace.said[judged].astype(np.float64))
    found = int((probs[np.arange(len(judged)), trace.classes[judged]] <= SURPRISING).sum())
    expected = float(probs[probs <= SURPRISING].sum())
    told = (
        ""
        if not found
        else (
            f" {found:,} label{' has' if found == 1 else 's have'} at most {100 * SURPRISING:g} % of its belief, "
            f"where it expects {expected:.1f}."
        )
    )
    return told, bool(stats.poisson.sf(found - 1, max(expected, 1e-9)) < CHANCE)


def _words(trace: Trace, places: np.ndarray) -> list:
    return trace.task.predict(Outputs(torch.from_numpy(trace.said[places])), [trace.ids[place] for place in places])


def plant(seed: int) -> Plant:
    """Ten of two hundred examples are said to be something else, with great confidence."""
    truth = np.arange(200) % 3
    good = logits(truth, 3, seed, margin=6.0)
    bad = good.copy()
    wrong = np.arange(0, 200, 20)
    bad[wrong] = logits((truth[wrong] + 1) % 3, 3, seed + 1, margin=20.0)
    names = {f"{place}.jpg" for place in wrong}
    return Plant(trace(bad, truth), trace(good, truth), lambda found: names <= {item["id"] for item in found.items[: len(names)]})
