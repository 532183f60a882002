"""A tracker for headstart: the numbers of a training in Weights & Biases."""

import os
import secrets
from pathlib import Path
from typing import Any

from headstart.core import Event, Observer, Plan
from headstart.store.codec import to_json
from headstart.train.observers.scalars import Scalars


class WandB:
    """Logs learning rates over steps, everything else over epochs."""

    def __init__(self, run_folder: Path, plan: Plan) -> None:
        self._folder, self._plan = run_folder, plan
        self._scalars = Scalars()
        self._run: Any = None

    def show(self, event: Event) -> None:
        numbers = self._scalars.of(event)
        if numbers:
            run = self._opened()
            for name in {scalar.name for scalar in numbers}:
                run.define_metric(name, step_metric=numbers[0].axis)
            run.log({numbers[0].axis: numbers[0].at, **{scalar.name: scalar.value for scalar in numbers}})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _opened(self) -> Any:
        if self._run is None:
            import wandb

            note = self._folder / "wandb_run.txt"
            if not note.is_file():
                note.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "headstart"),
                id=note.read_text(encoding="utf-8").strip(),
                resume="allow",
                name=self._folder.name,
                dir=str(self._folder),
                config=to_json(self._plan.settings) | {"data": self._plan.data["name"]},
                settings=_only_numbers(),
            )
        return self._run


def _only_numbers() -> Any:
    """Settings of W&B that leave the screen to the table, and code, command, host name and packages on the machine."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        save_code=False,
        host="",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def make(run_folder: Path, plan: Plan) -> Observer:
    """The tracker of one run."""
    import wandb  # noqa: F401  (so that it is told now if it is missing)

    return WandB(run_folder, plan)
