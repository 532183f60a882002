"""Training examples as held-out ones, for a head on a body that has not learned from them: each is judged by a head solved without it.

Temperature, width and promises hold for examples that the model does not know. Of a small set few are held out, while the body is as it
was published and only the head knows the others: the training examples are dealt into folds, and the head is solved again without each
fold, its prior chosen anew (Vovk 2015, "Cross-conformal predictors"; Barber et al. 2021, "Predictive inference with the jackknife+",
section 3: CV+). These heads know a fifth less, so what they promise errs on the safe side. Once the body has learned from the training
examples this says nothing any more: their features are better than those of others.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headstart.data.split import folds
from headstart.posteriors._problem import Labelled
from headstart.train.begin import Begun
from headstart.train.solved import solved_without
from headstart.train.state import TrainState

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


def crossed(begun: Begun, learned: Labelled) -> Labelled:
    """The examples that the head has learned from, as heads judge them which have not."""
    state, seen = begun.state, begun.state.seen
    assert seen is not None, "the features are at hand"
    said = torch.empty_like(learned.said)
    dealt = _folds(begun, seen.which)
    for fold in range(FOLDS):
        away = dealt == fold
        if away.any():
            said[torch.from_numpy(away)] = _said(state, seen.train, seen.which, away)
    return Labelled(learned.given, said, learned.targets)


def _said(
    state: TrainState, rows: Float[np.ndarray, "some features"], which: Int[np.ndarray, " some"], away: np.ndarray
) -> Float[Tensor, "fold outputs"]:
    """Of those that are `away`, by a head solved on the others."""
    head = solved_without(state, rows[~away], which[~away])
    return torch.from_numpy(rows[away] @ head.weight.T + head.bias).float()


def _folds(begun: Begun, which: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
    """The fold of each of these training examples; what belongs together stays together."""
    ids = [begun.state.parts["train"].ids[place] for place in which.tolist()]
    dealt = folds(begun.dataset, ids, begun.audit.groups(), begun.state.task, FOLDS)
    return np.array([dealt[name] for name in ids])
