"""What training changed: how far each layer moved, and what its channels looked at before and look at now.

Fine-tuning keeps the number of a channel, so before and after need no matching. A layer as a whole is compared by debiased CKA
(Kornblith et al. 2019, "Similarity of neural network representations revisited", with the unbiased HSIC of Song et al. 2012, eq. 4), of
the mean of each channel over an example. A channel took up a class where it tells the classes apart better than it did: by the share
of the variance of its maxima that lies between classes (eta squared), corrected for chance. What it looks at is shown by the places
where it is strongest, in the user's own examples (Zeiler and Fergus 2014).
"""

from collections import Counter
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from headstart.core import Check, Finding, Picture, Strip
from headstart.inspections._plant import Plant, layer, logits, trace
from headstart.inspections._trace import Layer, Look, Trace, missing
from headstart.modalities._scan import counted
from headstart.places import evenly
from headstart.seeds import numpy_generator

QUESTION = "What do the layers look at, before and after?"
NEEDS = ("classes", "layers", "before")
WANTS = ("not_kept",)
"""What is told too, where there is such."""
CHANNELS = 6
"""Shown of each layer that is shown."""
SHOWN = 3
"""Layers that are shown, those that took up most."""
TOP = 9
"""Examples that tell what a channel looks at."""
MOST = 1000
"""Examples by which layers are compared."""
SAME = 1e-6
FEWEST = 10
"""Examples below which similarity is no number, or chance."""


def inspect(trace: Trace) -> Finding:
    """Of each layer its debiased CKA, how far its weights moved, how many channels have new favourites; the channels that took up most."""
    assert trace.before is not None and trace.classes is not None, "NEEDS says so"
    if len(trace.ids) < FEWEST:
        return missing("drift", QUESTION, f"{counted(len(trace.ids), 'example')} tell nothing of a layer; at least {FEWEST} do.")
    if trace.before is not trace.after:
        return _compared(trace, "")
    if trace.not_kept is not None:
        thrown = trace.not_kept
        words = f"The layers of the model that is kept have not changed: the head alone was better. {thrown.words.capitalize()}, which is not kept: "
        return _compared(replace(trace, after=thrown.look, weights=thrown.weights), words)
    epochs, unfinished = (
        sum(row["stage"] != "head" for row in trace.rows),
        "" if trace.finished else " This training has not come to its end.",
    )
    if epochs or unfinished:
        made = (
            f" What {counted(epochs, 'epoch')} of training made of them is not kept: its weights are not at hand any more."
            if epochs
            else ""
        )
        return Finding(
            "drift",
            QUESTION,
            f"The layers of the model that is kept have not changed.{made}{unfinished}",
            "good" if trace.finished else "unknown",
        )
    return Finding(
        "drift",
        QUESTION,
        "No layer has changed: only the head learned, so every layer looks at what it looked at before.",
        "good",
        advice="Train all layers to change that: headstart more RUN --epochs 3.",
    )


def _compared(trace: Trace, words: str) -> Finding:
    """The layers of before beside those of after."""
    assert trace.before is not None and trace.classes is not None, "asked before"
    pairs = list(zip(trace.before.layers, trace.after.layers, strict=True))
    gains = [eta_squared(after.highest, trace.classes) - eta_squared(before.highest, trace.classes) for before, after in pairs]
    items = [
        {"layer": f"layer {number} of {len(pairs)}{after.name and f' ({after.name})'}", **_row(trace, before, after, gain)}
        for number, ((before, after), gain) in enumerate(zip(pairs, gains, strict=True), start=1)
    ]
    order = sorted(range(len(pairs)), key=lambda place: -float(np.sort(gains[place])[-CHANNELS:].mean()))
    strips = [
        strip for place in sorted(order[:SHOWN]) for strip in _strips(trace, *pairs[place], gains[place], items[place]["layer"])
    ]
    moved = min(items, key=lambda item: item["similarity"])
    best = items[order[0]]
    return Finding(
        "drift",
        QUESTION,
        f"{words or 'Of all layers '}{moved['layer']} changed most: similarity to before {moved['similarity']:.2f}, where 1 is unchanged. "
        f"Your classes are told most by channel {best['channel']} of {best['layer']}, strongest on {best['now']}, before on {best['before']}.",
        "good",
        {},
        items,
        strips,
        _checks(trace, items),
        (
            "Similarity is debiased CKA of the channels' means; outliers can move it without a change of what is computed.",
            "A channel is shown where it is strongest. What else it does is not seen there.",
        ),
    )


def debiased_cka(one: Float[np.ndarray, "examples first"], other: Float[np.ndarray, "examples second"]) -> float:
    """Similarity of two sets of features of the same examples, at most 1; about 0 for independent ones, however few examples there are."""
    first, second = (_without_diagonal(rows) for rows in (one, other))
    scale = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / np.sqrt(scale)) if scale > 0 else float("nan")


def _without_diagonal(rows: Float[np.ndarray, "examples features"]) -> Float[np.ndarray, "examples examples"]:
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    products = centred @ centred.T
    np.fill_diagonal(products, 0.0)
    return products


def _hsic(one: Float[np.ndarray, "examples examples"], other: Float[np.ndarray, "examples examples"]) -> float:
    """The unbiased estimate, of products whose diagonal is zero."""
    n = len(one)
    sums = one.sum(0) @ other.sum(0)
    found = (one * other).sum() + one.sum() * other.sum() / ((n - 1) * (n - 2)) - 2.0 * sums / (n - 2)
    return float(found / (n * (n - 3)))


def eta_squared(
    values: Float[np.ndarray, "examples channels"], classes: Int[np.ndarray, " examples"]
) -> Float[np.ndarray, " channels"]:
    """The share of each channel's variance that lies between classes, less what chance would give; at most 1."""
    values = values.astype(np.float64)
    there, number = np.unique(classes, return_inverse=True)
    sizes, order = np.bincount(number), np.argsort(number, kind="stable")
    means = np.add.reduceat(values[order], np.cumsum(sizes) - sizes) / sizes[:, None]
    whole = ((values - values.mean(0)) ** 2).sum(0)
    between = (sizes[:, None] * (means - values.mean(0)) ** 2).sum(0)
    chance, left = (len(there) - 1), max(1, len(values) - len(there))
    found = between - chance * (whole - between) / left  # epsilon squared (Kelley 1935)
    return np.where(whole > SAME * len(values), found / np.maximum(whole, 1e-12), 0.0)


def top(values: Float[np.ndarray, " examples"], count: int = TOP) -> Int[np.ndarray, " count"]:
    """The examples on which a channel is strongest, the strongest first."""
    return np.argsort(-values, kind="stable")[:count]


def _row(trace: Trace, before: Layer, after: Layer, gain: Float[np.ndarray, " channels"]) -> dict:
    some = evenly(len(trace.ids), MOST)
    favourites = [
        len(set(top(one)) & set(top(two))) / len(set(top(one)) | set(top(two)))
        for one, two in zip(before.highest.T, after.highest.T, strict=True)
    ]
    best = int(gain.argmax())
    return {
        "similarity": debiased_cka(before.means[some], after.means[some]),
        "weights moved": float((trace.weights or {}).get(after.name, float("nan"))),
        "favourites kept": float(np.mean(favourites)),
        "channel": best,
        "gain": float(gain[best]),
        "before": _served(trace, before.highest[:, best]),
        "now": _served(trace, after.highest[:, best]),
        "first channels": ", ".join(str(channel) for channel in _most(gain)),
    }


def _most(gain: Float[np.ndarray, " channels"]) -> list[int]:
    """The channels that gained most, the first one first."""
    return np.argsort(-gain, kind="stable")[:CHANNELS].tolist()


def _served(trace: Trace, values: Float[np.ndarray, " examples"]) -> str:
    """The classes of the examples on which a channel is strongest, the most frequent first."""
    assert trace.classes is not None
    favourites = top(values)
    counts = Counter(trace.names[number] for number in trace.classes[favourites].tolist())
    return ", ".join(f"{name} {count} of {len(favourites)}" for name, count in counts.most_common(2))


def _strips(trace: Trace, before: Layer, after: Layer, gain: Float[np.ndarray, " channels"], name: str) -> list[Strip]:
    """Of the channels that gained most, what they were strongest on before and are now."""
    if trace.pictures is None:
        return []
    strips = []
    for channel in _most(gain):
        spoken = _spoken(trace, after, channel)
        for when, layer_then in (("before", before), ("now", after)):
            favourites = top(layer_then.highest[:, channel])
            pictures = trace.pictures(favourites.tolist())
            cut = [
                around(pixels, int(layer_then.places[place, channel]), layer_then.side)
                for pixels, place in zip(pictures, favourites, strict=True)
            ]
            names = trace.task.texts(trace.targets[favourites])
            shown = zip(cut, names, favourites, strict=True)
            strips.append(
                Strip(
                    f"{name}, channel {channel}, {when}: {_served(trace, layer_then.highest[:, channel])}{spoken.get(when, '')}",
                    tuple(Picture(pixels, word, trace.ids[place]) for pixels, word, place in shown),
                )
            )
    return strips


def _spoken(trace: Trace, layer: Layer, channel: int) -> dict[str, str]:
    """Which classes a channel speaks for whose mean is a feature: of the network as it was published, and of the user's own now."""
    head = None if trace.model is None else trace.model.head.final
    if trace.taught is None or head is None or layer is not trace.after.layers[-1]:
        return {}
    if not layer.means.shape[1] == head.weight.shape[1] == trace.taught.weights.shape[1]:
        return {}
    own = trace.names[int(head.weight[:, channel].argmax())]
    return {"before": f"; it spoke for {', '.join(trace.taught.most(channel))}", "now": f"; it speaks for {own}"}


def around(
    pixels: UInt8[np.ndarray, "height width 3"], place: int, side: tuple[int, int], cells: int = 3, least: int = 48
) -> UInt8[np.ndarray, "cut cut 3"]:
    """The part of a picture around a place of a map of so many rows and columns: three of its cells wide, and at least 48 pixels."""
    height, width = pixels.shape[:2]
    row, column = divmod(place, side[1])
    size = int(min(height, width, max(least, cells * height / side[0])))
    down = int(np.clip((row + 0.5) * height / side[0] - size / 2, 0, height - size))
    right = int(np.clip((column + 0.5) * width / side[1] - size / 2, 0, width - size))
    return pixels[down : down + size, right : right + size]


def _checks(trace: Trace, items: list[dict]) -> tuple[Check, ...]:
    """A layer whose weights did not move, with all before it, must be the same."""
    first = next((number for number, item in enumerate(items) if item["weights moved"] != 0.0), len(items))
    still = [item for item in items[:first] if item["weights moved"] == 0.0]
    if not still:
        return ()
    off = max(abs(1.0 - item["similarity"]) for item in still)
    return (
        Check(
            "layers that did not train have not changed",
            off < SAME,
            f"{len(still)} layers with the weights of before, similarity 1 to within {off:.1g}",
        ),
    )


def plant(seed: int) -> Plant:
    """One channel of thirty begins to look for one class of four; in the clean twin the channels do what they did."""
    truth = np.arange(240) % 4
    draw = numpy_generator(seed, "plant", "drift")
    first, last = draw.standard_normal((240, 12)), draw.standard_normal((240, 30))
    said = logits(truth, 4, seed)
    before = Look(said, (layer("early", first), layer("late", last)), None)
    turned = last.copy()
    turned[:, 7] += 4.0 * (truth == 2)
    after = replace(before, outputs=said.astype(np.float32), layers=(layer("early", first), layer("late", turned)))
    same = replace(before, outputs=said.astype(np.float32))
    weights = {"early": 0.0, "late": 0.1}
    return Plant(
        trace(said, truth, after=after, before=before, weights=weights),
        trace(said, truth, after=same, before=before, weights={"early": 0.0, "late": 0.0}),
        lambda found: any(item["channel"] == 7 and "class 2 9 of 9" in item["now"] for item in found.items),
    )
