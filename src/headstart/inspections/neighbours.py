"""What looks like this to the model: the training images whose features are nearest, now and before it was trained.

Nearness is the cosine of centred features. It says what looks alike to the model, not what made it answer so: the correlation with the
effect of leaving an image out is about zero.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from headstart.core import Finding, Strip
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._shown import Shown
from headstart.inspections._trace import Look, Trace
from headstart.metrics.measured import average
from headstart.seeds import numpy_generator

QUESTION = "Which training examples look like this one to it?"
NEEDS = ("classes", "before")
NEAREST = 5
AT_ONCE = 1024


def inspect(trace: Trace) -> Finding:
    """How many of the training examples nearest to a validation example are of its class, now and before training."""
    assert trace.classes is not None and trace.before is not None, "NEEDS says so"
    judged = trace.judged()
    shares = {}
    for when, features in _times(trace).items():
        near = nearest(features[judged], features[~trace.valid])
        own = trace.classes[~trace.valid][near] == trace.classes[judged][:, None]
        shares[when] = average(own.mean(1))
    before = f"; before training {100 * shares['before'].value:.0f} %" if "before" in shares else ""
    return Finding(
        "neighbours",
        QUESTION,
        f"Of the {min(NEAREST, int((~trace.valid).sum()))} training examples that look most like a validation example to the model, "
        f"{100 * shares['now'].value:.0f} % are of its class{before}.",
        "good",
        {f"of its class, {when}": share for when, share in shares.items()},
        strips=_strips(trace, trace.chosen) if trace.pictures is not None and trace.model is not None else (),
        caveats=(CAVEAT,),
    )


CAVEAT = "They look alike to the model. That one of them is the reason for an answer does not follow."


def look(trace: Trace, shown: Sequence[Shown]) -> Finding:
    """The training examples nearest to these pictures, as the model is now."""
    strips, items = _strips(trace, shown), []
    for one, strip in zip(shown, strips, strict=True):
        near = [picture.caption for picture in strip.pictures[1:]]
        items.append({"id": one.id, "said": one.text, "labels of the nearest": ", ".join(near)})
    same = [sum(picture.caption == one.text for picture in strip.pictures[1:]) for one, strip in zip(shown, strips, strict=True)]
    return Finding(
        "neighbours",
        QUESTION,
        f"{sum(same):,} of the {sum(len(strip.pictures) - 1 for strip in strips):,} training examples that look most like it are labelled "
        f"{' or '.join(dict.fromkeys(one.text for one in shown))}.",
        "good",
        {},
        items,
        strips,
        caveats=(CAVEAT,),
    )


def _times(trace: Trace) -> dict[str, Float[np.ndarray, "examples features"]]:
    """Features by when they are of; before only where the body has been trained since."""
    assert trace.before is not None, "NEEDS says so"
    old = {} if trace.before is trace.after else {"before": trace.before.features}
    return {"now": trace.after.features, **old}


def nearest(
    asked: Float[np.ndarray, "asked features"], known: Float[np.ndarray, "known features"], count: int = NEAREST
) -> Int[np.ndarray, "asked count"]:
    """The rows of `known` with the largest cosine to each asked one, both less the mean of `known`, the nearest first."""
    middle = known.mean(0)
    targets, found = unit(known - middle), []
    for first in range(0, len(asked), AT_ONCE):
        alike = unit(asked[first : first + AT_ONCE] - middle) @ targets.T
        found.append(np.argsort(-alike, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def unit(rows: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows features"]:
    """Rows of length one in the same direction."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _strips(trace: Trace, shown: Sequence[Shown]) -> list[Strip]:
    """Each picture beside the training examples nearest to it now."""
    trained, strips = np.flatnonzero(~trace.valid), []
    near = nearest(np.stack([one.features for one in shown]), trace.after.features[trained])
    for one, row in zip(shown, near, strict=True):
        places = trained[row].tolist()
        strips.append(one.beside(*trace.captioned(places, trace.task.texts(trace.targets[places]))))
    return strips


def plant(seed: int) -> Plant:
    """Features that training drew together by class; in the clean twin they tell the classes as they did."""
    truth = np.arange(200) // 2 % 4
    draw = numpy_generator(seed, "plant", "neighbours")
    noise = draw.standard_normal((200, 16)).astype(np.float32)
    drawn = noise + 4 * np.eye(4, 16, dtype=np.float32)[truth]
    said = logits(truth, 4, seed).astype(np.float32)
    now, then = Look(drawn, (), said), Look(noise, (), None)
    return Plant(
        trace(said, truth, after=now, before=then),
        trace(said, truth, after=now, before=now),
        lambda found: found.numbers["of its class, now"].value > 0.9 and found.numbers["of its class, before"].value < 0.4,
    )
