"""Whether the model is as often right as it says that it is, by what it says with its posterior."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float

from headstart.core import Finding, Outputs, Row, Verdict
from headstart.inspections._plant import Plant, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import Measured, average, proportion
from headstart.seeds import numpy_generator

QUESTION = "When it says 90 %, is it right 90 % of the time?"
NEEDS = ("classes", "believed")
FEWEST = 200
"""Validation examples below which nothing can be told."""
EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Between the rows of the table: what is told to people is told in such words."""
MUCH = 0.02
"""Confidence less accuracy, beyond chance, from which on it is told to be too sure or too unsure."""


def inspect(trace: Trace) -> Finding:
    """How often answers are right by how sure they are, and by how much confidence and accuracy differ on the whole."""
    assert trace.classes is not None and trace.believed is not None, "NEEDS says so"
    judged = trace.judged()
    said = trace.task.predict(trace.believed, [trace.ids[place] for place in judged])
    truth = trace.task.texts(trace.targets[judged])
    sure = np.array([one.probability for one in said], np.float64)
    right = np.array([one.text == true for one, true in zip(said, truth, strict=True)])
    gap = average(sure - right, -1.0, 1.0)
    measured = trace.task.metrics(("nll", "ece"))
    numbers = {"confidence less accuracy": gap} | {
        name: metric(trace.believed, trace.targets[judged]) for name, metric in measured.items()
    }
    headline, verdict = _told(gap, float(sure.mean()), len(judged))
    return Finding(
        "calibration",
        QUESTION,
        headline,
        verdict,
        numbers,
        _table(sure, right),
        caveats=(
            "Its temperature and width were chosen on these validation examples, so the figures lean to the good side.",
            "This holds for examples like these. Of another source it can be surer than it should be without a sign.",
        ),
        advice="More validation examples make its temperature better; posterior=hmc is the more exact posterior."
        if verdict == "look"
        else "",
    )


def _told(gap: Measured, sure: float, count: int) -> tuple[str, Verdict]:
    if count < FEWEST or gap.low is None or gap.high is None:
        return f"It cannot be told from {count:,} validation examples: that takes {FEWEST}.", "unknown"
    if gap.low > MUCH or gap.high < -MUCH:
        word = "too sure" if gap.value > 0 else "too unsure"
        return (
            f"It is {word}: on average it says {100 * sure:.0f} % and is right {100 * (sure - gap.value):.0f} % of the time "
            f"(difference {100 * gap.low:.0f} to {100 * gap.high:.0f} points).",
            "look",
        )
    return f"Yes: on average it says {100 * sure:.0f} % and is right {100 * (sure - gap.value):.0f} % of the time.", "good"


def _table(sure: Float[np.ndarray, " validation"], right: Bool[np.ndarray, " validation"]) -> list[Row]:
    """A row for each stretch of confidence that has examples: what was said, and what was so."""
    rows = []
    for low, high in pairwise(EDGES):
        inside = (sure >= low) & ((sure < high) | (high == 1.0))
        if inside.any():
            share = proportion(int(right[inside].sum()), int(inside.sum()))
            rows.append(
                {
                    "it says": f"{100 * low:.0f} to {100 * high:.0f} %",
                    "on average": float(sure[inside].mean()),
                    "is right": share.value,
                    "low": share.low,
                    "high": share.high,
                    "n": share.n,
                }
            )
    return rows


def plant(seed: int) -> Plant:
    """Labels drawn by the probabilities that are said; the faulty twin says three times the logits."""
    draw = numpy_generator(seed, "plant", "calibration")
    said = 2.0 * draw.standard_normal((2000, 3))
    truth = (said + draw.gumbel(size=said.shape)).argmax(1)
    every = np.ones(2000, bool)
    faulty, clean = (trace(scale * said, truth, every, believed=Outputs(torch.from_numpy(scale * said))) for scale in (3.0, 1.0))
    return Plant(faulty, clean, lambda found: found.verdict == "look" and "too sure" in found.headline)
