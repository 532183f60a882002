"""A model is a backbone and a head: its stages in depth order, what of it trains, how its norm layers behave."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from headstart import plugins
from headstart.backbones._wrapped import Wrapped, as_eval
from headstart.core import Outputs
from headstart.errors import BadSetting

NormMode = Literal["frozen", "adapt", "train"]
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class Model(nn.Module):
    """A backbone that gives features and a head that turns them into outputs."""

    def __init__(self, backbone: Wrapped, head: nn.Module, head_kind: str = "linear") -> None:
        super().__init__()
        self.backbone = backbone
        self.head: Any = head
        """A file of `heads/` has made it (`heads._head.Head`)."""
        self.head_kind = head_kind

    def features(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """What the head sees."""
        return self.backbone.features(x)

    def forward(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs *places"]:
        """The head's outputs: logits for a classifier."""
        return self.head(self.backbone.features(x))

    def learned(self, x: Shaped[Tensor, "batch ..."]) -> list[Float[Tensor, "batch outputs *places"]]:
        """Outputs whose losses add up to what is learned from; the last are those of `forward`."""
        return self.head.learned(self.backbone.features(x))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The backbone's stages from the input on, then ("head", head)."""
        return [*self.backbone.stages(), ("head", self.head)]

    def outputs(self, inputs: Shaped[Tensor, "batch ..."]) -> Outputs:
        """The outputs in evaluation mode, on the CPU in float32; each module's mode is given back."""
        device = next(self.head.parameters()).device
        with torch.inference_mode(), as_eval(self):
            return Outputs(self(inputs.to(device)).float().cpu())


def build(backbone: Wrapped, outputs: int, head_kind: str = "linear", seed: int = 0) -> Model:
    """A model of this backbone with a new, seeded head of the kind asked for."""
    spec = backbone.spec
    head = plugins.find("heads", head_kind).make(spec.width, outputs, seed, spec.levels)
    return Model(backbone, head.guided(backbone.bare.spec.width, seed) if backbone.dress else head, head_kind)


# ------------------------------------------------------------------------------------------- what trains, and how


def stage_of_parameters(model: Model) -> dict[str, int]:
    """The depth of the stage of each parameter by name; parameters of the backbone itself (class token, positions) are at 0."""
    depth = {id(parameter): place for place, (_, stage) in enumerate(model.stages()) for parameter in stage.parameters()}
    return {name: depth.get(id(parameter), 0) for name, parameter in model.named_parameters()}


def set_trainable(model: Model, first_stage: int) -> None:
    """Stages before `first_stage` take no gradient, the others do; `len(model.stages()) - 1` is the head alone.

    Raises:
        BadSetting: when there is no such stage.
    """
    last = len(model.stages()) - 1
    if not 0 <= first_stage <= last:
        raise BadSetting(f"first_stage must be between 0 (everything) and {last} (the head alone), got {first_stage}.")
    depths = stage_of_parameters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(depths[name] >= first_stage)


def norm_mode(model: Model, mode: NormMode) -> None:
    """Training mode, with batch norms as asked: call it after `set_trainable`, at the start of every epoch.

    "frozen": every batch norm is fixed: stored statistics, scale and shift stay as they are. "adapt": those of trainable stages use
    and store the statistics of the batch. "train": those of all stages do, and their scale and shift learn, also where the
    stage is frozen. Frozen stages are in evaluation mode otherwise (no dropout). Layer norms have no statistics.
    """
    model.train()
    for _, stage in model.stages():
        norms = [module for module in stage.modules() if isinstance(module, BatchNorm)]
        own = {id(parameter) for norm in norms for parameter in norm.parameters()}
        trainable = any(parameter.requires_grad for parameter in stage.parameters() if id(parameter) not in own)
        stage.train(trainable)
        for norm in norms:
            norm.train(mode == "train" or (mode == "adapt" and trainable))
            if mode != "adapt":
                norm.requires_grad_(mode == "train")


def learns_statistics(model: Model) -> bool:
    """Whether there are norm layers that can use the statistics of a batch."""
    return any(isinstance(module, BatchNorm) for module in model.modules())
