"""The report of a run: what inspections found, as one page that needs nothing beside it, as JSON, and in lines."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from headstart.core import Finding, Row, Strip
from headstart.data.fixes import COLUMNS
from headstart.errors import BadSetting, unknown_name
from headstart.store import atomic
from headstart.train.observers.rows import number

VERDICTS = {
    "bad": "do something",
    "look": "worth a look",
    "good": "nothing to do",
    "unknown": "cannot be told",
}
"""In words, the gravest first."""
SIDE, QUALITY = 128, 80
"""Of the pictures on the page: the longer side in pixels at most, and how closely JPEG keeps them."""
LONGEST = 120
"""Letters of a cell."""
LISTED = 12
"""Rows of a table that are shown; the others are in the JSON file."""


@dataclass(frozen=True)
class Report:
    """What was asked of a model, and the answers. `save("report.html")` writes the page; a notebook shows it."""

    title: str
    facts: Mapping[str, str]
    """What the model is, in words by name: the head of the page."""
    findings: tuple[Finding, ...]
    page: Path | None = field(default=None, repr=False)
    """Where it lies in the run folder."""

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name.

        Raises:
            UnknownName: with the nearest of those that were asked for.
        """
        found = self.answers()
        if name not in found:
            raise unknown_name("finding", name, found)
        return found[name]

    def first(self) -> list[Finding]:
        """What to look at first: the findings that ask for something, the gravest first."""
        order = list(VERDICTS)
        asking = [found for found in self.findings if found.verdict in ("bad", "look")]
        return sorted(asking, key=lambda found: order.index(found.verdict))

    def answers(self) -> dict[str, Finding]:
        """The findings by name."""
        return {found.name: found for found in self.findings}

    def anchors(self, prefix: str = "") -> dict[str, str]:
        """The name of the section of each example that is looked into by itself, by its id."""
        examples = dict.fromkeys(strip.example for found in self.findings for strip in found.strips if strip.example is not None)
        return {example: f"{prefix}image-{number}" for number, example in enumerate(examples, start=1)}

    def about(self, example: str) -> list[tuple[Finding, Strip]]:
        """What the findings show of one example."""
        return [(found, strip) for found in self.findings for strip in found.strips if strip.example == example]

    def html(self, beside: "Report | None" = None) -> str:
        """The page: one file without links to others; each answer next to that of another report, if one is given."""
        return _template().render(report=self, beside=beside, verdicts=VERDICTS, listed=LISTED, columns=columns)

    def json(self) -> dict[str, Any]:
        """All findings as plain JSON."""
        return {"title": self.title, "facts": dict(self.facts), "findings": [found.json() for found in self.findings]}

    def save(self, file: str | Path, beside: "Report | None" = None) -> Path:
        """The page, written there."""
        atomic.write_text(Path(file), self.html(beside))
        return Path(file)

    @property
    def mends(self) -> list[Mapping[str, str]]:
        """The rows of `fixes`."""
        return chosen([row for found in self.findings for row in found.fixes])

    def fixes(self, file: str | Path) -> Path:
        """A label file with what would mend what was found, for `train --labels`; strike out what you know better.

        Where there is nothing to mend it holds a header alone.

        Raises:
            BadSetting: where the file is there already.
        """
        target, written = require_new(Path(file)), io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.mends:
            writer.writerow([row.get(name, "") for name in COLUMNS])
        atomic.write_text(target, written.getvalue())
        return target

    def keep(self, page: Path) -> Path:
        """The page, written there, with a JSON file for each finding in findings/ beside it."""
        for found in self.findings:
            atomic.write_json(page.parent / "findings" / f"{found.name}.json", found.json())
        return self.save(page)

    def __repr__(self) -> str:
        width = max((len(found.question) for found in self.findings), default=0)
        lines = [self.title, *(f"{found.question:<{width}}  {found.headline}" for found in self.findings)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{_escaped(self.html())}" style="width:100%;height:40rem;border:0"></iframe>'


def chosen(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The rows that can stand together: an example that is dropped needs nothing else; the first of several alike holds."""
    dropped = {row["path"] for row in rows if row["action"] == "drop"}
    kept: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in rows:
        if row["action"] == "drop" or row["path"] not in dropped:
            kept.setdefault((row["path"], row["action"]), row)
    return list(kept.values())


def require_new(file: Path) -> Path:
    """The file; raises `BadSetting` where it is there already."""
    if file.exists():
        raise BadSetting(f"{file} is there already, and may hold what you have filled in. Name another file.")
    return file


def columns(items: Sequence[Row]) -> list[str]:
    """The names of the columns of a table, in the order in which they first come."""
    return list(dict.fromkeys(name for item in items for name in item))


def embedded(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """A picture as an address that holds it."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def cell(value: Any) -> str:
    """One cell of a table; of a long text the beginning, all of it is in the JSON file."""
    if isinstance(value, float):
        return "-" if value != value else number(value)
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2].rstrip()} …"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    world = Environment(
        loader=PackageLoader("headstart.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    world.filters |= {"embedded": embedded, "cell": cell}
    return world.get_template("report.html.j2")
