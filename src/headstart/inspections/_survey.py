"""One pass of a model over examples: what every layer gave for each, by one forward."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones._layers import seen
from headstart.backbones._wrapped import Wrapped, as_eval
from headstart.inspections._trace import Layer, Look


def survey(backbone: Wrapped, batches: Iterable[Tensor], head: nn.Module | None = None) -> Iterator[int | Look]:
    """After each batch of inputs how many examples have been looked at, and at the end the `Look`; `head` turns features into outputs."""
    device = next(backbone.parameters(), torch.zeros(())).device
    features, outputs, kept, done = list[np.ndarray](), list[np.ndarray](), dict[str, list[tuple]](), 0
    sides: dict[str, tuple[int, int]] = {}
    for batch in batches:
        with torch.inference_mode(), as_eval(backbone):
            rows, maps = seen(backbone, batch.to(device))
            said = None if head is None else head(rows)
        features.append(_array(rows))
        if said is not None:
            outputs.append(_array(said))
        for name, each in maps.items():
            kept.setdefault(name, []).append(_summed_up(each))
            sides[name] = (each.shape[2], each.shape[3])
        done += len(batch)
        yield done
    found = tuple(
        Layer(name, sides[name], *(np.concatenate(column) for column in zip(*parts, strict=True))) for name, parts in kept.items()
    )
    yield Look(np.concatenate(features), found, np.concatenate(outputs) if outputs else None, backbone.bare.spec.width)


def _summed_up(maps: Float[Tensor, "batch channels rows columns"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every channel its mean, its maximum, and where that is."""
    flat = maps.flatten(2)
    highest, places = flat.max(2)
    return _array(flat.mean(2)), _array(highest), places.to(torch.int32).cpu().numpy()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def weights_moved(before: Wrapped, after: Wrapped) -> dict[str, float]:
    """Of each stage by name, the length of the change of its weights and of the statistics of its norms, over that of what they were.

    Beware: statistics that were learned anew change what a layer gives though no weight has moved.
    """
    found = {}
    for (name, old), (_, new) in zip(before.whole.stages(), after.whole.stages(), strict=True):
        olds, news = _numbers(old), _numbers(new)
        found[name] = float((news - olds).norm() / olds.norm().clamp(min=1e-12))
    return found


def _numbers(stage: nn.Module) -> Float[Tensor, " numbers"]:
    """All that a stage has learned; not how many batches its norms have counted."""
    learned = [each.detach().double().cpu().flatten() for each in stage.state_dict().values() if each.is_floating_point()]
    return torch.cat(learned or [torch.zeros(0, dtype=torch.float64)])
