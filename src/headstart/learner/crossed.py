"""Training examples as held-out ones, for a head on a body that has not learned from them: each is judged by a head solved without it.

Temperature, width and promises hold for examples that the model does not know. Of a small set few are held out, while the body is as it
was published and only the head knows the others: the training examples are dealt into folds, and the head is solved again without each
fold, its prior chosen anew (Vovk 2015, "Cross-conformal predictors"; Barber et al. 2021, "Predictive inference with the jackknife+",
section 3: CV+). These heads know a fifth less, so what they promise errs on the safe side. Once the body has learned from the training
examples this says nothing any more: their features are better than those of others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headstart.data import split
from headstart.posteriors._problem import Labelled
from headstart.train.begin import Begun
from headstart.train.budget import CLOSING_SECONDS
from headstart.train.solved import solved_for, weights_of_some
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


def has_time(state: TrainState, left: Callable[[], float]) -> bool:
    """Whether it is possible, and so many seconds are `left` as it will take, by what solving the head took."""
    reserve = CLOSING_SECONDS + state.spent.get("saving", 1.0)
    return possible(state) and left() > FOLDS * state.spent.get("solving", 1.0) + reserve


def judged(state: TrainState, seen: Seen, learned: Labelled, folds: Int[np.ndarray, " some"]) -> Labelled:
    """The examples that the head has learned from, in these folds, as heads judge them which have not."""
    return replace(learned, said=outputs(state, seen.train, learned.targets, folds, weights_of_some(state, seen.which)))


def outputs(
    state: TrainState,
    rows: Float[np.ndarray, "some features"],
    targets: Tensor,
    folds: Int[np.ndarray, " some"],
    weights: Float[np.ndarray, " some"] | None = None,
) -> Float[Tensor, "some outputs"]:
    """Of labelled examples by their features, each by a head that was solved without its fold."""
    said = torch.empty(len(rows), state.task.outputs)
    for away, known in apart(state, rows, folds):
        rest = None if weights is None else weights[~away]
        head = solved_for(state, known[~away], targets[torch.from_numpy(~away)], rest)
        said[torch.from_numpy(away)] = torch.from_numpy(known[away] @ head.weight.T + head.bias).float()
    return said


def apart(
    state: TrainState, rows: Float[np.ndarray, "some features"], folds: Int[np.ndarray, " some"]
) -> Iterator[tuple[Bool[np.ndarray, " some"], Float[np.ndarray, "some features"]]]:
    """Which examples each fold holds, and the features of all as if the backbone too knew nothing of that fold."""
    for fold in np.unique(folds):
        away = folds == fold
        yield away, state.model.backbone.resettled(rows, ~away)


def dealt(begun: Begun, ids: Sequence[str]) -> Int[np.ndarray, " some"]:
    """The fold of each of these examples; what belongs together stays together."""
    found = split.folds(begun.dataset, ids, begun.audit.groups(), begun.state.task, FOLDS)
    return np.array([found[name] for name in ids])
