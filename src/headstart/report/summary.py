"""The model in a table: its stages, their parameters, and how fast each would learn."""

from dataclasses import dataclass

from headstart.core import Settings
from headstart.model import Model


@dataclass(frozen=True)
class Line:
    """One stage; `share` is its learning rate relative to the last stage of the body in step 2 of `fine_tune`."""

    stage: str
    parameters: int
    trainable: bool
    share: float


@dataclass(frozen=True)
class Summary:
    """The stages from the input to the output; printed, it is a table."""

    backbone: str
    size: int
    lines: tuple[Line, ...]

    def __repr__(self) -> str:
        total = sum(line.parameters for line in self.lines)
        trainable = sum(line.parameters for line in self.lines if line.trainable)
        rows = [f"{self.backbone} at {self.size} px: {total:,} parameters, {trainable:,} trainable", ""]
        rows.append(f"{'stage':24} {'parameters':>12}  {'trains':6}  learning rate")
        for line in self.lines:
            rows.append(
                f"{line.stage[:24]:24} {line.parameters:12,}  {'yes' if line.trainable else 'frozen':6}  x {line.share:.3g}"
            )
        return "\n".join(rows)


def of(model: Model, settings: Settings, frozen: bool) -> Summary:
    """The summary of a model as `fine_tune` would train it, or with its body frozen."""
    stages = model.stages()
    decay = settings.lr_mult ** (-1 / max(1, len(stages) - 2))
    lines = []
    for place, (name, stage) in enumerate(stages):
        head = place == len(stages) - 1
        lines.append(
            Line(
                name,
                sum(p.numel() for p in stage.parameters()),
                head or not frozen,
                1.0 if head else decay ** (len(stages) - 2 - place),
            )
        )
    return Summary(model.backbone.spec.name, model.backbone.spec.size, tuple(lines))
