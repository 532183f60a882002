"""Curves for TensorBoard, in `tensorboard/` of the run folder: `tensorboard --logdir runs` shows all runs."""

from pathlib import Path
from typing import Any

from headstart.core import Event, Observer, Plan, RowDone
from headstart.plugins import require
from headstart.train.observers.scalars import Scalars


class TensorBoard:
    """Writes each number of a run as a scalar; on disk after each row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scalars = Scalars()
        self._writer: Any = None

    def show(self, event: Event) -> None:
        for scalar in self._scalars.of(event):
            self._opened().add_scalar(scalar.name, scalar.value, scalar.at)
        if isinstance(event, RowDone):
            self._opened().flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _opened(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer


def make(run_folder: Path, plan: Plan) -> Observer:
    """The tracker of one run."""
    require("tensorboard", "track", "--track tensorboard")
    return TensorBoard(run_folder / "tensorboard")
