"""Where in an image the evidence for an answer is.

With the last maps A of the body, the head (and whatever is between) turns A into the logits, and the evidence for class c over the
others is f(A) = logit_c - mean of all logits. Integrating its gradient from A = 0,
    map = sum over channels of A * integral_0^1 (df/dA)(t A) dt,    f(A) - f(0) = sum of the map,
every place gets its share (Sundararajan et al. 2017, "Axiomatic attribution for deep networks", eq. 1, of the maps). Where f is affine
in A one step is exact, and this is HiResCAM (Draelos and Carin 2020, eq. 3). What is left over is printed. The arbiter is hiding a part
of the image and asking the model again: a map that disagrees is struck through.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from headstart.backbones import from_module
from headstart.backbones._layers import features_of, follow
from headstart.backbones._maps import grid
from headstart.backbones._wrapped import as_eval, seeded
from headstart.core import Check, Finding, Picture, Strip
from headstart.errors import BadSetting
from headstart.inspections._plant import Plant, trace
from headstart.inspections._trace import Trace, missing
from headstart.metrics.measured import average
from headstart.model import Model, build
from headstart.seeds import numpy_generator

QUESTION = "Where in the image is the evidence?"
NEEDS = ("classes", "pictures", "model")
SHOWN = 12
"""Examples that are looked into: half with the largest losses, half right ones, evenly over the classes."""
PARTS, WIDE = 7, 3
"""Rows and columns of the places around which the image is hidden, one after another, and how many of these parts wide: what is left
beside a narrower window mostly suffices for the answer (docs/log.md)."""
STEPS, BEND = 32, 6
"""Of the integral, at t = u^BEND for even u: behind a layer norm all happens near zero, on a scale that is not known."""
CLOSED = 0.05
"""The largest share of the evidence that may be left over."""
AGREES = 0.3
"""The least rank correlation of a map with what hiding does."""
BLUR = 16


def inspect(trace: Trace) -> Finding:
    """Maps of the evidence for what was said, with how well each agrees with hiding parts of the image."""
    model = trace.model
    assert model is not None and trace.inputs is not None and trace.pictures is not None, "NEEDS says so"
    chosen = _chosen(trace)
    with as_eval(model):
        trouble = _unfit(model, trace.inputs(chosen[:2]))
        if trouble:
            return missing("evidence", QUESTION, trouble)
        found = [look_at(model, trace.inputs([place])) for place in chosen]
    items, strips = [], []
    truths = trace.task.texts(trace.targets[chosen])
    for place, one, truth in zip(chosen, found, truths, strict=True):
        item = {
            "id": trace.ids[place],
            "given": truth,
            "said": trace.names[one.said],
            "left over": one.left,
            "agreement": one.agreement,
        }
        items.append(item)
        strips.append(_strip(trace, place, one, item))
    agreement = np.array([one.agreement for one in found if np.isfinite(one.agreement)])
    closed = max(one.left for one in found)
    good = int((agreement >= AGREES).sum())
    return Finding(
        "evidence",
        QUESTION,
        f"In {good:,} of {len(found):,} images hiding a part takes away what the map says is there.",
        "good" if good >= len(found) / 2 else "look",
        {"agreement": average(agreement)} if len(agreement) else {},
        items,
        strips,
        (
            Check(
                "the map adds up to the answer", closed <= CLOSED, f"at most {100 * closed:.2g} % of the evidence is left over"
            ),
            Check(
                "the maps agree with hiding",
                good >= len(found) / 2,
                f"median rank correlation {float(np.median(agreement)) if len(agreement) else float('nan'):.2f}",
            ),
        ),
        (
            "Orange speaks for the answer, blue against it; of the right-hand pictures, hiding an orange place weakens the answer.",
            "A map shows where the evidence for this answer lies, not whether it is good evidence: a mark in a corner counts like the thing itself.",
        ),
    )


class Seen:
    """What was found in one image."""

    def __init__(
        self, said: int, places: Float[np.ndarray, "rows columns"], hidden: Float[np.ndarray, "parts parts"], left: float
    ):
        self.said, self.places, self.hidden, self.left = said, places, hidden, left
        pooled = functional.adaptive_avg_pool2d(torch.from_numpy(places)[None, None].double(), hidden.shape)[0, 0].numpy()
        flat = np.ptp(pooled) == 0 or np.ptp(hidden) == 0
        self.agreement = float("nan") if flat else float(np.corrcoef(stats.rankdata(pooled), stats.rankdata(hidden))[0, 1])
        """Rank correlation of the map with what hiding does."""


def look_at(model: Model, x: Float[Tensor, "one 3 height width"], said: int | None = None) -> Seen:
    """The evidence of one input for what the model says of it, or for class `said`."""
    with torch.no_grad():
        maps, answer = model.backbone.maps(x), model(x)
    said = int(answer.argmax(1)) if said is None else said
    places, left = evidence(model, maps, said)
    return Seen(said, places, hiding(model, x, said), left)


def evidence(model: Model, maps: Float[Tensor, "one ..."], said: int) -> tuple[Float[np.ndarray, "rows columns"], float]:
    """The share of each place in the evidence for class `said`, and the share of the evidence that is left over."""
    places_of_path = (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS
    steps, weights = places_of_path**BEND, BEND * places_of_path ** (BEND - 1) / STEPS
    slopes = [_slope(model, float(step) * maps, said) for step in (steps[0], steps[-1])]
    affine = torch.allclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-6 * float(slopes[1].abs().max().clamp(min=1e-12)))
    slope = slopes[1]
    if not affine:
        slope = torch.stack([float(w) * _slope(model, float(t) * maps, said) for t, w in zip(steps, weights, strict=True)]).sum(0)
    with torch.no_grad():
        whole = float(_contrast(model, maps, said) - _contrast(model, torch.zeros_like(maps), said))
        places = grid(maps * slope)[0].sum(0)
    left = abs(whole - float((maps * slope).sum())) / max(abs(whole), 1e-6)
    return places.double().cpu().numpy(), left


def _contrast(model: Model, maps: Float[Tensor, "one ..."], said: int) -> Float[Tensor, ""]:
    logits = model.head(features_of(model.backbone, maps))[0]
    return logits[said] - logits.mean()


def _slope(model: Model, maps: Float[Tensor, "one ..."], said: int) -> Float[Tensor, "one ..."]:
    with torch.enable_grad():
        held = maps.detach().requires_grad_()
        return torch.autograd.grad(_contrast(model, held, said), held)[0]


def hiding(
    model: Model, x: Float[Tensor, "one 3 height width"], said: int, parts: int = PARTS
) -> Float[np.ndarray, "parts parts"]:
    """By how much the evidence for class `said` falls where the image is blurred away around each of parts x parts places."""
    height, width = x.shape[2:]
    small = functional.adaptive_avg_pool2d(x, (max(1, height // BLUR), max(1, width // BLUR)))
    blurred = functional.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    rows, columns = (_windows(size, parts) for size in (height, width))
    hidden = x.repeat(parts * parts, 1, 1, 1)
    for number in range(parts * parts):
        part = (slice(None), rows[number // parts], columns[number % parts])
        hidden[number][part] = blurred[0][part]
    with torch.inference_mode():
        logits = torch.cat([model(piece) for piece in torch.cat([x, hidden]).split(PARTS * PARTS)])
    contrast = logits[:, said] - logits.mean(1)
    return (contrast[0] - contrast[1:]).reshape(parts, parts).double().cpu().numpy()


def _windows(size: int, parts: int) -> list[slice]:
    """Around the middle of each part, `WIDE` parts wide."""
    middles = [(number + 0.5) * size / parts for number in range(parts)]
    half = WIDE * size / parts / 2
    return [slice(max(0, round(middle - half)), min(size, round(middle + half))) for middle in middles]


def _unfit(model: Model, x: Float[Tensor, "batch 3 height width"]) -> str | None:
    """Why no map can be made of this network, if so."""
    backbone = model.backbone
    if model.head.final is None or backbone.spec.levels:
        return "this head says something of every place by itself."
    with torch.no_grad():
        maps = backbone.maps(x)
        if not isinstance(maps, Tensor):
            return "this backbone gives several maps at once before its head, so their evidence cannot be divided among places."
        try:
            places = grid(maps)
        except BadSetting:
            return "this backbone gives no spatial maps."
        if not follow(backbone, x):
            return "the features of this backbone do not follow from its last maps, so their evidence cannot be divided among places."
    slope = grid(_slope(model, maps[:1], 0))
    if places.shape[2] < 2 or not bool((slope != 0).flatten(1).any()):
        return "the answer of this network comes from no place of its last maps (a class token, or a head that is all zero)."
    return None


def _chosen(trace: Trace) -> list[int]:
    """Validation examples: those with the largest losses, and right ones of as many classes as there are places for."""
    assert trace.classes is not None
    judged, said = trace.judged(), trace.said.argmax(1)
    worst = judged[np.argsort(-trace.losses[judged], kind="stable")][: SHOWN // 2].tolist()
    right = [place for place in judged.tolist() if said[place] == trace.classes[place] and place not in worst]
    taken, turns = Counter[int](), {}
    for place in right:  # the first of every class, then the second of every class, ...
        number = int(trace.classes[place])
        turns[place], taken[number] = taken[number], taken[number] + 1
    return [*worst, *sorted(right, key=lambda place: (turns[place], place))[: SHOWN - len(worst)]]


def _strip(trace: Trace, place: int, one: Seen, item: dict) -> Strip:
    assert trace.pictures is not None
    pixels = trace.pictures([place])[0]
    struck = None
    if one.left > CLOSED:
        struck = f"{100 * one.left:.0f} % of the evidence is left over"
    elif not one.agreement >= AGREES:
        struck = f"hiding disagrees (rank correlation {one.agreement:.2f})"
    right = "" if item["given"] == item["said"] else f", labelled {item['given']}"
    return Strip(
        f"{item['said']}{right}",
        (
            Picture(pixels, "the image", trace.ids[place]),
            Picture(laid_over(pixels, one.places), f"evidence for {item['said']}", trace.ids[place], struck),
            Picture(laid_over(pixels, one.hidden), "what hiding a part takes away", trace.ids[place]),
        ),
    )


FOR, AGAINST = (230, 97, 1), (33, 102, 172)


def laid_over(
    pixels: UInt8[np.ndarray, "height width 3"], places: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey with what speaks for the answer in orange and what speaks against it in blue."""
    height, width = pixels.shape[:2]
    wide = functional.interpolate(
        torch.from_numpy(places)[None, None], size=(height, width), mode="bilinear", align_corners=False
    )
    share = wide[0, 0].numpy() / max(float(np.abs(places).max()), 1e-12)
    grey = pixels.astype(np.float64).mean(2, keepdims=True)
    strength = np.clip(np.abs(share), 0.0, 1.0)[:, :, None] * 0.75
    colour = np.where(share[:, :, None] >= 0, np.array(FOR, np.float64), np.array(AGAINST, np.float64))
    return np.clip((1 - strength) * grey + strength * colour, 0, 255).astype(np.uint8)


def plant(seed: int) -> Plant:
    """A red square somewhere makes an image one class, a green one the other; the clean twin's head looks at nothing."""
    draw = numpy_generator(seed, "plant", "evidence")
    truth, side, cell = np.arange(24) % 2, 56, 8
    spots = draw.integers(0, side // cell - 1, (24, 2)) * cell
    pixels = np.full((24, side, side, 3), 40, np.uint8)
    for image, colour, (row, column) in zip(pixels, truth, spots, strict=True):
        image[row : row + 2 * cell, column : column + 2 * cell, colour] = 250

    def shown(places: Sequence[int]) -> UInt8[np.ndarray, "batch 56 56 3"]:
        return pixels[list(places)]

    def inputs(places: Sequence[int]) -> Tensor:
        return torch.from_numpy(shown(places)).permute(0, 3, 1, 2).float() / 255

    def known(model: Model) -> Trace:
        said = model(inputs(range(24))).detach().numpy()
        return trace(said, truth, pictures=shown, inputs=inputs, model=model)

    def found(finding: Finding) -> bool:
        inside = []
        for strip in finding.strips:
            place = int(str(strip.pictures[0].example).removesuffix(".jpg"))
            row, column = spots[place]
            orange = strip.pictures[1].pixels.astype(np.int64)
            warm = orange[..., 0] - orange[..., 2]
            inside.append(warm[row : row + 2 * cell, column : column + 2 * cell].mean() > 5 * np.abs(warm).mean())
        return bool(np.mean(inside) >= 0.9)

    return Plant(known(_painted(1.0)), known(_painted(0.0)), found)


def _painted(strength: float) -> Model:
    """A model that tells red from green by the mean over the places, or says nothing."""
    with seeded(0, "evidence"):  # the first weights of a layer are drawn
        look = nn.Conv2d(3, 3, 8, stride=8, bias=False)
    with torch.no_grad():
        look.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) / 64)
    model = build(from_module.build(look, 56), 2)
    with torch.no_grad():
        model.head.weight.copy_(strength * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]))
    return model.eval()
