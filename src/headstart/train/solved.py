"""The solved head in a training: row 0 on cached features, and once more on the final ones."""

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headstart import plugins
from headstart.core import Event, Note, Outputs, Progress, RowDone
from headstart.data import balance
from headstart.data.batches import Examples, stored
from headstart.engine.frozen import torch_features
from headstart.errors import DataError
from headstart.evaluate import predict
from headstart.heads._head import Head
from headstart.seeds import numpy_generator
from headstart.train import seeing
from headstart.train.budget import Clock
from headstart.train.course import weights_of
from headstart.train.features import Features
from headstart.train.state import Seen, TrainState

if TYPE_CHECKING:
    from headstart.train.head_solve import Linear, SolvedHead

LOGITS_AGREE = 0.05
"""Largest difference in an output, in nats, that another engine than torch may cause."""
CHECKED = 8
FEWEST = 32
"""Examples without classes that a head is solved on, where there is no time for all."""
BELIEVED = 10_000
"""Examples of a part at most whose features are kept for a posterior: more would change it by next to nothing."""
HELD = 1 << 25
"""Numbers that the head is given at once."""
Recompute = Callable[[], Generator[Event, None, Features]]


def solve_head(state: TrainState, features: Features, recompute: Recompute, clock: Clock, rival: bool = False) -> Iterator[Event]:
    """Step 1, solved: the head at the mode of its posterior on cached features; yields row 0.

    With `rival` the head that the model comes with stays where the validation part says that it is the better one. Should the
    engine that computed the features lead to other outputs than torch does, they are computed again by torch.
    """
    came_with = weights_of(state.model.head)
    solved = _solve(state, features)
    difference = _disagreement(state, features)
    if difference > LOGITS_AGREE:
        yield Note(
            f"{features.engine} differs from torch by {difference:.2g} in the head's outputs: computing the features again by torch."
        )
        features = yield from recompute()
        solved = _solve(state, features)
    started = time.perf_counter()
    alone = _solve_guide(state, features)
    if seeing.is_open(state.settings):
        features, solved, sentence = seeing.by_evidence(state, features, solved, alone, time.perf_counter() - started)
        if sentence:
            yield Note(sentence)
    outputs, stays = _from_features(state, features, "valid"), False
    if rival:
        outputs, stays = _better(state, features, came_with, outputs)
    _remember(state, features, solved)
    row = state.add_row(0, "head", _train_loss(state, features), outputs, None, clock.seconds())
    if stays:
        yield Note("The head stays as it came: solved on these images it would be no better on the validation part.")
    else:
        yield Note(
            f"The head is solved to convergence: prior precision {solved.typical_precision:.3g} by the evidence, "
            f"{solved.effective_parameters:.0f} of {solved.weight.size:,} numbers determined by the data."
        )
    yield RowDone(row)


def _remember(state: TrainState, features: Features, solved: "SolvedHead") -> None:
    """Keeps what the posterior of row 0 is fitted to, where the head has one."""
    if state.model.head.final is None:
        return
    train, valid = state.parts["train"].indices, state.parts["valid"].indices
    which, others = some_of(state, "train"), some_of(state, "valid")
    turned = solved.turned if len(which) == len(train) else None
    state.seen = Seen(0, features.rows[train[which]], which, features.rows[valid[others]], others, solved.precision, turned)


def some_of(state: TrainState, part: str) -> Int[np.ndarray, " some"]:
    """Examples of a part that a posterior is fitted to: at most `BELIEVED`, drawn at random; the first that `features_now` reaches."""
    return np.sort(numpy_generator(state.settings.seed, "features", part).permutation(len(state.parts[part]))[:BELIEVED])


def _train_loss(state: TrainState, features: Features) -> float:
    """Mean training objective of the head on the features of the training images, as the task counts it."""
    train = state.parts["train"]
    losses = state.objective.loss(_from_features(state, features, "train").mean, train.targets).double()
    even = state.settings.balance == "none" or train.groups is None
    weights = np.ones(len(train)) if even else balance.weights(train.groups)
    return float((losses * torch.from_numpy(weights)).mean())


def _better(state: TrainState, features: Features, came_with: dict[str, Tensor], outputs: Outputs) -> tuple[Outputs, bool]:
    """Of the head that the model came with and the solved one, which it has, the better: its outputs, and if it is the first."""
    solved = weights_of(state.model.head)
    state.model.head.load_state_dict(came_with)
    first = _from_features(state, features, "valid")
    losses = [float(state.task.loss(each.mean, state.parts["valid"].targets).mean()) for each in (first, outputs)]
    if losses[0] <= losses[1]:
        return first, True
    state.model.head.load_state_dict(solved)
    return outputs, False


def _solve(state: TrainState, features: Features) -> "SolvedHead":
    """The `SolvedHead` on the cached features, which is also put into the model."""
    train = state.parts["train"]
    started = time.perf_counter()
    solved = _solved(state, features.rows[train.indices])
    put_head(state.model.head, solved.weight, solved.bias)
    state.spent["solving"] = time.perf_counter() - started
    return solved


def _solve_guide(state: TrainState, features: Features) -> "SolvedHead | None":
    """The guide of the head on the features that it sees, which the model has then; None where the head has none."""
    guide = state.model.head.guide
    if guide is None:
        return None
    solved = _solved(state, features.rows[state.parts["train"].indices, : guide.in_features], layer=guide)
    _put(guide, solved.weight, solved.bias)
    return solved


def solved_for(
    state: TrainState,
    rows: Float[np.ndarray, "batch features"],
    targets: Tensor,
    weights: Float[np.ndarray, " batch"] | None = None,
) -> "SolvedHead | Linear":
    """The head solved on these examples as if there were no others; without a second class it tells nothing apart.

    A class that is not among them is half as frequent as a single one of them would make it.
    """
    from headstart.train.head_solve import Linear

    layer = state.model.head.solvable
    assert layer is not None, "only a head with a linear part is solved"
    nothing = Linear(np.zeros(layer.weight.shape), np.full(layer.out_features, -np.log(2 * len(rows))))
    try:
        given, known = state.model.head.as_rows(rows, targets.numpy())
        return solver_of(state)(given, known, came_with=nothing, weights=weights)
    except DataError:
        return nothing


def weights_of_some(state: TrainState, which: Int[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"] | None:
    """What these training examples weigh when the head is solved; None where all weigh the same.

    Classes drawn evenly and classes weighed evenly are one objective, and a solved head has no draws.
    """
    groups = state.parts["train"].groups
    return None if state.settings.balance == "none" or groups is None else balance.weights(groups)[which]


def _solved(
    state: TrainState,
    rows: Float[np.ndarray, "batch features"],
    which: Int[np.ndarray, " batch"] | None = None,
    layer: nn.Linear | None = None,
) -> "SolvedHead":
    """The `SolvedHead` on the features of the training images, or of these of them; of the head, or of a layer beside it."""
    train = state.parts["train"]
    chosen = np.arange(len(train)) if which is None else which
    given, known = state.model.head.as_rows(rows, train.targets.numpy()[chosen])
    weights = weights_of_some(state, chosen)
    if state.settings.balance != "none" and train.groups is None:  # places, of which each is an example
        weights = balance.weights(known)
    return solver_at(state, layer or state.model.head.solvable)(given, known, weights=weights)


def solver_of(state: TrainState) -> Callable[..., Any]:
    """Makes the `SolvedHead` of the task from features and targets, and weights where they have some."""
    return solver_at(state, state.model.head.solvable)


def solver_at(state: TrainState, layer: nn.Linear) -> Callable[..., Any]:
    """The same of a linear layer, from what it is given."""
    from headstart.train.head_solve import Linear  # scipy takes half a second to import, and only this needs it

    kept = weights_of(layer)
    linear = Linear(kept["weight"].numpy(), kept["bias"].numpy())
    return partial(plugins.find("train.solvers", state.task.solver).solve, came_with=linear)


def put_head(head: Head, weight: Float[np.ndarray, "outputs features"], bias: Float[np.ndarray, " outputs"]) -> None:
    """Makes the head say what the solved linear part says."""
    linear = head.solvable
    assert linear is not None, "only a head with a linear part is solved"
    _put(linear, weight, bias)
    head.solved()


def _put(linear: nn.Linear, weight: Float[np.ndarray, "outputs features"], bias: Float[np.ndarray, " outputs"]) -> None:
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))


def solve_again(
    state: TrainState, time_left: Callable[[], bool] = lambda: True, epoch: int | None = None
) -> Generator[Event, None, Outputs]:
    """The validation outputs of the better of two heads on the features as they are now, which the model then has.

    One is the head as trained, the other is solved. The features of images that were trained on are better than those of
    others, which makes a head solved on them too sure where training went far; where it did not, solving is free quality.
    The validation part tells (docs/log.md). Where time runs out, the head is solved on as many training images as were
    reached, drawn at random. `epoch` is that of the row to come, whose posterior the features are kept for.
    """
    valid, _ = yield from features_now(state, "valid")
    trained = _head_outputs(state, valid)
    rows, reached = yield from features_now(state, "train", time_left)
    if not enough(state.parts["train"], reached):
        yield Note("There was no time to solve the head again: it is kept as trained.")
        return trained
    solved = _solved(state, rows, reached)
    again = Outputs(torch.from_numpy(valid @ solved.weight.T + solved.bias).float())
    losses = [float(state.task.loss(each.mean, state.parts["valid"].targets).mean()) for each in (trained, again)]
    better = losses[1] < losses[0]
    if epoch is not None and state.model.head.final is not None:
        believed, others = np.isin(reached, some_of(state, "train")), some_of(state, "valid")
        turned = solved.turned if believed.all() else None
        state.seen = Seen(epoch, rows[believed], reached[believed], valid[others], others, solved.precision, turned)
    if better:
        put_head(state.model.head, solved.weight, solved.bias)
    items = state.parts["train"].store.modality.words.items
    some = "" if len(reached) == len(state.parts["train"]) else f" of {len(reached):,} training {items}, for lack of time,"
    yield Note(
        f"The head solved again on the features as they are now{some} is {'' if better else 'not '}kept: "
        f"valid_loss {losses[1]:.3f} against {losses[0]:.3f} as trained."
    )
    return again if better else trained


def enough(train: Examples, reached: Int[np.ndarray, " batch"]) -> bool:
    """Whether the head can be solved on these of the training examples: some of every class, of which the others have more."""
    if train.groups is None:
        return len(reached) >= min(len(train), FEWEST)
    return len(np.unique(train.groups[reached])) == len(np.unique(train.groups))


def features_now(
    state: TrainState, part: str, time_left: Callable[[], bool] = lambda: True, most: int | None = None
) -> Generator[Event, None, tuple[Float[np.ndarray, "batch features"], Int[np.ndarray, " batch"]]]:
    """What the backbone as it is now gives for the examples of a part, by torch in float32, and which they are, in order.

    All of them, or `most`, or as many as there is time for, in an order drawn at random.
    """
    examples, rows, done = state.parts[part], [], 0
    order = numpy_generator(state.settings.seed, "features", part).permutation(len(examples))[:most]
    forward = torch_features(state.model.backbone, examples.store.modality, state.device)
    for batch in stored(examples.at(order)):
        if not time_left():
            break
        rows.append(forward(batch))
        done += len(batch)
        yield Progress(f"features of the {part} {examples.store.modality.words.items}", done, len(order))
    reached = np.argsort(order[:done])
    width = state.model.backbone.spec.width
    return np.concatenate([np.empty((0, width), np.float32), *rows])[reached], order[:done][reached]


def _from_features(state: TrainState, features: Features, part: str, most: int | None = None) -> Outputs:
    """What the head says of the first `most` examples of a part, from their features."""
    return _head_outputs(state, features.rows[state.parts[part].indices[:most]])


def _head_outputs(state: TrainState, rows: Float[np.ndarray, "batch features"]) -> Outputs:
    step = max(1, HELD // max(1, rows.shape[1]))
    parts = [torch.from_numpy(rows[first : first + step]) for first in range(0, max(1, len(rows)), step)]
    with torch.inference_mode():
        return Outputs(torch.cat([state.model.head(part.to(state.device)).float().cpu() for part in parts]))


def _disagreement(state: TrainState, features: Features) -> float:
    """The largest difference in an output, on a few validation images, between these features and the model itself."""
    some = state.parts["valid"].at(np.arange(min(CHECKED, len(state.parts["valid"]))))
    model = predict.outputs(state.model, stored(some), some.store.modality).mean
    return float((_from_features(state, features, "valid", CHECKED).mean - model).abs().max())
