"""The class of every place of an image: softmax and cross-entropy at each, every place an observation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor
from torch.nn import functional

from headstart import metrics
from headstart.core import MaskFile, Outputs
from headstart.errors import DataError
from headstart.metrics import Measured, measured, places
from headstart.modalities import _masks
from headstart.tasks._arrays import divided, knows_spread, precise
from headstart.tasks._mask_names import VOID, MaskNames
from headstart.tasks._softmax import averaged, known, probabilities
from headstart.tasks._spread import SegmentationPrediction, at_size, told

Rule = Callable[[Outputs, Any], Measured]
Targets = Integer[Tensor, "batch rows columns"]
AT_ONCE = 4
"""Images whose places are looked at together: of large ones there is not room for many."""


@dataclass(frozen=True)
class Segmentation(MaskNames):
    """The task of telling the class of every place of an image; the head gives a logit for each class at every place of a grid."""

    solver: str = field(default="softmax", init=False)
    head: str = field(default="decoder", init=False)
    default_metrics: tuple[str, ...] = field(default=("miou", "pixel_accuracy"), init=False)
    exact: bool = field(default=False, init=False)
    weights: tuple[float, ...] = ()
    """Of the places of each class in the loss; empty: one each."""

    # -------------------------------------------------------------------------------------------------------- raw labels

    def encode(self, raw: Sequence[Any]) -> Targets:
        """The place of the class at each place of the grid, 255 where nobody knows.

        Raises:
            DataError: for a mask that cannot be read, and for an example without one.
        """
        table = np.full(1 << 16, VOID, np.uint8)
        table[list(self.numbers)] = np.arange(self.outputs, dtype=np.uint8)
        found = np.empty((len(raw), *self.grid), np.uint8)
        for place, label in enumerate(raw):
            if not isinstance(label, MaskFile):
                raise DataError(
                    "an example has no mask, so nothing can be learned or measured from it. Leave it out, or draw one."
                )
            found[place] = table[_masks.nearest(_masks.read(label.path, label), *self.grid)]
        return torch.from_numpy(found)

    def decode(self, targets: Targets) -> list[UInt8[np.ndarray, "rows columns"]]:
        """The masks: the number of the class at each place, 255 where nobody knows."""
        table = np.full(VOID + 1, VOID, np.uint8)
        table[: self.outputs] = self.numbers
        return [table[target] for target in targets.numpy()]

    def texts(self, targets: Targets) -> list[str]:
        """The classes that cover most of each image."""
        return [told(self._shares(target)) for target in targets.numpy()]

    def _shares(self, target: Integer[np.ndarray, "rows columns"]) -> dict[str, float]:
        counts = np.bincount(target[target != VOID].ravel(), minlength=self.outputs)
        return dict(zip(self.classes, (counts / max(1, counts.sum())).tolist(), strict=True))

    def groups(self, targets: Targets) -> None:
        """None: an image has many classes."""

    def new_rows(self, inputs: Any, targets: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """None are ever asked for: the task is never widened."""
        raise NotImplementedError("the classes of masks are named when the data is opened")

    # -------------------------------------------------------------------------------------------------------- likelihood

    def loss(
        self,
        outputs: Float[Tensor, "batch classes rows columns"],
        targets: Integer[Tensor, "batch height width"],
        smoothing: float = 0.0,
    ) -> Float[Tensor, " batch"]:
        """Mean cross-entropy of the known places of each image in nats, in float32 at least; zero where none is known.

        Outputs on another grid than the targets are interpolated to theirs.
        """
        pairs = zip(outputs.split(AT_ONCE), targets.to(outputs.device).split(AT_ONCE), strict=True)
        return torch.cat([self._losses(said, truth, smoothing) for said, truth in pairs] or [outputs.new_zeros(0)])

    def _losses(self, outputs: Tensor, targets: Targets, smoothing: float) -> Float[Tensor, " batch"]:
        said = at_size(precise(outputs), targets.shape[1:])
        truth, known = targets.long(), targets != VOID
        every = functional.cross_entropy(said, truth, ignore_index=VOID, reduction="none", label_smoothing=smoothing)
        if self.weights:
            every = every * every.new_tensor((*self.weights, *[0.0] * (VOID + 1 - self.outputs)))[truth]
        return every.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)

    def balanced(self, targets: Targets) -> "Segmentation":
        """The task in whose loss every class that is there has the same sum of weights, whose mean over known places is one."""
        counts = np.bincount(targets.numpy().ravel(), minlength=VOID + 1)[: self.outputs].astype(np.float64)
        there = counts > 0
        weights = np.divide(counts.sum(), there.sum() * counts, out=np.zeros(self.outputs), where=there)
        return replace(self, weights=tuple(weights.tolist()))

    def output_hessian(
        self, outputs: Float[Tensor, "batch classes rows columns"], targets: Integer[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch rows columns classes classes"]:
        """(diag(p) - p p^T) / known places at each known place, zero elsewhere: places do not hang on each other.

        Raises:
            DataError: for outputs on another grid than the targets, of which one hangs on several.
        """
        if outputs.shape[2:] != targets.shape[1:]:
            raise DataError(f"outputs at {list(outputs.shape[2:])} and targets at {list(targets.shape[1:])} must share a grid.")
        probs = precise(outputs).softmax(1).movedim(1, -1)
        known = (targets != VOID).to(probs)
        weight = known / known.sum((1, 2), keepdim=True).clamp(min=1)
        return (torch.diag_embed(probs) - probs[..., :, None] * probs[..., None, :]) * weight[..., None, None]

    def whitened(
        self, outputs: Float[Tensor, "batch classes rows columns"], deviations: Float[Tensor, "batch classes rows columns draws"]
    ) -> Float[Tensor, "batch classes rows columns draws"]:
        """sqrt(p) (d - p^T d) at each place, divided by the root of how many there are, of which a loss is the mean."""
        probs = precise(outputs).softmax(1)[..., None].to(deviations)
        return probs.sqrt() * (deviations - (probs * deviations).sum(1, keepdim=True)) / outputs[0, 0].numel() ** 0.5

    def mean_hessian(
        self, outputs: Float[Tensor, "batch classes rows columns"], targets: Integer[Tensor, "batch height width"]
    ) -> Float[Tensor, "classes classes"]:
        """The mean over images of the sum over places, a few images at a time."""
        pairs = zip(outputs.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
        total = sum(self.output_hessian(said, truth).sum((0, 1, 2)) for said, truth in pairs)
        return torch.as_tensor(total) / max(1, len(outputs))

    def averaged(self, views: Sequence[Outputs]) -> Outputs:
        """Outputs whose probabilities are the mean of those of the views, place by place; of a single view, that view itself."""
        if len(views) == 1:
            return views[0]
        shape = torch.as_tensor(views[0].mean).shape
        found = averaged([_by_place(view) for view in views])
        mean = _to_grid(torch.as_tensor(found.mean), shape)
        return Outputs(
            mean, samples=None if found.samples is None else torch.stack([_to_grid(each, shape) for each in found.samples])
        )

    # ---------------------------------------------------------------------------------------------------------- answers

    def tempered(self, outputs: Outputs, temperature: float) -> Outputs:
        """Logits divided by the temperature."""
        return divided(outputs, temperature)

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[SegmentationPrediction]:
        """One prediction per image, in order; uncertainties are means over its places, where the outputs know their spread."""
        mean = torch.as_tensor(outputs.mean)
        said, spread = mean, [(None, None, None)] * len(mean)
        if knows_spread(outputs):
            rows = _by_place(outputs)
            said = _to_grid(torch.from_numpy(np.log(np.maximum(probabilities(rows), np.finfo(np.float64).tiny))), mean.shape)
            parts = known(rows).uncertainty.reshape(len(mean), -1, 3).mean(1)
            spread = [tuple(each) for each in parts.tolist()]
        named = zip(ids, said, spread, strict=True)
        return [SegmentationPrediction(id, one, self.classes, self.numbers, *self.grid, None, *parts) for id, one, parts in named]

    def failed(self, id: str, message: str) -> SegmentationPrediction:
        """What is told of an input that could not be read."""
        return SegmentationPrediction(id, None, self.classes, self.numbers, error=message)

    def metrics(self, names: Sequence[str | Callable[[Any, Any], Any]]) -> dict[str, Rule]:
        """Functions of (Outputs, targets) by metric name; functions of (probs [batch, classes, rows, columns], targets) are metrics too."""
        own = {**places.METRICS, "nll": self._nll}
        found = metrics.chosen(names, own, places.FASTAI, "probs [batch, classes, rows, columns]")
        kept: dict[int, Any] = {}

        def confusion(outputs: Outputs, targets: Targets) -> Int[np.ndarray, "batch classes classes"]:
            if id(outputs) not in kept:  # all metrics of a row look at the same outputs, and to count takes longer than the rest
                kept.clear()
                kept[id(outputs)] = (outputs, self._confusion(outputs, targets))
            return kept[id(outputs)][1]

        def rule(metric: Any) -> Rule:
            if metric == self._nll:
                return metric
            if metric in places.METRICS.values():
                return lambda outputs, targets: metric(confusion(outputs, targets))
            return lambda outputs, targets: metric(np.concatenate(list(self._probabilities(outputs, targets))), targets.numpy())

        return {name.lstrip("_"): rule(metric) for name, metric in found.items()}

    def _nll(self, outputs: Outputs, targets: Targets) -> Measured:
        if not knows_spread(outputs):
            return measured.average(self.loss(torch.as_tensor(outputs.mean), targets).double().numpy(), 0.0)
        found = []
        for probs, truth in zip(self._probabilities(outputs, targets), targets.split(AT_ONCE), strict=True):
            known = (truth != VOID).numpy()
            right = np.take_along_axis(probs, np.where(known, truth.numpy(), 0)[:, None].astype(np.int64), 1)[:, 0]
            losses = -np.log(np.maximum(right, np.finfo(np.float64).tiny)) * known
            found += (losses.sum((1, 2)) / np.maximum(known.sum((1, 2)), 1)).tolist()
        return measured.average(np.array(found), 0.0)

    def _probabilities(self, outputs: Outputs, targets: Targets) -> Iterator[Float[np.ndarray, "some classes rows columns"]]:
        """At the places of the targets, some images at a time."""
        mean = torch.as_tensor(outputs.mean)
        for first in range(0, len(mean), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            if not knows_spread(outputs):
                yield at_size(precise(mean[part]), targets.shape[1:]).double().softmax(1).numpy()
                continue
            cov = None if outputs.cov is None else outputs.cov[part]
            samples = None if outputs.samples is None else outputs.samples[:, part]
            probs = _to_grid(torch.from_numpy(probabilities(_by_place(Outputs(mean[part], cov, samples)))), mean[part].shape)
            yield at_size(probs, targets.shape[1:]).numpy()

    def _confusion(self, outputs: Outputs, targets: Targets) -> Int[np.ndarray, "batch classes classes"]:
        count, found = self.outputs, []
        for probs, truth in zip(self._probabilities(outputs, targets), targets.split(AT_ONCE), strict=True):
            for said, true in zip(probs.argmax(1), truth.numpy(), strict=True):
                known = true != VOID
                pairs = true[known].astype(np.int64) * count + said[known]
                found.append(np.bincount(pairs, minlength=count**2).reshape(count, count))
        return np.array(found, np.int64).reshape(-1, count, count)

    def fitted(self, outputs: Outputs, targets: Any) -> "Segmentation":
        """Itself: the most probable class is the answer."""
        return self

    def by_class(self, outputs: Outputs, targets: Targets) -> dict[str, Measured]:
        """`iou.NAME` of each class, with 95 % intervals."""
        found = places.by_class(self._confusion(outputs, targets))
        return {f"iou.{name}": one for name, one in zip(self.classes, found, strict=True)}


def _by_place(outputs: Outputs) -> Outputs:
    """Every place of every image as an example of its own."""
    mean = torch.as_tensor(outputs.mean)
    classes = mean.shape[1]
    cov = None if outputs.cov is None else torch.as_tensor(outputs.cov).reshape(-1, classes, classes)
    samples = outputs.samples
    if samples is not None:
        samples = torch.as_tensor(samples).movedim(2, -1).flatten(1, -2)
    return Outputs(mean.movedim(1, -1).flatten(0, -2), cov, samples)


def _to_grid(rows: Float[Tensor, "places classes"], shape: Sequence[int]) -> Float[Tensor, "batch classes rows columns"]:
    """Rows for every place as they lie in images of this shape."""
    batch, classes, height, width = shape
    return rows.reshape(batch, height, width, classes).movedim(-1, 1)
