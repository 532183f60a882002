"""What each row of the table says of each validation example, and which stages have moved since the row before."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headstart.core import Row, Task
from headstart.model import Model


@dataclass(frozen=True)
class Judged:
    """Of one row of the table."""

    epoch: int
    losses: Float[np.ndarray, " valid"]
    """The negative log-likelihood of each label in nats."""
    answers: Int[np.ndarray, " valid"] | None = None
    """The number of the class that is said of each; None where there are no classes."""
    moved: Mapping[str, float] | None = None
    """Of each stage by name the length of the change of its weights since the row before, over their own; None where it is not known."""

    def line(self, ids: Sequence[str]) -> dict[str, Any]:
        """All of it by name, with a sign of which examples these are."""
        return {**vars(self), "examples": sign(ids)}


def of(epoch: int, outputs: Float[Tensor, "valid ..."], targets: Any, task: Task, moved: Mapping[str, float] | None) -> Judged:
    """What is said of examples with these targets, judged."""
    classes = task.groups(targets)
    answers = None if classes is None else outputs.argmax(1).cpu().numpy()
    return Judged(epoch, task.loss(outputs, targets).double().cpu().numpy(), answers, moved)


def of_lines(lines: Iterable[Mapping[str, Any]], ids: Sequence[str], rows: Sequence[Row]) -> list[Judged]:
    """What `Judged.line` made of these rows and examples, in the order of the rows; of two of one row the later.

    What is of other examples, or of rows that are no longer there, is passed over.
    """
    own = sign(ids)
    known = {line["epoch"]: line for line in lines if line.get("examples") == own}
    return [_of_line(known[row["epoch"]]) for row in rows if row["epoch"] in known]


def _of_line(line: Mapping[str, Any]) -> Judged:
    answers = None if line["answers"] is None else np.asarray(line["answers"], np.int64)
    return Judged(line["epoch"], np.array(line["losses"], np.float64), answers, line["moved"])


def sign(ids: Sequence[str]) -> str:
    """Equal for the same examples in the same order."""
    return hashlib.blake2b("\n".join(ids).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def moved(model: Model, before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each stage by name the length of the change from these weights to those, over that of the former."""
    stages = {id(each): name for name, stage in model.stages() for each in stage.parameters()}
    squares: dict[str, list[float]] = {}
    for name, parameter in model.named_parameters():
        if (stage := stages.get(id(parameter))) is None:
            continue
        change, own = squares.setdefault(stage, [0.0, 0.0])
        old = before[name].float()
        squares[stage] = [change + float(torch.dist(now[name].float(), old)) ** 2, own + float(old.norm()) ** 2]
    return {stage: (change / max(own, 1e-24)) ** 0.5 for stage, (change, own) in squares.items()}
