"""What a run writes down, and when: the split and audit when training begins, a row when it is done, the bundle when a row is kept."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headstart.backbones.choices import next_size
from headstart.core import Dataset, Plan, Row, Settings
from headstart.model import Model, bundle_config, bundle_tensors
from headstart.report import curve
from headstart.report.card import CardFacts, card
from headstart.store import bundle as bundles
from headstart.store.runs import Run, environment
from headstart.train.begin import Begun
from headstart.train.observers.rows import measured, metric_names, number


def first_plan(dataset: Dataset, settings: Settings, task: Any) -> Plan:
    """What is known before anything heavy is imported or read."""
    return Plan(data={"name": dataset.name, "origin": dict(dataset.origin)}, task=task.state(), settings=settings)


@dataclass
class Books:
    """Keeps the run folder up to date with a training."""

    run: Run
    dataset: Dataset
    settings: Settings

    def began(self, begun: Begun) -> None:
        """Split, audit, and the plan with what was decided."""
        self.run.write_split(begun.split)
        self.run.write_audit(begun.audit.json())
        self._write_plan(begun)

    def row_done(self, begun: Begun, row: Row) -> None:
        """The row in the history; the bundle too if its weights are the ones to keep."""
        self.run.append_row(row)
        if begun.state.kept() is row:
            bundles.save(self.run.bundle, make_bundle(begun, self.dataset, self.settings, self.run.path.name))

    def finished(self, begun: Begun) -> list[str]:
        """The curve, the plan with every phase, the card with the whole table; returns the closing lines."""
        self._write_plan(begun)
        bundles.save(self.run.bundle, make_bundle(begun, self.dataset, self.settings, self.run.path.name))
        if len(begun.state.rows) > 1:
            curve.save(begun.state.rows, self.run.path / "curve.svg", self.dataset.name)
        return closing_lines(begun, self.run)

    def _write_plan(self, begun: Begun) -> None:
        engine = {} if begun.features is None else {"frozen": begun.features.engine, "agreement": begun.features.agreement}
        state = begun.state
        plan = first_plan(self.dataset, self.settings, state.task)
        self.run.write_plan(
            Plan(
                plan.data,
                plan.task,
                self.settings,
                begun.store.geometry,
                tuple(state.phases),
                {**engine, "device": str(state.device)},
            )
        )


def make_bundle(begun: Begun, dataset: Dataset, settings: Settings, name: str) -> bundles.Bundle:
    """The model as it is now with everything that predict and timm need, and its card."""
    state, geometry = begun.state, begun.store.geometry
    config = bundle_config(state.model, dataset.classes, geometry)
    text = card(
        CardFacts(
            name=name,
            data=dataset.name,
            classes=dataset.classes,
            counts=_counts(begun, dataset),
            backbone=state.model.backbone.spec,
            geometry=geometry,
            settings=settings,
            rows=state.rows,
            kept=state.kept()["epoch"],
            split_rule=begun.split.rule,
            quarantined=len(begun.audit.quarantine),
            base_model=base_model(state.model),
            timm_loads=config["architecture"] is not None,
            versions=environment()["versions"],
        )
    )
    config["headstart"] |= {"rows": state.rows, "settings": asdict(settings), "seconds": state.seconds}
    return bundles.Bundle(bundle_tensors(state.model), config, state.task.state(), text)


def base_model(model: Model) -> str | None:
    """The name of the pretrained weights on the Hub, None for weights of one's own."""
    spec = model.backbone.spec
    return f"timm/{spec.name}" if model.backbone.architecture and spec.source != "random" else None


def _counts(begun: Begun, dataset: Dataset) -> dict[str, dict[str, int]]:
    targets = {record.id: record.target for record in dataset.records}
    split = begun.split
    return {
        part: dict(Counter(str(targets[name]) for name in ids))
        for part, ids in (("train", split.train), ("valid", split.valid), ("test", split.test))
    }


def closing_lines(begun: Begun, run: Run) -> list[str]:
    """Four lines: what is kept, where it is, how to predict with it, how to go on."""
    kept, folder = begun.state.kept(), _shown(run.path)
    best_is_head = kept["epoch"] == 0 and len(begun.state.rows) > 1
    plainly = " Row 0, the head alone, was the best: training all layers did not improve on it." if best_is_head else ""
    bigger = next_size(begun.state.settings.backbone)
    size = f"    A larger backbone:  --backbone {bigger.name}" if bigger else ""
    return [
        f"Kept: {row_in_words(kept)}.{plainly}",
        f"The model is in {_shown(run.bundle)}",
        f"Predict:  headstart predict {folder} IMAGE...",
        f"Train more:  headstart more {folder} --epochs 3    Judge it:  headstart evaluate {folder}{size}",
    ]


def row_in_words(row: Row) -> str:
    """ "epoch 3, valid_loss 0.2481, error_rate 0.097 [0.073, 0.128]"."""
    judged = [f"{name} {measured(row, name)}" for name in metric_names(row)]
    return ", ".join([f"epoch {row['epoch']}", f"valid_loss {number(row['valid_loss'])}", *judged])


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    try:
        text = str(path.relative_to(Path.cwd()))
    except ValueError:
        text = str(path)
    return f'"{text}"' if " " in text else text
