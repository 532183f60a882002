"""What a run does: its phases, and everything that was asked for and decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headstart.core.settings import Settings
from headstart.core.words import FORMAT


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of gradient training. What changes the step is a named field here; what changes the course is a recipe.

    A phase that goes on from an earlier one is that phase made longer: `epochs` and `seconds` count from its first step on.
    """

    name: str
    epochs: int
    """Complete passes; with `seconds`, the most there may be."""
    lr: float
    """Peak learning rate of the last trainable stage."""
    layer_decay: float = 1.0
    """Each earlier stage learns at this share of the one after it."""
    head_lr_scale: float = 1.0
    """The head's rate relative to `lr`."""
    first_stage: int = 0
    """Stages before this one stay frozen; len(backbone stages) trains the head alone."""
    norms: Literal["frozen", "adapt", "train"] = "frozen"
    precision: str = "float32"
    weight_decay: float = 0.05
    warmup: float = 0.2
    """Share of the phase over which the rate rises from zero."""
    cooldown: float = 0.35
    """Share of the phase over which the rate falls to zero, at its end."""
    first_epoch: int = 1
    """The number in the table of the phase's first epoch."""
    seconds: float | None = None
    """How long the phase takes with all that follows its last step; None: as long as the epochs do."""
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    balance: str = "none"
    """How classes of unequal size are made to count alike, a word of `Settings.balance`."""
    clip: float = 1.0
    """Largest norm of the gradient; infinity switches clipping off."""
    dropout: float = 0.0
    """Share of the numbers that each dropout layer of the backbone sets to zero, by draws of `seed` and the step."""
    seed: int = 0
    ema: float | None = None
    """Decay per step of the average of the weights, which makes the rows; None: the weights make them."""
    adapters: int = 0
    """Rank of the low-rank changes that the backbone's trainable stages learn; 0: they learn in full."""
    augment: str = "flip"
    train_size: int = 0
    """Side of the images in pixels until the rate falls; 0: full size."""
    batch_size: int = 32
    piece: int = 16
    """Images that go through the model at once; the gradients of a batch's pieces add up. Halved when memory runs out."""
    steps: int | None = None
    """At which step a phase of epochs ends early; None: when they are over."""
    setbacks: int = 0
    """How often the loss was no number, so that the training stepped back and went on at a lower rate."""
    after_row: int = -1
    """The last epoch in the table when the phase began or was prolonged; -1: none."""

    def __post_init__(self) -> None:
        from headstart.errors import BadSetting

        if self.epochs < 1:
            raise BadSetting(f"epochs of phase {self.name!r} must be at least 1, got {self.epochs}.")
        if not 0 < self.layer_decay <= 1:
            raise BadSetting(f"layer_decay must be above 0 and at most 1, got {self.layer_decay}.")
        if not 0 <= self.warmup < 1:
            raise BadSetting(f"warmup must be in [0, 1), got {self.warmup}.")
        if not 0 < self.cooldown <= 1:
            raise BadSetting(f"cooldown must be above 0 and at most 1, got {self.cooldown}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run was asked for and everything that was timed or probed to decide it; `plan.json` is this."""

    data: Mapping[str, Any]
    task: Mapping[str, Any]
    settings: Settings
    modality: Mapping[str, Any] = field(default_factory=dict)
    """How inputs are made of what the examples are: `Modality.state()`."""
    phases: tuple[Phase, ...] = ()
    engine: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = False
    """Whether `fit` trains the head alone."""
    finished: bool = False
    """Whether the training that was asked for last came to its end, or was stopped by the user."""
    format: int = FORMAT
