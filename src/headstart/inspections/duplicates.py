"""Examples that are there more than once, and those that both train and judge."""

import numpy as np

from headstart.core import Finding, Strip
from headstart.inspections._plant import Plant, logits, trace
from headstart.inspections._trace import Trace
from headstart.metrics.measured import proportion
from headstart.modalities._scan import counted

QUESTION = "Is the validation score honest, and is anything there twice?"
NEEDS = ("audit",)
SHOWN = 8


def inspect(trace: Trace) -> Finding:
    """Groups of exact and of near copies; which validation examples have a copy among those that trained, and the score without them."""
    assert trace.audit is not None, "NEEDS says so"
    exact, near = (_groups(trace, key) for key in ("exact_duplicates", "near_duplicates"))
    conflicts = _groups(trace, "conflicting_labels")
    place = {name: number for number, name in enumerate(trace.ids)}
    judges = {name for name, valid in zip(trace.ids, trace.valid, strict=True) if valid}
    leaking = [group for group in [*near, *exact] if 0 < len(judges & set(group)) < len(group)]
    leaked = sorted({name for group in leaking for name in group if name in judges})
    items = [
        {"copies": ", ".join(group), "leaks": "yes" if group in leaking else "no", "kind": kind}
        for leaks in (True, False)
        for kind, groups in (("exact", exact), ("near", near))
        for group in groups
        if (group in leaking) == leaks and not (kind == "near" and group in exact)
    ]
    numbers = {"leaked": proportion(len(leaked), int(trace.valid.sum()))}
    if trace.classes is not None:
        right = trace.said.argmax(1) == trace.classes
        clean = trace.valid & ~np.isin(np.array(trace.ids), leaked)
        numbers |= {
            "error_rate": proportion(int((trace.valid & ~right).sum()), int(trace.valid.sum())),
            "error_rate without leaks": proportion(int((clean & ~right).sum()), int(clean.sum())),
        }
    told = [
        f"{len(leaked):,} of {int(trace.valid.sum()):,} validation examples have a copy among those that trained"
        if leaked
        else "",
        f"{counted(len(exact), 'group')} of exact copies" if exact else "",
        f"{len(conflicts):,} of them with different labels" if conflicts else "",
        f"{counted(len(near), 'group that shows', 'groups that show')} nearly the same" if near else "",
    ]
    said = ", ".join(part for part in told if part)
    return Finding(
        "duplicates",
        QUESTION,
        f"{said[0].upper()}{said[1:]}." if said else "Nothing is there twice, and no validation example has a copy that trained.",
        "bad" if leaked or conflicts else "look" if exact else "good",
        numbers,
        items,
        _strips(trace, [*leaking, *conflicts, *near, *exact], place),
        caveats=(
            "Near copies are told by small grey pictures: a burst of photographs counts as one, a crop of a half does not.",
        ),
        advice=_advice(bool(leaked), bool(conflicts)),
        fixes=_fixes(trace, exact, conflicts, leaked),
    )


def _fixes(trace: Trace, exact: list[list[str]], conflicts: list[list[str]], leaked: list[str]) -> list[dict[str, str]]:
    """Of copies that agree all but the first are dropped, of those that do not all; validation examples with a copy move to it."""
    dropped = {name: f"a copy of {other[0]} with another label" for group in conflicts for name, other in _beside(group)}
    dropped |= {name: f"a copy of {group[0]}" for group in exact for name in group[1:] if name not in dropped}
    rows = [{"path": name, "action": "drop", "reason": why} for name, why in dropped.items()]
    moved = [name for name in leaked if name not in dropped]
    return [*rows, *({"path": name, "action": "move", "part": "train", "reason": "a copy of it trains"} for name in moved)]


def _beside(group: list[str]) -> list[tuple[str, list[str]]]:
    return [(name, [other for other in group if other != name]) for name in group]


def _groups(trace: Trace, key: str) -> list[list[str]]:
    """Groups of at least two examples that took part, also of those that are not looked at."""
    known = {*trace.ids, *trace.trained}
    found = ([name for name in group if name in known] for group in (trace.audit or {}).get(key, ()))
    return [group for group in found if len(group) > 1]


def _advice(leaked: bool, conflicts: bool) -> str:
    if leaked:
        return "Keep copies in one part: a random split (without folders train/ and valid/) does so by itself. Judge by the error without leaks."
    return (
        "Of copies with different labels at most one is right: drop or relabel the others in a label file." if conflicts else ""
    )


def _strips(trace: Trace, groups: list[list[str]], place: dict[str, int]) -> list[Strip]:
    strips = []
    for group in list(dict.fromkeys(map(tuple, groups)))[:SHOWN]:
        places = [place[name] for name in group if name in place][:4]
        words = trace.task.texts(trace.targets[places])
        parts = ("validation" if trace.valid[number] else "training" for number in places)
        strips += trace.strip("Copies", places, [f"{word}, {part}" for word, part in zip(words, parts, strict=True)])
    return strips


def plant(seed: int) -> Plant:
    """One validation example has a copy that trained, and two have a copy in their own part."""
    truth = np.arange(40) % 2
    said = logits(truth, 2, seed)
    copies = [["0.jpg", "1.jpg"], ["2.jpg", "4.jpg"]]
    return Plant(
        trace(said, truth, audit={"near_duplicates": copies, "exact_duplicates": []}),
        trace(said, truth, audit={"near_duplicates": [], "exact_duplicates": []}),
        lambda found: found.items[0]["copies"] == "0.jpg, 1.jpg" and found.numbers["leaked"].value == 1 / 20,
    )
