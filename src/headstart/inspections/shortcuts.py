"""Whether a model goes by what is no part of the thing: a mark in a corner, a frame, a tint, blur, the size of the file.

Heat maps do not find shortcuts that nobody knows of (Adebayo et al. 2022, "Post hoc explanations may be ineffective for detecting unknown
spurious correlation"), so pictures are changed and the model is asked again. A suspicion takes two things: that one class can be told by
the thing alone (AUROC of one number of it, or of what the model says of pictures that show nothing else, lower bound of the 95 %
interval), and that the model's answers change when it is taken away, from that class or to it. Of what is in the file and not in the
picture (size, shape, bytes for each pixel) the first alone is told.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from headstart.core import Finding, Picture, Row, Strip
from headstart.inspections._changes import Change, all_changes
from headstart.inspections._plant import Plant, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import Measured, wilson
from headstart.metrics.outside import auroc
from headstart.places import evenly

QUESTION = "Does it cheat?"
NEEDS = ("classes", "pictures", "says")
MOST = 256
"""Validation examples that are changed."""
TELLS = 0.85
"""The least lower bound of the AUROC of one class against the others at which it can be told by a thing alone."""
COSTS = 0.1
"""The least lower bound of the share of answers that change for it."""
FEWEST = 10
"""Examples of a class, below which nothing is said of it."""


def inspect(trace: Trace) -> Finding:
    """What tells a class by itself and what the answers hang on, the worst first."""
    assert trace.classes is not None and trace.pictures is not None and trace.says is not None, "NEEDS says so"
    judged = trace.judged()
    chosen = judged[evenly(len(judged), MOST)]
    pixels, truth = trace.pictures(chosen.tolist()), trace.classes[chosen]
    said = trace.says(pixels).argmax(1)
    items = []
    for change in all_changes(*pixels.shape[1:3]):
        items += _of_change(trace, change, chosen, pixels, truth, said)
    items += _of_files(trace)
    items.sort(key=_worst)
    suspects = [item for item in items if item["suspicious"]]
    return Finding(
        "shortcuts",
        QUESTION,
        _headline(suspects, len(chosen)),
        "bad" if suspects else "good" if len(chosen) >= 2 * FEWEST else "unknown",
        {
            f"{item['thing']} tells {item['class']}": item.pop("interval")
            for item in items
            if "interval" in item and item["suspicious"]
        },
        [{key: value for key, value in item.items() if key != "interval"} for item in items],
        _strips(trace, suspects, chosen, pixels, truth),
        caveats=(
            "A class may rightly have a colour of its own (cardboard is brown): then this is no fault. What is neither a corner, the "
            "border, the colour, fine detail nor a fact of the file is not looked at.",
        ),
        advice="Look at pictures of the class that is named. If the thing came from how they were taken or stored, take it away from all "
        "pictures, or add pictures of the class without it, and train again."
        if suspects
        else "",
    )


def _of_change(
    trace: Trace,
    change: Change,
    chosen: Int[np.ndarray, " chosen"],
    pixels: UInt8[np.ndarray, "chosen height width 3"],
    truth: Int[np.ndarray, " chosen"],
    said: Int[np.ndarray, " chosen"],
) -> list[Row]:
    """A row for the class that is told best by this thing among those whose answers hang on it, or else best of all."""
    assert trace.says is not None
    then = trace.says(change.take(pixels)).argmax(1)
    numbers = np.empty((len(chosen), 0)) if change.tell is None else change.tell(pixels)
    alone = None if change.keep is None else trace.says(change.keep(pixels)).astype(np.float64)
    rows = []
    for number, name in enumerate(trace.names):
        own = truth == number
        if min(own.sum(), (~own).sum()) < FEWEST:
            continue
        scores = [*numbers.T, *([] if alone is None else [alone[:, number] - np.delete(alone, number, 1).max(1)])]
        told = max((_told(score, own) for score in scores), key=lambda one: one.low or 0.0)
        lost, pulled = _share(own & (said == number), then != number), _share(~own & (said != number), then == number)
        rows.append(
            {
                "thing": change.name,
                "class": name,
                "tells": told.value,
                "answers lost": lost[0],
                "answers won": pulled[0],
                "suspicious": bool((told.low or 0.0) >= TELLS and max(lost[1], pulled[1]) >= COSTS),
                "interval": told,
            }
        )
    return sorted(rows, key=_worst)[:1]


def _worst(row: Row) -> tuple[float, ...]:
    """The order of rows: suspicions first, and of these the class that loses most answers, which is the one that has the thing."""
    return (-float(row["suspicious"]), -row.get("answers lost", 0.0), -row["tells"])


def _told(score: Float[np.ndarray, " examples"], own: Bool[np.ndarray, " examples"]) -> Measured:
    """How well a number tells the class from the others, whichever way round."""
    found = auroc(score[~own], score[own])
    return found if found.value >= 0.5 else auroc(-score[~own], -score[own])


def _share(among: Bool[np.ndarray, " examples"], changed: Bool[np.ndarray, " examples"]) -> tuple[float, float]:
    """The share of these whose answer changed so, and the lower bound of its interval; 0 where there are few."""
    count, hits = int(among.sum()), int((among & changed).sum())
    return (0.0, 0.0) if count < FEWEST else (hits / count, float(wilson(hits, count)[0]))


def _of_files(trace: Trace) -> list[Row]:
    """A row for each fact of the files that tells a class."""
    assert trace.classes is not None
    rows = []
    for fact, values in (trace.files or {}).items():
        known = np.isfinite(values)
        found = []
        for number, name in enumerate(trace.names):
            own = (trace.classes == number)[known]
            if min(own.sum(), (~own).sum()) >= FEWEST:
                told = _told(values[known], own)
                found.append(
                    {
                        "thing": fact,
                        "class": name,
                        "tells": told.value,
                        "suspicious": bool((told.low or 0.0) >= TELLS),
                        "interval": told,
                    }
                )
        rows += sorted(found, key=lambda row: -row["tells"])[:1]
    return rows


def _headline(suspects: list[Row], count: int) -> str:
    if not suspects:
        return f"No sign of it: no corner, border, tint, blur or fact of the files tells a class that answers hang on ({count:,} images)."
    first = suspects[0]
    more = f", and {len(suspects) - 1} more" if len(suspects) > 1 else ""
    hangs = "" if "answers lost" not in first else ", and answers change when it is taken away"
    return (
        f"{first['thing'][0].upper()}{first['thing'][1:]} alone tells {first['class']} (AUROC {first['tells']:.2f}){hangs}{more}."
    )


def _strips(
    trace: Trace,
    suspects: list[Row],
    chosen: Int[np.ndarray, " chosen"],
    pixels: UInt8[np.ndarray, "chosen height width 3"],
    truth: Int[np.ndarray, " chosen"],
) -> tuple[Strip, ...]:
    """Of each suspicion pictures of the class, and the same without the thing."""
    changes = {change.name: change for change in all_changes(*pixels.shape[1:3])}
    strips = []
    for item in suspects:
        places = np.flatnonzero(truth == trace.names.index(item["class"]))[:5]
        shown = [("as they are", pixels[places])]
        shown += [(f"without {item['thing']}", changes[item["thing"]].take(pixels[places]))] if item["thing"] in changes else []
        for words, pictures in shown:
            strips.append(
                Strip(
                    f"{item['class']}, {words}",
                    tuple(Picture(one, "", trace.ids[chosen[place]]) for one, place in zip(pictures, places, strict=True)),
                )
            )
    return tuple(strips)


def plant(seed: int) -> Plant:
    """A bright mark in a corner of all pictures of one class, which the model reads; in the clean twin it reads their middle."""
    draw, truth, side = np.random.default_rng(seed), np.arange(120) // 2 % 2, 50
    pixels = draw.integers(60, 120, (120, side, side, 3)).astype(np.uint8)
    corner, middle = (slice(0, 8), slice(0, 8)), (slice(20, 30), slice(20, 30))

    def made(place: tuple[slice, slice]) -> Trace:
        pictures = pixels.copy()
        pictures[np.flatnonzero(truth == 1)[:, None, None], np.arange(side)[place[0]][:, None], np.arange(side)[place[1]]] = 250

        def says(shown: UInt8[np.ndarray, "batch height width 3"]) -> Float[np.ndarray, "batch classes"]:
            bright = shown[:, place[0], place[1]].astype(np.float32).mean((1, 2, 3)) / 255
            return np.stack([np.full(len(shown), 0.6, np.float32), bright], 1)

        return trace(says(pictures), truth, pictures=lambda places: pictures[list(places)], says=says)

    return Plant(
        made(corner),
        made(middle),
        lambda found: (
            found.items[0]["thing"] == "the top left corner" and found.items[0]["class"] == "class 1" and found.verdict == "bad"
        ),
    )
