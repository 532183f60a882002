"""Whether a model can go by what is no part of the thing, and does: a mark in a corner, a frame, a tint, blur, the size of the file.

Heat maps do not find shortcuts that nobody knows of (Adebayo et al. 2022, "Post hoc explanations may be ineffective for detecting unknown
spurious correlation"), so pictures are measured and changed. A class can be told by a thing alone where one number of it does so (AUROC of
the class against the others, lower bound of the 95 % interval). The model goes by it where its answers change when the thing is taken
away: from that class, or to it. The first is a fault of the data, both together one of the model.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from headstart.core import Finding, Picture, Row, Strip
from headstart.inspections._changes import all_changes
from headstart.inspections._plant import Plant, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import Measured, wilson
from headstart.metrics.outside import auroc
from headstart.places import evenly

QUESTION = "Does it cheat?"
NEEDS = ("classes", "pictures", "says")
MOST, MEASURED, SHOWN = 256, 1000, 3
"""Validation examples that are changed, examples that are measured, suspicions that are shown."""
TELLS = 0.85
"""The least lower bound of the AUROC of one class against the others at which it can be told by a thing alone."""
UNSURE = 0.95
"""The AUROC of a thing from which on it would be a fault, were there enough examples to be sure."""
COSTS = 0.1
"""The least lower bound of the share of answers that change for it."""
FEWEST = 10
"""Examples of a class, below which nothing is said of it."""


def inspect(trace: Trace) -> Finding:
    """What tells a class by itself, and what the answers hang on, the worst first."""
    assert trace.classes is not None and trace.pictures is not None and trace.says is not None, "NEEDS says so"
    judged = trace.judged()
    some, asked = evenly(len(trace.ids), MEASURED), judged[evenly(len(judged), MOST)]
    pixels, shown = trace.pictures(some.tolist()), trace.pictures(asked.tolist())
    items, before = [], None
    for change in all_changes(*shown.shape[1:3]):
        rows = _rows(trace, change.name, change.tell(pixels), trace.classes[some])
        if any(row["tells it"] == "yes" for row in rows):  # no model can go by what tells no class
            before = trace.says(shown).argmax(1) if before is None else before
            then = trace.says(change.take(shown)).argmax(1)
            rows = [row | _hangs(trace, row["class"], asked, before, then) for row in rows]
        items += sorted(rows, key=_worst)[:1]
    for fact, values in (trace.files or {}).items():
        known = np.isfinite(values)
        items += sorted(_rows(trace, fact, values[known, None], trace.classes[known]), key=_worst)[:1]
    items.sort(key=_worst)
    suspects = [item for item in items if item["tells it"] == "yes"]
    bad = any(item.get("answers hang on it") == "yes" for item in suspects)
    return Finding(
        "shortcuts",
        QUESTION,
        _headline(items, suspects, len(some)),
        "bad" if bad else "look" if suspects else "good" if items and items[0]["tells"] < UNSURE else "unknown",
        {f"AUROC of {item['class']} by {item['thing']}": item["interval"] for item in suspects},
        [{key: value for key, value in item.items() if key != "interval"} for item in items],
        _strips(trace, suspects),
        caveats=(
            "A class may rightly have a colour of its own (cardboard is brown): then this is no fault. What is neither a corner, the "
            "border, the colour, fine detail nor a fact of the file is not looked at.",
        ),
        advice="Look at pictures of the class that is named. If the thing came from how they were taken or stored, take it away from all "
        "pictures, or add pictures of the class without it, and train again."
        if suspects
        else "",
    )


def _rows(trace: Trace, thing: str, numbers: Float[np.ndarray, "some numbers"], classes: Int[np.ndarray, " some"]) -> list[Row]:
    """For each class that there is enough of, how well the best of these numbers tells it."""
    rows = []
    for number, name in enumerate(trace.names):
        own = classes == number
        if min(own.sum(), (~own).sum()) < FEWEST:
            continue
        told = max((_told(score, own) for score in numbers.T), key=lambda one: one.low or 0.0)
        tells = "yes" if (told.low or 0.0) >= TELLS else "no"
        rows.append({"thing": thing, "class": name, "tells": told.value, "tells it": tells, "interval": told})
    return rows


def _hangs(
    trace: Trace,
    name: str,
    asked: Int[np.ndarray, " asked"],
    before: Int[np.ndarray, " asked"],
    then: Int[np.ndarray, " asked"],
) -> Row:
    """How many answers of this class are lost when the thing is taken away, how many of others turn to it, and if that is more than a few."""
    assert trace.classes is not None
    number = trace.names.index(name)
    own = trace.classes[asked] == number
    changed = {"lost": _share(own & (before == number), then != number), "won": _share(~own & (before != number), then == number)}
    known = {f"answers {how}": share for how, (share, low) in ((how, found) for how, found in changed.items() if found)}
    sure = any(found and found[1] >= COSTS for found in changed.values())
    return {**known, "answers hang on it": "yes" if sure else "no" if any(changed.values()) else "cannot be told"}


def _worst(row: Row) -> tuple[float, ...]:
    """The order of rows: what tells a class first, then what answers hang on, and of these the class that loses most."""
    hang = row["tells it"] == "yes" and row.get("answers hang on it") == "yes"
    return (-float(hang), -float(row["tells it"] == "yes"), -float(hang) * row.get("answers lost", 0.0), -row["tells"])


def _told(score: Float[np.ndarray, " examples"], own: Bool[np.ndarray, " examples"]) -> Measured:
    """How well a number tells the class from the others, whichever way round."""
    found = auroc(score[~own], score[own])
    return found if found.value >= 0.5 else auroc(-score[~own], -score[own])


def _share(among: Bool[np.ndarray, " examples"], changed: Bool[np.ndarray, " examples"]) -> tuple[float, float] | None:
    """The share of these whose answer changed so, and the lower bound of its interval; None where there are too few."""
    count, hits = int(among.sum()), int((among & changed).sum())
    return None if count < FEWEST else (hits / count, float(wilson(hits, count)[0]))


def _headline(items: list[Row], suspects: list[Row], count: int) -> str:
    if not items:
        return f"It cannot be told: no class has {FEWEST} images beside {FEWEST} of others."
    if not suspects and items[0]["tells"] >= UNSURE:
        thing, told = items[0]["thing"], items[0]["interval"]
        return (
            f"It cannot be told from {count:,} images: {thing} tells {items[0]['class']} with AUROC {told.value:.2f}, but between {told.low:.2f} and "
            f"{told.high:.2f} all is possible."
        )
    if not suspects:
        return f"No sign of it: no corner, border, tint, blur or fact of the files tells a class ({count:,} images)."
    first = suspects[0]
    more = f" And {len(suspects) - 1} more." if len(suspects) > 1 else ""
    hangs = first.get("answers hang on it")
    goes = {
        "yes": "and the model goes by it",
        "no": "but the model's answers do not hang on it",
        "cannot be told": "and from so few validation images it cannot be told whether the model goes by it",
        None: "which is not in the picture",
    }
    thing = first["thing"]
    return f"{thing[0].upper()}{thing[1:]} alone tells {first['class']} (AUROC {first['tells']:.2f}), {goes[hangs]}.{more}"


def _strips(trace: Trace, suspects: list[Row]) -> tuple[Strip, ...]:
    """Of each suspicion pictures of the class, and the same without the thing."""
    assert trace.classes is not None and trace.pictures is not None
    strips = []
    for item in suspects[:SHOWN]:
        places = np.flatnonzero(trace.classes == trace.names.index(item["class"]))[:5].tolist()
        pixels = trace.pictures(places)
        changes = {change.name: change for change in all_changes(*pixels.shape[1:3])}
        shown = [("as they are", pixels)]
        shown += [(f"without {item['thing']}", changes[item["thing"]].take(pixels))] if item["thing"] in changes else []
        for words, pictures in shown:
            named = (Picture(one, "", trace.ids[place]) for one, place in zip(pictures, places, strict=True))
            strips.append(Strip(f"{item['class']}, {words}", tuple(named)))
    return tuple(strips)


def plant(seed: int) -> Plant:
    """A brighter mark in a corner of all pictures of one class, which the model reads; in the clean twin it is the thing in their middle."""
    draw, truth, side = np.random.default_rng(seed), np.arange(120) // 2 % 2, 50
    light, colour = draw.integers(0, 60, (120, 1, 1, 1)), draw.integers(0, 30, (120, 1, 1, 3))
    rough = draw.integers(20, 60, (120, 1, 1, 1))
    pixels = (60 + draw.random((120, side, side, 3)) * rough + light + colour).astype(np.uint8)
    corner, middle = (slice(0, 8), slice(0, 8)), (slice(20, 30), slice(20, 30))

    def made(place: tuple[slice, slice]) -> Trace:
        pictures = pixels.copy()
        pictures[:, place[0], place[1]] = np.where(truth == 1, 230, 180)[:, None, None, None]

        def says(shown: UInt8[np.ndarray, "batch height width 3"]) -> Float[np.ndarray, "batch classes"]:
            bright = shown[:, place[0], place[1]].astype(np.float32).mean((1, 2, 3)) / 255
            return np.stack([np.full(len(shown), 0.8, np.float32), bright], 1)

        return trace(says(pictures), truth, pictures=lambda places: pictures[list(places)], says=says)

    def found(finding: Finding) -> bool:
        named = ("the top left corner", "the border")  # in which the corner is too
        first = finding.items[0]
        return finding.verdict == "bad" and first["class"] == "class 1" and first["thing"] in named

    return Plant(made(corner), made(middle), found)
