"""What a phase of training is: made from the settings, and told apart from the one that it may prolong."""

from dataclasses import replace
from typing import Literal

from headstart.core import Phase, Settings
from headstart.errors import BadSetting
from headstart.model import learns_statistics
from headstart.train import dropout
from headstart.train.course import Snapshot
from headstart.train.safety import GENTLER
from headstart.train.state import TrainState

SOLVED_LR, TRAINED_LR, SCRATCH_LR = 3e-4, 1e-3, 2e-3
"""Peak rates of the last stage: after a solved head (docs/log.md), after a trained one, from scratch."""
SOLVED_MIXUP = 0.4
"""A solved head has left little loss on the images as they are: mixed ones give the backbone something to learn from."""
PIECE = 16
"""Images that go through the model at once where norms are frozen (docs/decisions/0005)."""
ADAPTED_RATE = 10.0
"""Adapters take larger steps than the weights that they move; the head learns as it does without them."""
MOST_EPOCHS = 1_000_000
"""Of a phase that the clock ends."""


def head_alone(state: TrainState) -> Phase:
    """The head trained by gradient steps on a frozen body, for `freeze_epochs` rows."""
    settings = state.settings
    return replace(
        base_phase(state, "head", settings.freeze_epochs),
        lr=settings.base_lr or SCRATCH_LR,
        first_stage=len(state.model.stages()) - 1,
        norms="frozen",
        train_size=0,
        piece=_piece(state, "frozen"),
        first_epoch=0,
    )


def step_two(state: TrainState, epochs: int | None) -> Phase:
    """Every stage, later ones faster, for `epochs` complete passes or until the clock's deadline; starts gently."""
    settings, chosen = state.settings, state.defaults
    solved = settings.head == "solve"
    stages, blends = len(state.model.stages()), state.parts["train"].store.modality.blends
    phase = replace(
        base_phase(state, "all", epochs),
        lr=settings.base_lr or (SOLVED_LR if solved else TRAINED_LR) * (ADAPTED_RATE if settings.adapters else 1.0),
        layer_decay=chosen.lr_mult ** (-1 / max(1, stages - 2)),
        head_lr_scale=(state.model.head.solved_rate if solved else 1.0) / (ADAPTED_RATE if settings.adapters else 1.0),
        mixup=settings.mixup if settings.mixup is not None else SOLVED_MIXUP if solved and blends else 0.0,
        label_smoothing=chosen.label_smoothing if solved else settings.label_smoothing or 0.0,
        ema=(chosen.ema if solved else settings.ema) or None,
        first_stage=state.first_stage,
    )
    # a phase that is prolonged leaves out the stages that it has left out so far
    prolonged = phase if state.trunk is None else replace(phase, first_stage=state.trunk.phase.first_stage)
    return prolonged if goes_on(state, prolonged) else phase


def one_rate(state: TrainState, epochs: int | None) -> Phase:
    """What is trainable from where the weights are, all stages at one rate."""
    settings = state.settings
    lr = settings.base_lr or (TRAINED_LR if settings.pretrained else SCRATCH_LR)
    return replace(base_phase(state, "fit", epochs), lr=lr, first_stage=state.first_stage)


def base_phase(state: TrainState, name: str, epochs: int | None) -> Phase:
    """A phase with everything that the settings say about every stretch of training; without `epochs` the clock ends it."""
    settings = state.settings
    norms = norms_of(settings)
    return Phase(
        name=name,
        epochs=epochs or MOST_EPOCHS,
        lr=SCRATCH_LR,
        norms=norms,
        piece=_piece(state, norms),
        after_row=state.next_epoch - 1 if state.rows else -1,
        augment=state.defaults.augment,
        train_size=_train_size(state),
        batch_size=state.defaults.batch_size,
        label_smoothing=settings.label_smoothing or 0.0,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        dropout=state.defaults.dropout,
        seed=settings.seed,
        ema=settings.ema or None,
        adapters=settings.adapters,
        mixup=settings.mixup or 0.0,
        cutmix=settings.cutmix or 0.0,
        balance=settings.balance,
        first_epoch=state.next_epoch,
        seconds=None if epochs else 0.0,
    )


def _train_size(state: TrainState) -> int:
    """The smaller size that images are trained at, 0 for none.

    Raises:
        BadSetting: when it is not smaller, or the backbone takes one size only.
    """
    small, spec, size = state.settings.train_size, state.model.backbone.spec, state.parts["train"].store.modality.size
    if small is None:
        return 0
    if spec.fixed_size:
        raise BadSetting(
            f"the backbone {spec.name} takes images of {spec.size} pixels only, got train_size={small}. Leave train_size out."
        )
    if small >= size:
        raise BadSetting(
            f"train_size={small} is not smaller than the size of the images, {size} pixels. Try train_size={size * 5 // 7}."
        )
    return small


def _piece(state: TrainState, norms: str) -> int:
    """Norms that learn see the whole batch, as long as memory allows it; where it did not, it is not tried again."""

    def whole(norms: str, batch_size: int) -> int:
        return PIECE if norms == "frozen" else batch_size

    short = [phase.piece for phase in state.phases if phase.piece < whole(phase.norms, phase.batch_size)]
    return min([whole(norms, state.defaults.batch_size), *short])


def norms_of(settings: Settings) -> Literal["frozen", "adapt", "train"]:
    """What norm layers do in a phase that trains more than the head."""
    return settings.norms or ("frozen" if settings.pretrained else "train")


def require_pairs(state: TrainState) -> None:
    """Raises `BadSetting` where a batch of one image would reach norms that look at the other images of their batch."""
    settings, count, size = state.settings, len(state.parts["train"]), state.defaults.batch_size
    if norms_of(settings) == "frozen" or not learns_statistics(state.model):
        return
    if (smallest := count // -(-count // size)) < 2:
        what = f"batch_size={size} divides the {count} training images so that some batch has {smallest}"
        raise BadSetting(
            f'{what}, and with norms="{norms_of(settings)}" the norm layers learn the statistics of their batch, which one image '
            'does not have. Give a batch_size of 3 or more and at least two training images, or norms="frozen".'
        )


def require_dropout(state: TrainState) -> None:
    """Raises `BadSetting` where dropout is asked of a backbone that has no layers for it: nothing would be dropped."""
    share = state.settings.dropout
    if share and not dropout.layers(state.model):
        raise BadSetting(
            f"the backbone {state.model.backbone.spec.name} has no dropout layers, so dropout={share:g} would change nothing. Leave it out; "
            "mixup= and weight_decay= also keep a model from learning by heart."
        )


def goes_on(state: TrainState, phase: Phase) -> bool:
    """Whether the phase prolongs the one before."""
    return state.trunk is not None and alike(state.trunk.phase, phase)


def alike(one: Phase, other: Phase) -> bool:
    """Whether a place in one phase is a place in the other: the same layers learn, from the same batches."""
    same = ("name", "first_stage", "norms", "batch_size", "balance", "adapters")
    return all(getattr(one, name) == getattr(other, name) for name in same)


def longer(state: TrainState, phase: Phase, trunk: Snapshot) -> Phase:
    """The phase of the trunk with what is asked for now, made longer by the new epochs or, later, by the new seconds."""
    earlier = state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1
    epochs = phase.epochs if phase.seconds is not None else phase.epochs + earlier
    setbacks, piece = trunk.phase.setbacks, min(phase.piece, trunk.phase.piece)
    gentler = phase.lr * GENTLER**setbacks
    return replace(phase, epochs=epochs, first_epoch=trunk.phase.first_epoch, lr=gentler, setbacks=setbacks, piece=piece)


def epochs_again(state: TrainState, trunk: Snapshot) -> float:
    """How many epochs that have rows are trained once more where training goes on from the trunk."""
    return state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1 - trunk.place.step / state.steps_per_epoch(trunk.phase)
