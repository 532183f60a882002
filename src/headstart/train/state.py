"""Everything a run is while it trains: the model, the examples of each part, how to judge, and the rows so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headstart.core import Defaults, Outputs, Phase, Predictive, Row, Settings, Task
from headstart.data.balance import RULES
from headstart.data.batches import Examples, by_length, in_order, stored
from headstart.evaluate import predict
from headstart.evaluate.evaluate import evaluate
from headstart.metrics import HIGHER_IS_BETTER, Measured
from headstart.model import Model
from headstart.train import judged
from headstart.train.course import Course, Snapshot, weights_of
from headstart.train.judged import Judged, moved


@dataclass(frozen=True)
class Seen:
    """What the backbone of a row gave for training and validation examples, as far as it was asked for."""

    epoch: int
    train: Float[np.ndarray, "some features"]
    which: Int[np.ndarray, " some"]
    """The places of these among the training examples."""
    valid: Float[np.ndarray, "others features"]
    which_valid: Int[np.ndarray, " others"]
    """The places of these among the validation examples."""
    precision: Float[np.ndarray, " outputs"] | None = None
    """Of the prior, where the head was solved on them."""
    turned: Any = None
    """`SolvedHead.turned`, where the head was solved on just these training examples."""


@dataclass
class TrainState:
    """What recipes read and change. `parts` holds the examples of train, valid and test; `rows` is the table.

    `metrics` are names or functions of (probs, targets).
    """

    model: Model
    task: Task
    parts: Mapping[str, Examples]
    settings: Settings
    metrics: Sequence[Any]
    device: torch.device
    first_stage: int = 0
    course: Course | None = None
    """The phase under way, or the last one."""
    trunk: Snapshot | None = None
    """The course just before its rate began to fall: where further training goes on."""
    rows: list[Row] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    """What was trained so far, as it was decided."""
    hurry: bool = False
    """Whether the user has asked for an early end of the training verb under way, which nobody has heeded yet."""
    hurried: bool = False
    """Whether it was heeded."""
    seconds: float = 0.0
    """Spent in training verbs before the current one."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds that a forward, solving the head and saving the model took last: what must be left at a deadline."""
    judged: list[Judged] = field(default_factory=list)
    """What rows said of each validation example, as far as it is known."""
    weights: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Copies of the model's state by epoch: of the best row and of the last."""
    balanced: Task | None = None
    """The task with the weights of its classes among the training examples, once it was asked for."""
    seen: Seen | None = None
    """Of the row for which features were computed last, for its posterior."""
    answering: dict[int, Task] = field(default_factory=dict)
    """The task with what it chose on the validation images of the same rows: who answers questions of the user."""

    @property
    def defaults(self) -> Defaults:
        """What the settings say, and where they say nothing what suits the backbone."""
        return self.model.backbone.defaults.under(self.settings)

    @property
    def objective(self) -> Task:
        """The task as its loss counts in training."""
        if not RULES[self.settings.balance].weighs:
            return self.task
        if self.balanced is None:
            self.balanced = self.task.balanced(self.parts["train"].targets)
        return self.balanced

    @property
    def next_epoch(self) -> int:
        """The number of the row to come; row 0 is the head alone."""
        return self.rows[-1]["epoch"] + 1 if self.rows else 1

    def steps_per_epoch(self, phase: Phase) -> int:
        """Batches that hold every training image once."""
        return max(1, -(-len(self.parts["train"]) // phase.batch_size))

    def solves_again(self, phase: Phase) -> bool:
        """Whether the head is solved once more at the end of the phase."""
        return phase.name == "all" and self.settings.head == "solve" and not self.model.head.solved_once

    def becomes(self, phase: Phase) -> None:
        """From its place on the course goes on as `phase` says, which takes the place of its phase everywhere."""
        assert self.course is not None, "a phase that changes is under way"
        old, self.course.phase = self.course.phase, phase
        self.phases = [phase if each == old else each for each in self.phases]
        if self.trunk is not None and self.trunk.phase == old:
            later = self.trunk.place.step > self.course.place.step
            self.trunk = None if later else replace(self.trunk, phase=phase)

    def has_trunk(self) -> bool:
        """Whether the trunk is one of the course under way, from before its place."""
        trunk, course = self.trunk, self.course
        return trunk is not None and course is not None and trunk.phase == course.phase and trunk.place.step <= course.place.step

    def take_up(self, rows: Sequence[Row]) -> None:
        """Goes on after the rows of an earlier session; the model holds the weights of the row that was kept."""
        self.rows.extend(rows)
        if rows:
            self.weights[self.kept()["epoch"]] = weights_of(self.model)

    def lowest(self) -> Row:
        """The row with the lowest monitored value; the earlier one of two equals."""
        return lowest_of(self.rows, self.settings.monitor)

    def best(self) -> Row:
        """The best row so far (see `best_of`)."""
        return best_of(self.rows, self.settings.monitor)

    def kept(self) -> Row:
        """The row whose weights the run keeps."""
        return kept_of(self.rows, self.settings)

    def forward_took(self, seconds: float, step_seconds: float) -> None:
        """Notes the seconds of a forward of one image, and those of a step (of a batch) at about the same time, if known."""
        self.spent["a forward"], self.spent["a step"] = seconds, step_seconds

    def outputs(self, part: str, tta: int = 1, speaker: Predictive | None = None) -> Outputs:
        """What the model, or whoever speaks for it, says of every example of a part, in order; of `tta` views of each, averaged."""
        examples = self.parts[part]
        seen, modality = examples.store.modality.viewed(speaker or self.model, self.task, self.defaults.augment, tta)
        order = by_length(examples.store.lengths(examples.indices), len(examples))
        said = predict.outputs(seen, stored(examples.at(order), modality=modality), modality)
        return in_order(said, order)

    def answers(self) -> Task:
        """The task as it answers for the kept row."""
        return self.answering.get(self.kept()["epoch"], self.task) if self.rows else self.task

    def measured(
        self,
        part: str,
        per_class: bool = False,
        tta: int = 1,
        speaker: Predictive | None = None,
        task: Task | None = None,
    ) -> dict[str, Measured]:
        """Every metric of the model as it is, or of whoever speaks for it, on a part; `task` is as it answers."""
        said = self.outputs(part, tta, speaker)
        return evaluate(said, self.parts[part].targets, task or self.answers(), self.metrics, per_class)

    def add_row(self, epoch: int, stage: str, train_loss: float, outputs: Outputs, lr: float | None, seconds: float) -> Row:
        """The finished row of the table for these validation outputs; the weights are remembered if the row is the best."""
        measured = evaluate(outputs, self.parts["valid"].targets, self.task, self.metrics)
        self.answering[epoch] = self.task.fitted(outputs, self.parts["valid"].targets)
        row: Row = {"epoch": epoch, "stage": stage, "train_loss": train_loss, "valid_loss": measured["nll"].value}
        for name, value in measured.items():
            if name == "nll" and "nll" not in self.metrics:
                continue
            row[name] = value.value
            row[f"{name}_95"] = None if value.low is None else [value.low, value.high]
        weights, last = weights_of(self.model), self.rows[-1]["epoch"] if self.rows else None
        before = None if last is None else self.weights.get(last)
        self._judge(epoch, outputs, None if before is None else moved(self.model, before, weights))
        self.rows.append(row | {"lr": lr, "seconds": seconds, "beyond_noise": self._beyond_noise()})
        self._remember(weights)
        return self.rows[-1]

    def _judge(self, epoch: int, outputs: Outputs, moves: Mapping[str, float] | None = None) -> None:
        self.judged.append(judged.of(epoch, outputs.mean, self.parts["valid"].targets, self.task, moves))

    def judge_first_row(self) -> None:
        """What the first row says of each validation example, where it is not known and the model still has its weights."""
        if self.rows and self._first() is None and self.kept() is self.rows[0]:
            self._judge(self.rows[0]["epoch"], self.outputs("valid"))

    def _first(self) -> Judged | None:
        """What the first row of the table says."""
        return next((each for each in self.judged if self.rows and each.epoch == self.rows[0]["epoch"]), None)

    def _beyond_noise(self) -> bool | None:
        """Whether what was judged last is better than the first row by more than the standard error; None for the first."""
        if not self.rows:
            return None
        first, losses = self._first(), self.judged[-1].losses
        if first is None or len(first.losses) != len(losses) or len(losses) < 2:
            return float(losses.mean()) < self.rows[0]["valid_loss"]
        gain = first.losses - losses
        return bool(gain.mean() > gain.std(ddof=1) / len(gain) ** 0.5)

    def restore(self, epoch: int) -> None:
        """Gives the model the weights it had at the row `epoch`, which must be the best or the last."""
        self.model.load_state_dict(self.weights[epoch])

    def _remember(self, weights: dict[str, Tensor]) -> None:
        """These weights are those of the last row, and are kept as long as it is the last or the best."""
        last = self.rows[-1]["epoch"]
        self.weights[last] = weights
        wanted = {last, self.best()["epoch"]}
        self.weights = {epoch: copy for epoch, copy in self.weights.items() if epoch in wanted}
        self.answering = {epoch: task for epoch, task in self.answering.items() if epoch in wanted}


def kept_of(rows: Sequence[Row], settings: Settings) -> Row:
    """The row whose weights a run with these settings keeps."""
    return best_of(rows, settings.monitor) if settings.keep == "best" else rows[-1]


def best_of(rows: Sequence[Row], monitor: str) -> Row:
    """The row with the lowest monitored value among the first and those that are better than it beyond noise.

    With few validation images the lowest of many rows is low by chance. A row counts when its valid_loss is below the first
    row's by more than the standard error of that difference (the one-standard-error rule: Hastie, Tibshirani & Friedman
    2009, "The Elements of Statistical Learning", section 7.10). Another column that is monitored is taken as it is.
    """
    if monitor != "valid_loss":
        return lowest_of(rows, monitor)
    return lowest_of([row for row in rows if row is rows[0] or row.get("beyond_noise") is not False], monitor)


def lowest_of(rows: Sequence[Row], monitor: str) -> Row:
    """The row with the lowest monitored value; the earlier one of two equals."""
    return min(rows, key=lambda row: _order(row, monitor))


def _order(row: Row, monitor: str) -> float:
    value = float(row[monitor])
    if value != value:
        return float("inf")
    return -value if monitor in HIGHER_IS_BETTER else value
