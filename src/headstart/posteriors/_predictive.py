"""A model that tells what it does not know: the forward of the model, then the posterior of its head."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from headstart.backbones._wrapped import as_eval
from headstart.core import Outputs, Posterior
from headstart.model import Model
from headstart.posteriors._likeness import Likeness


@dataclass(frozen=True)
class Believing:
    """A `Predictive`: one forward, and what the posterior makes of it."""

    model: Model
    posterior: Posterior
    likeness: Likeness | None = None

    def outputs(self, inputs: Shaped[Tensor, "batch ..."]) -> Outputs:
        """The outputs in evaluation mode, on the CPU, with their spread; each module's mode is given back."""
        head = self.model.head
        device = next(head.parameters()).device
        with torch.inference_mode(), as_eval(self.model):
            features = self.model.features(inputs.to(device))
            given, said = head.given(features), head(features)
            outputs = self.posterior.outputs(given.float().cpu(), said.float().cpu())
            return outputs if self.likeness is None else replace(outputs, unlike=self.likeness.unlike(features.float().cpu()))
