"""What the answer hangs on: a part of the image is blurred away, and the model asked again.

It holds for any network, however it is made, and judges the maps of `evidence` (Zeiler and Fergus 2014, section 4.2). The window is three
sevenths of a side wide, at 49 places.
"""

from collections.abc import Sequence

import numpy as np
import torch

from headstart.core import Finding, Picture, Row, Strip
from headstart.inspections._plant import Plant, squares, warmth
from headstart.inspections._shown import PARTS, Shown, blur, laid_over, windows
from headstart.inspections._trace import Trace
from headstart.modalities._scan import counted

QUESTION = "What if a part of the image is hidden?"
NEEDS = ("pictures", "answers", "model")
WHERE = (("top left", "top", "top right"), ("left", "middle", "right"), ("bottom left", "bottom", "bottom right"))


def inspect(trace: Trace) -> Finding:
    """For some images what hiding each part takes away, and what the model says without the part that it misses most."""
    return look(trace, trace.chosen)


def look(trace: Trace, shown: Sequence[Shown]) -> Finding:
    """The same of these pictures."""
    items = [_item(one) for one in shown]
    return Finding(
        "occlusion",
        QUESTION,
        _headline(trace, items),
        "good",
        {},
        items,
        [_strip(one, item) for one, item in zip(shown, items, strict=True)],
        caveats=(
            "Hiding an orange place weakens the answer, hiding a blue one makes it stronger. What is hidden is blurred, not gone, and a "
            "picture with a blurred part is nothing that the model has learned from.",
        ),
    )


def _worst(one: Shown) -> tuple[int, int]:
    row, column = divmod(int(one.falls.argmax()), PARTS)
    return row, column


def _headline(trace: Trace, items: list[Row]) -> str:
    if not trace.task.exact:
        most = max(items, key=lambda item: item["falls by"])
        where, said, then = (most[key] for key in ("hangs on", "said", "then says"))
        return f"No part of an image counts for more than the {where} of {most['id']}: without it the model says {then} and not {said}."
    turned = sum(item["then says"] != item["said"] for item in items)
    return f"In {turned:,} of {counted(len(items), 'image')} the answer becomes another one when a single part is hidden."


def _item(one: Shown) -> Row:
    row, column = _worst(one)
    told = [one.told(each) for each in one.without.reshape(PARTS * PARTS, -1)]
    return {
        "id": one.id,
        "said": one.text,
        "hangs on": WHERE[row * 3 // PARTS][column * 3 // PARTS],
        "falls by": float(one.falls[row, column]),
        "then says": told[row * PARTS + column],
        "places that change the answer": sum(each != one.text for each in told),
    }


def _strip(one: Shown, item: Row) -> Strip:
    row, column = _worst(one)
    height, width = one.pixels.shape[:2]
    pixels = torch.from_numpy(one.pixels).permute(2, 0, 1)[None].float()
    part = (slice(None), slice(None), windows(height)[row], windows(width)[column])
    pixels[part] = blur(pixels)[part]
    without = pixels[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return one.beside(
        Picture(laid_over(one.pixels, one.falls), "what hiding takes away", one.id),
        Picture(without, f"without the part that counts most: {item['then says']}", one.id),
    )


def plant(seed: int) -> Plant:
    """A red square somewhere makes an image one class, a green one the other; the clean twin's model looks at nothing."""
    planted = squares(seed)

    def found(finding: Finding) -> bool:
        hits = []
        for strip in finding.strips:
            warm = warmth(strip)
            row, column = np.unravel_index(warm.argmax(), warm.shape)
            hits.append(planted.inside(str(strip.pictures[0].example), int(row), int(column), 8))
        return bool(np.mean(hits) >= 0.9)

    return Plant(planted.faulty, planted.clean, found)
