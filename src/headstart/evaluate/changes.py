"""Which classes a model got better or worse at, from what it and another said of the same images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

RISK = 0.05
FEWEST = 6
"""Images that must differ before any difference can be told from chance: with five, all of one kind, p is .06."""

Verdict = Literal["worse", "better", "no difference", "too few to tell"]


@dataclass(frozen=True, slots=True)
class Change:
    """How one class fared: errors before and after on the same `n` images, and the chance of such a difference without cause.

    `lost` images were right before and are wrong now, `gained` ones the reverse.
    """

    name: str
    n: int
    before: float
    after: float
    lost: int
    gained: int
    p: float
    verdict: Verdict = "no difference"

    def json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def compared(
    names: Sequence[str], wrong_before: Bool[np.ndarray, " batch"], wrong_after: Bool[np.ndarray, " batch"]
) -> list[Change]:
    """One `Change` for each class that the images (`names` are their true classes) have, the worst first, then for all of them.

    A class is called better or worse when McNemar's exact test (1947) says so at a risk of 5 % over all classes (Holm 1979).
    """
    labels = np.asarray(names)
    changes = [_change(str(name), wrong_before[labels == name], wrong_after[labels == name]) for name in sorted(set(names))]
    changes = _judged(changes)
    changes.sort(key=lambda change: change.before - change.after)
    return changes + (_judged([_change("all", wrong_before, wrong_after)]) if len(names) else [])


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p: the chance that a fair coin, thrown for each image that differs, falls as unevenly as this."""
    n = lost + gained
    tail = sum(comb(n, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / 2**n)


def _change(name: str, before: Bool[np.ndarray, " batch"], after: Bool[np.ndarray, " batch"]) -> Change:
    lost, gained = int((after & ~before).sum()), int((before & ~after).sum())
    return Change(name, len(before), float(before.mean()), float(after.mean()), lost, gained, mcnemar(lost, gained))


def _judged(changes: Sequence[Change]) -> list[Change]:
    """With verdicts: the smallest p must be below the risk over the number of classes, the next over one less, and so on."""
    verdicts: dict[str, Verdict] = {}
    beyond = True
    for rank, change in enumerate(sorted(changes, key=lambda change: change.p)):
        beyond = beyond and change.p * (len(changes) - rank) < RISK
        if beyond:
            verdicts[change.name] = "worse" if change.lost > change.gained else "better"
        elif 0 < change.lost + change.gained < FEWEST:
            verdicts[change.name] = "too few to tell"
    return [Change(**{**asdict(change), "verdict": verdicts.get(change.name, "no difference")}) for change in changes]


def in_words(changes: Sequence[Change], shown: int = 8) -> list[str]:
    """A sentence on what got worse and better, and one with the errors of each class; none where nothing was compared."""
    if not changes:
        return []
    *each, every = changes
    lines = []
    for verdict in ("worse", "better"):
        named = [change for change in each if change.verdict == verdict]
        if named:
            lines.append(f"Got {verdict}: {'; '.join(map(_figures, named[:shown]))}{'; ...' if len(named) > shown else ''}.")
    if not lines:
        few = any(change.verdict == "too few to tell" for change in changes)
        why = " (too few of them differ to tell more)" if few else ""
        lines.append(f"On the classes it knew, the model is neither better nor worse than before beyond chance{why}.")
    several = "; ".join(map(_figures, each[:shown])) + ("; ..." if len(each) > shown else "")
    lines.append(f"Errors of the model before -> now: {several}. All together: {_figures(every, False)}.")
    return lines


def _figures(change: Change, named: bool = True) -> str:
    name = f"{change.name} " if named else ""
    return (
        f"{name}{change.before:.1%} -> {change.after:.1%} (n = {change.n:,}, {change.lost} lost, {change.gained} gained, "
        f"p = {change.p:.2g})"
    )
