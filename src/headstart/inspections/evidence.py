"""Where in an image the evidence for an answer is.

With the last maps A of the body, and those of all layers that the head sees, the head (and whatever is between) turns A into the outputs,
and the evidence for class c over the others is f(A) = logit_c - mean of all logits; for a label or a number by itself it is that output.
Where the answer comes from no place of the last maps but from a class token, A is what goes into the last of the blocks in which the places
still speak; what the token itself holds by then is told beside the map. Integrating its gradient from A = 0,
    map = sum over channels of A * integral_0^1 (df/dA)(t A) dt,    f(A) - f(0) = sum of the map,
every place gets its share (Sundararajan et al. 2017, "Axiomatic attribution for deep networks", eq. 1, of the maps). Where f is affine
in A one step is exact, and this is HiResCAM (Draelos and Carin 2020, eq. 3). What is left over is printed. The arbiter is hiding a part
of the image and asking the model again: a map that disagrees is struck through.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor
from torch.nn import functional

from headstart.backbones import _cuts
from headstart.backbones._cuts import Before, Cut
from headstart.backbones._layers import follow
from headstart.backbones._maps import grid
from headstart.backbones._wrapped import as_eval
from headstart.core import Check, Finding, Picture, Row, Strip
from headstart.errors import BadSetting
from headstart.inspections._plant import Plant, squares, warmth
from headstart.inspections._shown import Shown, asked, laid_over
from headstart.inspections._trace import Trace, missing
from headstart.metrics.measured import average
from headstart.modalities._scan import counted
from headstart.model import Model

QUESTION = "Where in the image is the evidence?"
NEEDS = ("pictures", "answers", "model")
STEPS, BEND = 32, 6
"""Of the integral, at t = u^BEND for even u: behind a layer norm all happens near zero, on a scale that is not known."""
ROUNDING = 1e-4
"""A share of the evidence that counts as none."""
CLOSED = 0.05
"""The largest share of the evidence that may be left over."""
Place = Callable[[Tensor], Cut]
"""The cut of a network, by the image that it is given."""
AGREES = 0.3
"""The least rank correlation of a map with what hiding does."""


def inspect(trace: Trace) -> Finding:
    """Maps of the evidence for what was said, with how well each agrees with hiding parts of the image."""
    return look(trace, trace.chosen)


def look(trace: Trace, shown: Sequence[Shown]) -> Finding:
    """The same of these pictures."""
    place = where(shown[0].model, torch.cat([shown[0].input, shown[-1].input]))
    if isinstance(place, str):
        return missing("evidence", QUESTION, place)
    found = [Seen.of(one, place) for one in shown]
    agreement = np.array([one.agreement for one in found if np.isfinite(one.agreement)])
    closed, good = max(one.left for one in found), int((agreement >= AGREES).sum())
    median = float(np.median(agreement)) if len(agreement) else float("nan")
    return Finding(
        "evidence",
        QUESTION,
        f"In {good:,} of {counted(len(found), 'image')} hiding a part takes away what the map says is there.",
        "good" if good >= len(found) / 2 else "look",
        {"agreement": average(agreement)} if len(agreement) else {},
        [one.item() for one in found],
        [one.strip() for one in found],
        (
            Check(
                "the map adds up to the answer", closed <= CLOSED, f"at most {100 * closed:.2g} % of the evidence is left over"
            ),
            Check("the maps agree with hiding", good >= len(found) / 2, f"median rank correlation {median:.2f}"),
        ),
        (
            "Orange speaks for the answer, blue against it.",
            *_of_the_token(found[0].before, [one.elsewhere for one in found]),
            "A map shows where the evidence for this answer lies, not whether it is good evidence: a mark in a corner counts like the thing itself.",
        ),
    )


@dataclass(frozen=True)
class Seen:
    """What was found in one image."""

    shown: Shown
    places: Float[np.ndarray, "rows columns"]
    left: float
    """The share of the evidence that is left over."""
    elsewhere: float
    """The share that lies in no place: in a class token."""
    before: bool
    """Whether the places are those before the last block, and not the last maps."""

    @classmethod
    def of(cls, shown: Shown, place: Place) -> "Seen":
        """The evidence of a picture for what the model says of it."""
        with torch.no_grad(), as_eval(shown.model):
            cut = place(shown.input)
            return cls(shown, *evidence(shown.model, cut, shown.asks), isinstance(cut, Before))

    @cached_property
    def agreement(self) -> float:
        """Rank correlation of the map with what hiding does; no number where either is flat."""
        falls = self.shown.falls
        pooled = functional.adaptive_avg_pool2d(torch.from_numpy(self.places)[None, None].double(), falls.shape)[0, 0].numpy()
        if np.ptp(pooled) == 0 or np.ptp(falls) == 0:
            return float("nan")
        return float(np.corrcoef(stats.rankdata(pooled), stats.rankdata(falls))[0, 1])

    def item(self) -> Row:
        """A row of the table."""
        label = {} if self.shown.label is None else {"given": self.shown.label}
        said = {"said": self.shown.text, "left over": self.left, "agreement": self.agreement}
        said |= {"in the class token": self.elsewhere} if self.elsewhere else {}
        return {"id": self.shown.id, **label, **said}

    def strip(self) -> Strip:
        """The picture beside the map, struck through where it must not be believed."""
        shown, struck = self.shown, None
        if self.left > CLOSED:
            struck = f"{100 * self.left:.0f} % of the evidence is left over"
        elif not self.agreement >= AGREES:
            struck = f"hiding disagrees (rank correlation {self.agreement:.2f})"
        map_ = laid_over(shown.pixels, self.places)
        return shown.beside(Picture(map_, f"evidence for {shown.name}", shown.id, struck))


def _of_the_token(before: bool, shares: Sequence[float]) -> tuple[str, ...]:
    """How much of the evidence no map can show."""
    median = f"{100 * float(np.median(shares)):.0f} % of the evidence (median) lies in"
    if not before:
        return (f"{median} a class token, which has no place.",) if any(shares) else ()
    words = "The answer comes from no place of the last maps (a class token gathers it): the map shows what the places add in the last block"
    if not any(shares):  # the token stands beside the places there, and what it holds is in f(0)
        return (f"{words}, beside what was gathered before.",)
    return (f"{words}, and {median} what was gathered before.",)


def evidence(model: Model, cut: Cut, asks: Float[Tensor, " outputs"]) -> tuple[Float[np.ndarray, "rows columns"], float, float]:
    """The share of each place in what is asked, weights of the outputs; of all of it the share that is left over, and what lies in no place."""
    maps = cut.maps
    places_of_path = (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS
    steps, weights = places_of_path**BEND, BEND * places_of_path ** (BEND - 1) / STEPS
    slopes = [_slope(model, cut, float(step) * maps, asks) for step in (steps[0], steps[-1])]
    affine = torch.allclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-6 * float(slopes[1].abs().max().clamp(min=1e-12)))
    slope = slopes[1]
    if not affine:
        slope = torch.stack(
            [float(w) * _slope(model, cut, float(t) * maps, asks) for t, w in zip(steps, weights, strict=True)]
        ).sum(0)
    with torch.no_grad():
        whole = float(_contrast(model, cut, maps, asks) - _contrast(model, cut, torch.zeros_like(maps), asks))
        shares = maps * slope
        places, every = cut.laid_out(shares), float(shares.sum())
    size = math.copysign(max(abs(whole), 1e-6), whole)
    elsewhere = (every - float(places.sum())) / size
    return places.double().cpu().numpy(), abs((whole - every) / size), elsewhere if abs(elsewhere) > ROUNDING else 0.0


def _contrast(model: Model, cut: Cut, maps: Float[Tensor, "one ..."], asks: Float[Tensor, " outputs"]) -> Float[Tensor, ""]:
    outputs = model.head(cut.features(maps))[0]
    return outputs @ asks.to(outputs)


def _slope(model: Model, cut: Cut, maps: Float[Tensor, "one ..."], asks: Float[Tensor, " outputs"]) -> Float[Tensor, "one ..."]:
    with torch.enable_grad():
        held = maps.detach().requires_grad_()
        contrast = _contrast(model, cut, held, asks)
        # beware: where no weight learns either, what hangs on nothing has no gradient to ask for, which is an error to torch
        found = torch.autograd.grad(contrast, held, allow_unused=True)[0] if contrast.requires_grad else None
    return torch.zeros_like(maps) if found is None else found


def where(model: Model, x: Float[Tensor, "batch 3 height width"]) -> Place | str:
    """Where this network is cut for a map of its evidence, or why there can be none."""
    with as_eval(model):
        backbone = model.backbone
        if model.head.final is None or backbone.spec.levels:
            return "this head says something of every place by itself."
        trouble = _no_map_at_the_end(model, x)
        if trouble is None:
            return partial(_cuts.at_the_end, backbone)
        for module in _cuts.from_the_end(backbone):
            with suppress(BadSetting):
                if _reached(model, _cuts.before(backbone, module, x[:1])):
                    return partial(_cuts.before, backbone, module)
        return trouble


def _reached(model: Model, cut: Cut) -> bool:
    """Whether the answer hangs on any place of the cut."""
    assert model.head.final is not None, "asked before"
    slope = cut.laid_out(_slope(model, cut, cut.maps, asked(0, model.head.final.out_features, False)).abs())
    return min(slope.shape) > 1 and bool((slope != 0).any())


def _no_map_at_the_end(model: Model, x: Float[Tensor, "batch 3 height width"]) -> str | None:
    """Why the last maps of this network do not serve, if so."""
    backbone = model.backbone
    with torch.no_grad():
        maps = backbone.maps(x)
        if not isinstance(maps, Tensor):
            return "this backbone gives several maps at once before its head, so their evidence cannot be divided among places."
        try:
            grid(maps)
        except BadSetting:
            return "this backbone gives no spatial maps."
        if not follow(backbone.bare, x):
            return "the features of this backbone do not follow from its last maps, so their evidence cannot be divided among places."
    if not _reached(model, _cuts.at_the_end(backbone, x[:1])):
        return "the answer of this network comes from no place of its last maps (a class token, or a head that is all zero)."
    return None


def plant(seed: int) -> Plant:
    """A red square somewhere makes an image one class, a green one the other; the clean twin's head looks at nothing."""
    planted = squares(seed)

    def found(finding: Finding) -> bool:
        inside = []
        for strip in finding.strips:
            warm = warmth(strip)
            inside.append(planted.cut(str(strip.pictures[0].example), warm).mean() > 5 * np.abs(warm).mean())
        return bool(np.mean(inside) >= 0.9)

    return Plant(planted.faulty, planted.clean, found)
