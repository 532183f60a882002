"""Images beside what was said of them: the true label, the predicted one and its probability."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from headstart.core import Spread
from headstart.errors import UsageError
from headstart.places import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from headstart.train.state import TrainState

RIGHT, WRONG, UNKNOWN = "#2b8a4b", "#c0392b", "#4a5058"


@dataclass(frozen=True)
class Shown:
    """One image with what is known and what was predicted of it; `truth` is None for an image without a label."""

    id: str
    pixels: UInt8[np.ndarray, "height width 3"] | None
    """None where examples are no pictures: then `text` tells what it is."""
    predicted: str
    probability: float | None = None
    """That the prediction is right, where it is one of several answers."""
    truth: str | None = None
    loss: float | None = None
    """Negative log-likelihood of the true label in nats: what "worst" goes by."""
    exact: bool = True
    """Whether a prediction is right or wrong, and not more or less far from the truth."""
    text: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the prediction is right; None where the truth is not known, or nothing is right or wrong."""
        return None if self.truth is None or not self.exact else self.truth == self.predicted


def of_part(state: "TrainState", part: str, count: int, worst: bool = False) -> list[Shown]:
    """`count` images of a part with what the model says of them: spread over the part, or with `worst` the largest losses."""
    examples = state.parts[part]
    outputs = state.outputs(part)
    losses = state.task.loss(outputs.mean, examples.targets).tolist()
    if worst:
        chosen = sorted(range(len(losses)), key=lambda place: losses[place], reverse=True)[:count]
    else:
        chosen = evenly(len(losses), count).tolist()
    said, truths = state.task.predict(outputs, examples.ids), state.task.texts(examples.targets)
    places = [int(examples.indices[place]) for place in chosen]
    texts = examples.store.texts(places)
    pixels = [None] * len(places) if texts else list(examples.store.stored(places))
    for number, (place, seen) in enumerate(zip(chosen, pixels, strict=True)):
        answer = said[place]
        if isinstance(answer, Spread) and seen is not None:
            pixels[number] = answer.painted(seen, examples.targets[place])
    return [
        Shown(
            examples.ids[place],
            seen,
            said[place].text,
            said[place].probability,
            truths[place],
            losses[place],
            state.task.exact,
            text,
        )
        for place, seen, text in zip(chosen, pixels, texts or [""] * len(places), strict=True)
    ]


class Listing(tuple[Shown, ...]):
    """Results in lines, for examples that are no pictures: what was said, what is true, the example."""

    def __repr__(self) -> str:
        rows = [("said", "", "truly", "example")]
        for item in self:
            sure = "" if item.probability is None else percent(item.probability)
            rows.append((_short(item.predicted, 24), sure, _short(item.truth or "?", 24), _short(item.text, 80)))
        widths = [max(len(row[at]) for row in rows) for at in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )


def shown(items: Sequence[Shown]) -> Any:
    """The results as a notebook shows them: a picture, or lines where examples are no pictures."""
    return picture(items) if all(item.pixels is not None for item in items) else Listing(items)


def worst_first(shown: Sequence[Shown]) -> list[Shown]:
    """The same images, the one with the largest loss first; images without a loss come last."""
    return sorted(shown, key=lambda item: float("-inf") if item.loss is None else item.loss, reverse=True)


def figure(shown: Sequence[Shown], columns: int = 5, title: str = "") -> "Figure":
    """A grid of the images; below each stand truth, prediction and probability, framed green when right and red when wrong.

    Raises:
        UsageError: when there is nothing to show.
    """
    from matplotlib.figure import Figure

    if not shown:
        raise UsageError("there are no results to show: no image was given.")
    across = max(1, min(columns, len(shown)))
    down = -(-len(shown) // across)
    drawing = Figure(figsize=(0.2 + 2.0 * across, (0.45 if title else 0.1) + 2.45 * down), layout="constrained")
    for place, item in enumerate(shown):
        _cell(drawing.add_subplot(down, across, place + 1), item)
    if title:
        drawing.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    return drawing


def png(shown: Sequence[Shown], columns: int = 5, title: str = "", dpi: int = 110) -> bytes:
    """The grid as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure(shown, columns, title).savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def picture(shown: Sequence[Shown], columns: int = 5, title: str = "") -> "Image":
    """The grid as a PIL image, which a notebook shows by itself."""
    from PIL import Image

    return Image.open(io.BytesIO(png(shown, columns, title)))


def _cell(axes: "Axes", item: Shown) -> None:
    colour = {True: RIGHT, False: WRONG, None: UNKNOWN}[item.right]
    assert item.pixels is not None, "examples that are no pictures are listed"
    axes.imshow(item.pixels, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(2)
    sure = "" if item.probability is None else f" {percent(item.probability)}"
    said = f"{_short(item.predicted, 18 if sure else 26)}{sure}"
    axes.set_title(said, fontsize=9, color=colour, loc="left", pad=4, parse_math=False)
    below = _short(item.id, 28, keep_end=True)
    if item.truth is not None and not item.right:
        below = f"truly {_short(item.truth, 20)}\n{below}"
    axes.set_xlabel(below, fontsize=7.5, color=UNKNOWN, loc="left", parse_math=False)


def percent(probability: float) -> str:
    """A probability in whole percent that never claims certainty: 0.9996 is `> 99 %`, 0.004 is `< 1 %`."""
    if probability > 0.995:
        return "> 99 %"
    return "< 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"


def _short(text: str, longest: int, keep_end: bool = False) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    if len(text) <= longest:
        return text
    return "…" + text[1 - longest :] if keep_end else text[: longest - 1] + "…"
