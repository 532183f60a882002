"""What the tasks share: outputs as arrays and in the precision that a loss needs, draws from what is known of their spread."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs


def precise(outputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """In float32 at least."""
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def array(values: Any) -> Float[np.ndarray, "*shape"]:
    """As float64 on the CPU."""
    return torch.as_tensor(values).detach().cpu().double().numpy()


def knows_spread(outputs: Outputs) -> bool:
    """Whether more is known than the mean."""
    return outputs.cov is not None or outputs.samples is not None


def machine_row(id: str, error: str | None, **fields: Any) -> dict[str, Any]:
    """The fields that `predict --json` has for every task, those of the task after them; None what nothing has filled."""
    known = dict.fromkeys(("answer", "promised", "total", "aleatoric", "epistemic", "ood"))
    named = {name: fields.pop(name) for name in known if name in fields}
    return {"id": id, **known, **named, "error": error, **fields}
