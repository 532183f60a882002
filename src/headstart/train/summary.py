"""The model in a table: its stages, their parameters, and how fast each would learn."""

from dataclasses import dataclass

from torch import nn

from headstart.core import Settings
from headstart.model import Model
from headstart.train import adapters

OWN = "(the network itself)"
"""Parameters that lie in none of its layers."""


@dataclass(frozen=True)
class Line:
    """One stage; `share` is its learning rate relative to the last stage of the body in step 2 of `fine_tune`."""

    stage: str
    parameters: int
    learning: int
    """How many numbers learn: all parameters, none, or those of low-rank adapters in their place."""
    share: float


@dataclass(frozen=True)
class Summary:
    """The stages from the input to the output; printed, it is a table."""

    backbone: str
    size: str
    lines: tuple[Line, ...]

    def __repr__(self) -> str:
        total = sum(line.parameters for line in self.lines)
        learning = sum(line.learning for line in self.lines)
        rows = [f"{self.backbone} at {self.size}: {total:,} parameters, {learning:,} numbers learn", ""]
        rows.append(f"{'stage':24} {'parameters':>12}  {'learning':>12}  learning rate")
        for line in self.lines:
            learns = f"{line.learning:,}" if line.learning else "frozen"
            rows.append(f"{line.stage[:24]:24} {line.parameters:12,}  {learns:>12}  x {line.share:.3g}")
        return "\n".join(rows)


def of(model: Model, settings: Settings, frozen: bool) -> Summary:
    """The summary of a model as `fine_tune` would train it, or with its body frozen."""
    *body, (head, last) = model.stages()
    decay = model.backbone.defaults.under(settings).lr_mult ** (-1 / max(1, len(body) - 1))
    lines = [
        Line(name or OWN, count(stage), learning(stage, settings.adapters, frozen), decay ** (len(body) - 1 - place))
        for place, (name, stage) in enumerate(body)
    ]
    own = count(model) - count(last) - sum(line.parameters for line in lines)
    if own > 0:  # a class token, positions: they learn with the first stage
        learns = 0 if frozen or settings.adapters else own
        lines.insert(0, Line(OWN, own, learns, decay ** (len(body) - 1)))
    return Summary(
        model.backbone.spec.name, model.backbone.takes().words.size, (*lines, Line(head, count(last), count(last), 1.0))
    )


def count(stage: nn.Module) -> int:
    """The parameters of a stage, or of a whole model; one that is used twice counts once."""
    return sum(parameter.numel() for parameter in stage.parameters())


def learning(stage: nn.Module, rank: int, frozen: bool) -> int:
    """How many numbers learn in a stage of the body."""
    if frozen:
        return 0
    return adapters.size(stage, rank) if rank else count(stage)
