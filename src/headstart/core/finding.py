"""What an inspection found: said so that it can be read, judged and acted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import UInt8

from headstart.core.words import Row

Verdict = Literal["good", "look", "bad", "unknown"]
"""good: nothing to do; look: worth a look; bad: do something; unknown: it cannot be told, and the headline says why."""
Tone = Literal["good", "new", "bad", "quiet", "step"]
"""How a part of a bar looks: as good, new, bad, of no matter, or as one step of several."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows."""

    pixels: UInt8[Any, "height width 3"]
    caption: str
    example: str | None = None
    """The id of the example that it shows, if it shows one."""
    struck: str | None = None
    """Why it must not be believed: the check that it failed."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures that belong together, side by side, below a title."""

    title: str
    pictures: tuple[Picture, ...]
    example: str | None = None
    """The id of the example that all of it is about, if it is about one."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Lines of amounts of the same things, drawn as bars below each other, all to one scale."""

    title: str
    parts: Sequence[tuple[str, Tone]]
    """What the amounts are of, by name, in order."""
    lines: Sequence[tuple[str, Sequence[float | int]]]
    """The name of each bar, and the amount of each part in it."""

    @property
    def longest(self) -> float:
        """The length of the longest bar."""
        return float(max((sum(amounts) for _, amounts in self.lines), default=0)) or 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """A test that a finding made of itself, on this model and these examples."""

    name: str
    passed: bool
    told: str
    """What was measured, with its number."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of an inspection to its question."""

    name: str
    """The file in `inspections/` that made it."""
    question: str
    headline: str
    """The answer in a sentence or two, with its number."""
    verdict: Verdict
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """`metrics.Measured` by name."""
    items: Sequence[Row] = ()
    """What was found one by one, as rows of one table, the most important first."""
    strips: Sequence[Strip] = ()
    checks: Sequence[Check] = ()
    caveats: Sequence[str] = ()
    advice: str = ""
    """What to do about it."""
    fixes: Sequence[Mapping[str, str]] = ()
    """Rows of a label file (path,label,action,part,reason) that would mend what was found."""
    bars: Sequence[Bars] = ()

    def json(self) -> dict[str, Any]:
        """All of it but the pictures, as plain JSON; of a picture its caption, its example, and why it is struck through."""
        return {
            "name": self.name,
            "question": self.question,
            "headline": self.headline,
            "verdict": self.verdict,
            "numbers": {name: one.json() for name, one in self.numbers.items()},
            "items": [dict(item) for item in self.items],
            "strips": [
                {
                    "title": strip.title,
                    "example": strip.example,
                    "pictures": [
                        {"caption": one.caption, "example": one.example, "struck": one.struck} for one in strip.pictures
                    ],
                }
                for strip in self.strips
            ],
            "checks": [{"name": check.name, "passed": check.passed, "told": check.told} for check in self.checks],
            "caveats": list(self.caveats),
            "advice": self.advice,
            "fixes": [dict(row) for row in self.fixes],
            "bars": [
                {
                    "title": each.title,
                    "parts": [name for name, _ in each.parts],
                    "lines": [{"name": name, "amounts": list(amounts)} for name, amounts in each.lines],
                }
                for each in self.bars
            ],
        }
