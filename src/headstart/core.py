"""The vocabulary: plain types and Protocols that every other module speaks. Nothing here computes, and nothing here imports torch.

Axis names used in shapes all over the package: `batch`, `outputs` (numbers per example that the head gives), `classes`,
`features` (numbers per example that the backbone gives), `height`, `width`, `samples` (draws from a posterior).
Arrays in the signatures of Protocols are torch tensors; they are written `Any` so that this module stays light.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int, Shaped

FORMAT = 1
"""Format number of everything written to disk; raised when an older reader would misread a newer file."""

Part = Literal["train", "valid", "test"]
Label = str | tuple[str, ...]
"""A raw label: a text, or a text for each label column. What it means is the task's business."""
Row = dict[str, Any]
"""One row of the table: epoch, stage, train_loss, valid_loss, <metric>, <metric>_95, lr, seconds, beyond_noise (whether it is better
than the first row by more than chance; None in the first)."""


# ------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled example: where it comes from and what was said of it.

    `id` is the path inside the data set (unique, with forward slashes); `source` is an absolute path, or an index into
    arrays held in memory; `target` is the raw label, a text or a text for each label column (None when unknown), which a task
    reads; `group` ties records that must not be separated by a split; `part` is set when the data came already divided.
    """

    id: str
    source: str | int
    target: Label | None
    group: str | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Dataset:
    """A named list of records with how it should be divided; `data.show()` looks at it.

    `root` is the folder (or table) the records came from, None for arrays; `modality` is the file in `modalities/` that knows
    what the examples are; `columns` are the names of the label columns of a table, `inputs` those of the numbers that each
    example is; `arrays` holds data given in memory, or read with its table: pixels, texts, or rows of numbers; `notes` are
    sentences for the user about what was read and how.
    """

    name: str
    records: tuple[Record, ...]
    root: str | None
    valid: float = 0.2
    test: float = 0.0
    seed: int = 0
    modality: str = "image"
    item: str = "image"
    """What one of its examples is called."""
    arrays: Sequence[Any] | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    """The call that made it, as plain JSON: what a run stores so that it can find its data again."""
    placed: Mapping[str, Part] = field(default_factory=dict)
    """Parts that single images (by id) must have, while the others are divided as if these were not there."""
    columns: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    viewer: Callable[["Dataset"], Any] | None = field(default=None, repr=False, compare=False)
    """How a picture of it is made; whoever makes a data set knows."""

    @property
    def classes(self) -> tuple[Label, ...]:
        """The different labels that the records have, in order."""
        return tuple(sorted({record.target for record in self.records if record.target is not None}))

    def show(self) -> Any:
        """A picture with images of every class, which a notebook displays; None for data without pictures."""
        return None if self.viewer is None else self.viewer(self)


@dataclass(frozen=True, slots=True)
class Split:
    """Which ids train, which choose, which judge. `rule` says in words how it was made."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    rule: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs as the model takes them, with what is known of each: ids ride along so that a loss can name its file."""

    inputs: Shaped[Any, "batch ..."]
    targets: Any
    ids: tuple[str, ...]
    weights: Float[Any, " batch"] | None = None
    partners: Any | None = None
    """The targets of the images that were mixed in, where images were mixed; `share` is what the others kept."""
    share: float = 1.0
    partner_weights: Float[Any, " batch"] | None = None
    """The weights of the images that were mixed in, where examples have weights: each label counts with its own."""
    modality: Any | None = None
    """The `Modality` that made the inputs, where they may be wanted at another size."""


# ---------------------------------------------------------------------------------------------------------- settings


CHOICES: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "method": ("fine_tune", "fit"),
        "head": ("solve", "train"),
        "norms": ("frozen", "adapt", "train", None),
        "keep": ("best", "last"),
        "augment": ("none", "flip", "dihedral", "light", "strong"),
        "interrupt": ("save", "anneal"),
        "balance": ("none", "weights", "sample"),
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
    lr_mult: float = 100.0
    norms: Literal["frozen", "adapt", "train"] | None = None
    """None: frozen for a pretrained backbone, train from scratch."""
    keep: Literal["best", "last"] = "best"
    monitor: str = "valid_loss"
    task: str | None = None
    """A file in `tasks/`, or of other packages; None: the labels tell."""
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
    ema: float | None = None
    """Decay per step of an exponential average of the weights, which is judged and kept in their place. None: no average."""
    adapters: int = 0
    """Rank of the changes that the layers of the backbone learn, itself frozen. 0: the backbone learns in full."""
    backbone: str = "small"
    pretrained: bool = True
    head_kind: str = "linear"
    """A file in `heads/`; only a linear head can be solved."""
    size: int | None = None
    train_size: int | None = None
    """Side in pixels of the images that all layers learn from until the learning rate falls; None: `size`, as in the descent."""
    batch_size: int = 32
    augment: Literal["none", "flip", "dihedral", "light", "strong"] = "flip"
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

    def __post_init__(self) -> None:
        from headstart.errors import BadSetting

        def check(good: bool, name: str, rule: str) -> None:
            if not good:
                raise BadSetting(f"{name} must be {rule}, got {getattr(self, name)!r}.")

        for name, allowed in CHOICES.items():
            check(getattr(self, name) in allowed, name, "one of " + ", ".join(filter(None, allowed)))
        check(self.epochs is None or self.epochs >= 0, "epochs", "0 (the head alone) or more")
        check(self.minutes is None or 0 < self.minutes < float("inf"), "minutes", "above 0")
        check(self.minutes is None or self.epochs is None, "minutes", "left out where epochs are given: one of the two")
        check(self.freeze_epochs >= 1, "freeze_epochs", "at least 1")
        check(self.base_lr is None or self.base_lr > 0, "base_lr", "a positive learning rate")
        check(self.lr_mult >= 1, "lr_mult", "at least 1 (how much faster the head learns than the first layer)")
        check(self.size is None or 16 <= self.size <= 4096, "size", "from 16 to 4096 pixels")
        check(self.train_size is None or 16 <= self.train_size <= 4096, "train_size", "from 16 to 4096 pixels")
        check(self.label_smoothing is None or 0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)")
        check(self.mixup is None or 0 <= self.mixup < float("inf"), "mixup", "0 (images are not mixed) or more; 0.4 is usual")
        check(self.cutmix is None or 0 <= self.cutmix < float("inf"), "cutmix", "0 (nothing is pasted) or more; 1 is usual")
        check(0 <= self.weight_decay < float("inf"), "weight_decay", "0 (weights do not decay) or more")
        check(self.clip > 0, "clip", "above 0 (inf switches clipping off)")
        check(self.ema is None or 0 < self.ema < 1, "ema", "above 0 and below 1; 0.99 looks back over some 100 steps")
        check(self.adapters >= 0, "adapters", "0 (no adapters) or a rank; 8 is usual")
        check(
            self.adapters == 0 or (self.pretrained and self.norms != "train"),
            "adapters",
            "0 with random weights or norms that learn: they adapt what was learned before, and the rest stays frozen",
        )
        check(
            self.head == "train" or self.head_kind == "linear",
            "head_kind",
            'linear with head="solve" (give head="train" for the others)',
        )
        check(self.batch_size >= 1, "batch_size", "at least 1")
        check(self.checkpoint_seconds >= 0, "checkpoint_seconds", "0 (after every step) or more")
        check(self.patience is None or self.patience >= 1, "patience", "at least 1 (rows without a new best)")
        named = isinstance(self.track, tuple) and len(set(self.track)) == len(self.track) and all(self.track)
        check(named, "track", 'different names, as in ("tensorboard",)')
        judged = ("train_loss", "valid_loss", *(self.metrics or ()))
        known = self.metrics is None or self.monitor in judged  # else asked again once the task has chosen
        check(known, "monitor", "a column of the table (" + ", ".join(judged) + "; --metrics adds columns)")


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


# ------------------------------------------------------------------------------------------------- models and tasks


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a backbone is and how it wants its input; from timm's metadata where it comes from timm."""

    name: str
    size: int
    """Of an input: the side of an image in pixels, the most tokens of a text, how many numbers."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    width: int
    licence: str
    parameters: int
    source: str
    """Where the weights came from, in words: "bundled wheel", "hub", "random", a path."""
    fixed_size: bool = False
    modality: str = "image"
    """The file in `modalities/` that makes its inputs. `mean`, `std`, `interpolation` and `crop_pct` are for images."""


@dataclass(frozen=True, slots=True)
class InputWords:
    """How the examples of a modality are spoken of."""

    item: str
    """What one is: "image"."""
    items: str
    size: str
    """How large one is for the model: "224 pixels"."""
    described: str
    """How an input is made of an example, in a sentence."""
    tag: str
    """What Hugging Face calls the modality in the names of tasks."""
    python: str
    """An example in Python: '"photo.jpg"'."""
    shell: str
    """Some on the command line."""


@runtime_checkable
class Modality(Protocol):
    """The input side: how examples become what a backbone takes. Nothing outside `modalities/` asks which modality it is.

    A store keeps the examples of a data set and gives them as a batch of bytes or numbers, "stored" below, an array of numpy.
    """

    @property
    def name(self) -> str: ...

    @property
    def store(self) -> str:
        """The file in `data/stores/` that keeps its examples."""
        ...

    @property
    def words(self) -> InputWords: ...

    @property
    def blends(self) -> bool:
        """Whether two inputs can be mixed in shares."""
        ...

    @property
    def compiles(self) -> bool:
        """Whether its inputs are bytes of one shape, for which an engine can be compiled."""
        ...

    @property
    def size(self) -> int:
        """As in `BackboneSpec`."""
        ...

    def to_input(self, stored: Any) -> Any:
        """A stored batch, as a tensor on the device it shall have, as the backbone takes it."""
        ...

    def draw(self, augment: str, seed: int, epoch: int, places: Any) -> Any:
        """What happens to the examples with these numbers in this epoch: a pure function of (seed, epoch, number)."""
        ...

    def gathered(self, store: Any, indices: Sequence[int], draws: Any) -> Any:
        """The stored batch of a store that `draws` need."""
        ...

    def augmented(self, stored: Any, draws: Any, augment: str) -> Any:
        """A gathered batch on its device, changed as drawn, as the backbone takes it."""
        ...

    def shrunk(self, inputs: Any, size: int) -> Any:
        """The inputs at a smaller size."""
        ...

    def named(self, inputs: Any) -> Iterator["Named"]:
        """Each example among what a user gives to be predicted, with its id."""
        ...

    def is_one(self, inputs: Any) -> bool:
        """Whether a user who gives this means a single example."""
        ...

    def prepared(self, source: Any, name: str) -> Any:
        """One example as it is stored.

        Raises:
            DataError: when it cannot be read.
        """
        ...

    def stacked(self, examples: Sequence[Any]) -> Any:
        """Prepared examples as a stored batch."""
        ...

    def viewed(self, model: "Predictive", task: Any, augment: str, count: int) -> tuple["Predictive", "Modality"]:
        """The model looking at `count` views of each example, with the modality that makes its inputs.

        Raises:
            BadSetting: when there are not so many views.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Plain JSON that says how inputs are made."""
        ...

    def published(self) -> dict[str, Any]:
        """The same in the words of the library that knows such models by their config.json, as far as it has any."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """One input under the id its prediction will carry; `error` says why there is nothing to read."""

    id: str
    source: Any
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What any model or posterior says of a batch: the mean of the head's outputs, and what is known of their spread.

    `mean` are logits for a classifier. `cov` and `samples` are filled by posteriors. On the CPU, float32 or float64.
    """

    mean: Float[Any, "batch outputs"]
    cov: Float[Any, "batch outputs outputs"] | None = None
    samples: Float[Any, "samples batch outputs"] | None = None


@runtime_checkable
class Prediction(Protocol):
    """What is told of one example. `row()` is the machine-readable contract, `repr` speaks to people."""

    id: str

    @property
    def text(self) -> str:
        """What is said, in a few words."""
        ...

    @property
    def probability(self) -> float | None:
        """That what is said is right, where there are several answers of which one is right."""
        ...

    def row(self) -> Row: ...


@runtime_checkable
class Predictive(Protocol):
    """Whatever answers `outputs(batch)`: a model, or a posterior."""

    def outputs(self, inputs: Any) -> Outputs: ...


@runtime_checkable
class Backbone(Protocol):
    """A pretrained body: an `nn.Module` that gives features, with its stages in depth order."""

    spec: BackboneSpec

    def features(self, x: Any) -> Any:
        """[batch, ...] -> [batch, features]."""
        ...

    def maps(self, x: Any) -> Any:
        """[batch, ...] -> the last spatial (or token) maps before pooling."""
        ...

    def stages(self) -> list[tuple[str, Any]]:
        """(name, module) from the input to the output; together they hold every parameter except those of the root itself."""
        ...


@dataclass(frozen=True, slots=True)
class TaskWords:
    """How a task is spoken of."""

    learned: str
    """What is learned: "3 classes"."""
    model: str
    """What a model of it is: "classifier that tells 3 classes apart"."""
    item: str
    """What one of its `names` is: "class"."""
    output: str
    """What its head gives."""
    limit: str
    """What it cannot do."""
    tag: str = ""
    """What Hugging Face calls such tasks behind the name of the modality: "classification"; empty where there is no such."""


@runtime_checkable
class Task(Protocol):
    """The output side, and the owner of the likelihood. Nothing outside `tasks/` asks which task it is."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of its classes, its labels, or the numbers that it predicts."""
        ...

    @property
    def outputs(self) -> int:
        """Numbers per example that the head must give."""
        ...

    @property
    def solver(self) -> str:
        """The file in `train/solvers/` that finds the mode of a linear head under this likelihood."""
        ...

    @property
    def default_metrics(self) -> tuple[str, ...]: ...

    @property
    def divides(self) -> bool:
        """Whether its strata are what it tells apart: there must be two, and each must be trained before it can be judged."""
        ...

    @property
    def exact(self) -> bool:
        """Whether what is said of an example is right or wrong, and not more or less far from the truth."""
        ...

    @property
    def words(self) -> "TaskWords": ...

    def accept(self, settings: "Settings") -> None:
        """Raises `BadSetting` for settings that mean nothing for it, before anything is read."""
        ...

    def encode(self, raw: Sequence[Any]) -> Any:
        """Raw labels as a tensor of targets, one per example."""
        ...

    def decode(self, targets: Any) -> list[Any]:
        """The inverse of `encode`: raw labels, or the numbers that they are."""
        ...

    def texts(self, targets: Any) -> list[str]:
        """Each target in a few words, as `Prediction.text` would say it."""
        ...

    def counts(self, raw: Sequence[Any]) -> dict[str, int]:
        """How many examples there are of each class or label among these raw labels; empty for a task without."""
        ...

    def tells(self, label: Any) -> bool:
        """Whether a raw label says anything: a cell that holds "?" where a number is wanted does not."""
        ...

    def strata(self, raw: Sequence[Any]) -> list[str]:
        """A name for each raw label: a random split keeps the shares of the names alike in all parts."""
        ...

    def unknown(self, raw: Sequence[Any]) -> list[str]:
        """The names among these raw labels that the head has no output for."""
        ...

    def widened(self, raw: Sequence[Any]) -> "Task":
        """The task with outputs for the `unknown` names of these raw labels too, after its own.

        Raises:
            DataError: where that cannot be.
        """
        ...

    def new_rows(self, inputs: Any, targets: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """Weights and biases to start the outputs after the first `len(bias)` with, from what the head's last layer is given."""
        ...

    def groups(self, targets: Any) -> Int[Any, " batch"] | None:
        """The number of the group of each target, where groups may be of unequal size (classes); None for a task without."""
        ...

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        """Negative log-likelihood of each example in nats: [batch, outputs], [batch] -> [batch]."""
        ...

    def output_hessian(self, outputs: Any, targets: Any) -> Any:
        """Second derivative of each example's loss by its outputs: [batch, outputs, outputs]."""
        ...

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """What several views of the same examples say together. Their spread is no uncertainty of the model and must not become it."""
        ...

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[Any]:
        """One `Prediction` per example."""
        ...

    def failed(self, id: str, message: str) -> Any:
        """The `Prediction` of an input that could not be read."""
        ...

    def metrics(self, names: Sequence[Any]) -> Mapping[str, Any]:
        """Metric functions by name, for names and functions of (probs, targets); each maps (Outputs, targets) to a `metrics.Measured`."""
        ...

    def fitted(self, outputs: Outputs, targets: Any) -> "Task":
        """The task with what it chooses on examples that did not train (thresholds); itself where there is nothing to choose."""
        ...

    def by_class(self, outputs: Outputs, targets: Any) -> Mapping[str, Any]:
        """A `metrics.Measured` for each figure of each class, named `figure.class`; empty for a task without classes."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        ...


# ------------------------------------------------------------------------------------------------ events of training


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step has been made. `loss` is a tensor still on its device: reading it may wait for the device.

    `steps` is how many the phase will have, an estimate when its end is a matter of time. `progress` is the share of the phase
    that set the step's learning rate, `left` the seconds left of a phase by the clock.
    """

    epoch: int
    step: int
    steps: int
    loss: Any
    lr: float
    progress: float = 0.0
    left: float | None = None


@dataclass(frozen=True, slots=True)
class EpochDone:
    """A pass over the training images has been made; `last` is the phase's last, which a clock may end before it is complete."""

    epoch: int
    train_loss: float
    lr: float
    last: bool


@dataclass(frozen=True, slots=True)
class Cooling:
    """The learning rate begins to fall: what the model is now can be trained further later without a restart."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The phase under way has another course than planned: smaller pieces, a lower rate, an earlier end."""


@dataclass(frozen=True, slots=True)
class RowDone:
    """A row of the table is complete: the state of the model has been evaluated. `row` is the machine-readable contract."""

    row: Row


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Work that is no training step: `done` of `total` in the stage named `what` ("reading images", "features", ...)."""

    what: str
    done: int
    total: int


Event = StepDone | EpochDone | Cooling | Changed | RowDone | Note | Progress
Events = Iterator[Event]


@runtime_checkable
class Observer(Protocol):
    """Watches a run and cannot change it."""

    def show(self, event: Event) -> None: ...

    def close(self) -> None: ...
