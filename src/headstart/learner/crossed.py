"""Training examples as held-out ones, for a head on a body that has not learned from them: each is judged by a head solved without it.

Temperature, width and promises hold for examples that the model does not know. Of a small set few are held out, while the body is as it
was published and only the head knows the others: the training examples are dealt into folds, and the head is solved again without each
fold, its prior chosen anew (Vovk 2015, "Cross-conformal predictors"; Barber et al. 2021, "Predictive inference with the jackknife+",
section 3: CV+). These heads know a fifth less, so what they promise errs on the safe side. Once the body has learned from the training
examples this says nothing any more: their features are better than those of others.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from headstart.data.split import folds
from headstart.posteriors._problem import Labelled
from headstart.train.begin import Begun
from headstart.train.solved import solved_without
from headstart.train.state import Seen, TrainState

FOLDS = 5
FEW = 300
"""Validation examples from which on these serve by themselves."""
MOST = 1000
"""Training examples up to which the head is solved so often: a second or a few (docs/log.md)."""


def possible(state: TrainState) -> bool:
    """Whether this can be told, and is of use: a small set, its body untouched, and a head that is solved as a whole."""
    head, counts = state.model.head, {part: len(state.parts[part]) for part in ("train", "valid")}
    if state.kept()["epoch"] or state.settings.head != "solve" or not state.model.backbone.spec.published:
        return False
    few = counts["valid"] < FEW and 2 * FOLDS <= counts["train"] <= MOST
    return few and head.final is not None and head.final is head.solvable


def seconds(state: TrainState) -> float:
    """How long it will take, by what solving the head took."""
    return FOLDS * state.spent.get("solving", 1.0)


def judged(state: TrainState, seen: Seen, learned: Labelled, dealt: Int[np.ndarray, " some"]) -> Labelled:
    """The examples that the head has learned from, in these folds, as heads judge them which have not."""
    said = torch.empty_like(learned.said)
    for away, rows in apart(state, seen, dealt):
        head = solved_without(state, rows[~away], seen.which[~away])
        said[torch.from_numpy(away)] = torch.from_numpy(rows[away] @ head.weight.T + head.bias).float()
    return Labelled(learned.given, said, learned.targets)


def apart(
    state: TrainState, seen: Seen, dealt: Int[np.ndarray, " some"]
) -> Iterator[tuple[Bool[np.ndarray, " some"], Float[np.ndarray, "some features"]]]:
    """Which examples each fold holds, and the features of all as if the backbone too knew nothing of that fold."""
    for fold in np.unique(dealt):
        away = dealt == fold
        yield away, state.model.backbone.resettled(seen.train, ~away)


def dealt(begun: Begun, which: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
    """The fold of each of these training examples; what belongs together stays together."""
    ids = [begun.state.parts["train"].ids[place] for place in which.tolist()]
    found = folds(begun.dataset, ids, begun.audit.groups(), begun.state.task, FOLDS)
    return np.array([found[name] for name in ids])
