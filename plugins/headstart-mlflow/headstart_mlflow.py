"""A tracker for headstart: the numbers of a training in MLflow."""

import os
import time
from pathlib import Path
from typing import Any

from headstart.core import Event, Observer, Plan, RowDone
from headstart.store.codec import to_json
from headstart.train.observers.scalars import Scalars

LEARNING_RATES = 500
"""How many numbers wait at most before they are sent together."""


class MLflow:
    """Sends each row as it is done, and the learning rates in between with it."""

    def __init__(self, run_folder: Path, plan: Plan) -> None:
        self._folder, self._plan = run_folder, plan
        self._scalars = Scalars()
        self._waiting: list[Any] = []
        self._client: Any = None
        self._run = ""

    def show(self, event: Event) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._waiting += [Metric(scalar.name, scalar.value, now, scalar.at) for scalar in self._scalars.of(event)]
        if isinstance(event, RowDone) or len(self._waiting) >= LEARNING_RATES:
            self._send()

    def close(self) -> None:
        if self._waiting:
            self._send()
        if self._client is not None:
            self._client.set_terminated(self._run)

    def _send(self) -> None:
        if self._client is None:
            self._open()
        sent, self._waiting = self._waiting, []
        self._client.log_batch(self._run, metrics=sent)

    def _open(self) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        # beware: MLflow asks to confirm that its stores of plain files are wanted; here they are, as no server was named
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (self._folder / "mlflow").as_uri()
        client = MlflowClient(tracking_uri=uri)
        note = self._folder / "mlflow_run.txt"
        if note.is_file():
            self._run = note.read_text(encoding="utf-8").strip()
            client.update_run(self._run, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or str(self._plan.data["name"])
            found = client.get_experiment_by_name(name)
            experiment = client.create_experiment(name) if found is None else found.experiment_id
            self._run = client.create_run(experiment, run_name=self._folder.name).info.run_id
            note.write_text(self._run + "\n", encoding="utf-8")
            settings = to_json(self._plan.settings)
            client.log_batch(self._run, params=[Param(name, str(value)) for name, value in settings.items()])
        self._client = client


def make(run_folder: Path, plan: Plan) -> Observer:
    """The tracker of one run."""
    import mlflow  # noqa: F401  (so that it is told now if it is missing)

    return MLflow(run_folder, plan)
