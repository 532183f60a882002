"""The one list of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Literal

CHOICES: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "method": ("fine_tune", "fit"),
        "head": ("solve", "train"),
        "norms": ("frozen", "adapt", "train", None),
        "keep": ("best", "last"),
        "augment": ("none", "flip", "dihedral", "light", "strong", None),
        "interrupt": ("save", "anneal"),
        "balance": ("none", "weights", "sample"),
        "features": ("auto", "last", "layers"),
    }
)
"""The settings that take one of a few words."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The one list of settings, with the same names in Python and on the command line. Checked when made."""

    epochs: int | None = None
    minutes: float | None = None
    """The time a training verb may take, everything included; instead of epochs."""
    method: Literal["fine_tune", "fit"] = "fine_tune"
    head: Literal["solve", "train"] = "solve"
    freeze_epochs: int = 1
    base_lr: float | None = None
    lr_mult: float | None = None
    """How much faster the head learns than the first layer. None: 100, and 10 where the class of every place of an image is learned."""
    norms: Literal["frozen", "adapt", "train"] | None = None
    """None: frozen for a pretrained backbone, train from scratch."""
    keep: Literal["best", "last"] = "best"
    monitor: str = "valid_loss"
    task: str | None = None
    """A file in `tasks/`, or of other packages; None: the labels tell."""
    loss: str | None = None
    """The likelihood, for tasks that have several: numbers take "gaussian", or "student" where some of them are far off the rest.
    None: that of the task."""
    metrics: tuple[str, ...] | None = None
    """Columns of the table; None: those that the task thinks of first."""
    label_smoothing: float | None = None
    """Share of each label that is spread over all classes in the training loss. None: 0.1 for texts after a solved head, else 0."""
    mixup: float | None = None
    """Training images are mixed in pairs with shares drawn from Beta(mixup, mixup). None: 0.4 after a solved head, else 0: not."""
    cutmix: float | None = None
    """A rectangle of another training image is pasted in, its share from Beta(cutmix, cutmix). None or 0: not. Beside mixup each
    batch draws which of the two happens to it."""
    balance: Literal["none", "weights", "sample"] = "none"
    """Whether small classes count as much as large ones in training: by the weight of their images, or by how often they are drawn."""
    weight_decay: float = 0.05
    clip: float = 1.0
    """Largest norm of the gradient; infinity switches clipping off."""
    dropout: float | None = None
    """Share of the numbers that each dropout layer of the backbone sets to zero in training. None: 0.1 for texts, else 0."""
    ema: float | None = None
    """Decay per step of an exponential average of the weights, which is judged and kept in their place. None: 0.998 for texts after a
    solved head, else 0: no average."""
    adapters: int = 0
    """Rank of the changes that the layers of the backbone learn, itself frozen. 0: the backbone learns in full."""
    backbone: str = "small"
    pretrained: bool = True
    posterior: str | None = None
    """What answers questions beside the point estimate: a file in `posteriors/`, or "none". None: laplace where the head ends in a
    linear layer that sees an example as a whole, else temperature."""
    head_kind: str | None = None
    """A file in `heads/`; None: what the task needs. An mlp cannot be solved."""
    size: int | None = None
    train_size: int | None = None
    """Side in pixels of the images that all layers learn from until the learning rate falls; None: `size`, as in the descent."""
    batch_size: int | None = None
    """None: 32, and 8 where the class of every place of an image is learned."""
    augment: Literal["none", "flip", "dihedral", "light", "strong"] | None = None
    """None: flip, and light where the class of every place of an image is learned."""
    seed: int = 0
    device: str = "auto"
    checkpoint_seconds: float = 30.0
    """How often the training is saved, so that a killed one can be resumed; 0 after every step."""
    patience: int | None = None
    """After so many rows without a new best of `monitor` the rate falls early and the training ends. None: never."""
    interrupt: Literal["save", "anneal"] = "save"
    """What the first Ctrl-C does: stop and save for `resume`, or let the rate fall within a few steps and finish."""
    track: tuple[str, ...] = ()
    """Where the numbers go beside the screen: files in `train/trackers/`, or of other packages. Nothing is sent unasked."""
    features: Literal["auto", "last", "layers"] = "auto"
    """What the head sees of an image: what the last layer makes of it, or beside it mean and maximum of every channel of all layers.
    "auto": that for which the evidence of the solved head is larger, once; of a head that is not solved, the last layer."""

    def __post_init__(self) -> None:
        check = self._check
        for name, allowed in CHOICES.items():
            check(getattr(self, name) in allowed, name, "one of " + ", ".join(filter(None, allowed)))
        check(self.epochs is None or self.epochs >= 0, "epochs", "0 (the head alone) or more")
        check(self.minutes is None or 0 < self.minutes < float("inf"), "minutes", "above 0")
        check(self.minutes is None or self.epochs is None, "minutes", "left out where epochs are given: one of the two")
        check(self.freeze_epochs >= 1, "freeze_epochs", "at least 1")
        check(self.base_lr is None or self.base_lr > 0, "base_lr", "a positive learning rate")
        check(
            self.lr_mult is None or self.lr_mult >= 1,
            "lr_mult",
            "at least 1 (how much faster the head learns than the first layer)",
        )
        check(self.size is None or 16 <= self.size <= 4096, "size", "from 16 to 4096 pixels")
        check(self.train_size is None or 16 <= self.train_size <= 4096, "train_size", "from 16 to 4096 pixels")
        check(self.label_smoothing is None or 0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)")
        check(self.mixup is None or 0 <= self.mixup < float("inf"), "mixup", "0 (images are not mixed) or more; 0.4 is usual")
        check(self.cutmix is None or 0 <= self.cutmix < float("inf"), "cutmix", "0 (nothing is pasted) or more; 1 is usual")
        check(0 <= self.weight_decay < float("inf"), "weight_decay", "0 (weights do not decay) or more")
        check(self.clip > 0, "clip", "above 0 (inf switches clipping off)")
        check(self.dropout is None or 0 <= self.dropout < 1, "dropout", "0 (nothing is dropped) or more, below 1; 0.1 is usual")
        check(
            self.ema is None or 0 <= self.ema < 1, "ema", "0 (no average) or more, below 1; 0.99 looks back over some 100 steps"
        )
        check(self.adapters >= 0, "adapters", "0 (no adapters) or a rank; 8 is usual")
        check(
            self.adapters == 0 or (self.pretrained and self.norms != "train"),
            "adapters",
            "0 with random weights or norms that learn: they adapt what was learned before, and the rest stays frozen",
        )
        check(
            self.head == "train" or self.head_kind != "mlp",
            "head_kind",
            'left out with head="solve" (an mlp cannot be solved: give head="train")',
        )
        check(self.batch_size is None or self.batch_size >= 1, "batch_size", "at least 1")
        check(self.checkpoint_seconds >= 0, "checkpoint_seconds", "0 (after every step) or more")
        check(self.patience is None or self.patience >= 1, "patience", "at least 1 (rows without a new best)")
        named = isinstance(self.track, tuple) and len(set(self.track)) == len(self.track) and all(self.track)
        check(named, "track", 'different names, as in ("tensorboard",)')
        judged = ("train_loss", "valid_loss", *(self.metrics or ()))
        known = self.metrics is None or self.monitor in judged  # else asked again once the task has chosen
        check(known, "monitor", "a column of the table (" + ", ".join(judged) + "; --metrics adds columns)")

    def _check(self, good: bool, name: str, rule: str) -> None:
        if not good:
            from headstart.errors import BadSetting

            raise BadSetting(f"{name} must be {rule}, got {getattr(self, name)!r}.")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a kind of backbone is trained with where the settings of the same names are None."""

    batch_size: int = 32
    augment: str = "flip"
    lr_mult: float = 100.0
    label_smoothing: float = 0.0
    """This and the next after a solved head alone."""
    ema: float = 0.0
    dropout: float = 0.0

    def under(self, settings: Settings) -> "Defaults":
        """The same with what the settings say."""
        said = {field.name: getattr(settings, field.name) for field in fields(self)}
        return replace(self, **{name: value for name, value in said.items() if value is not None})
