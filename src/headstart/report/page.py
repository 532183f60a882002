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

from headstart.core import Finding, Row
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
LISTED = 12
"""Rows of a table that are shown; the others are in the JSON file."""


@dataclass(frozen=True)
class Report:
    """What was asked of a model, and the answers. `save("report.html")` writes the page; a notebook shows it."""

    title: str
    facts: Mapping[str, str]
    """What the model is, in words by name: the head of the page."""
    findings: tuple[Finding, ...]
    folder: Path | None = field(default=None, repr=False)
    """The run, where the page lies as report.html."""

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name.

        Raises:
            UnknownName: with the nearest of those that were asked for.
        """
        found = {found.name: found for found in self.findings}
        if name not in found:
            raise unknown_name("finding", name, found)
        return found[name]

    def first(self) -> list[Finding]:
        """What to look at first: the findings that ask for something, the gravest first."""
        order = list(VERDICTS)
        asking = [found for found in self.findings if found.verdict in ("bad", "look")]
        return sorted(asking, key=lambda found: order.index(found.verdict))

    def html(self) -> str:
        """The page: one file without links to others."""
        return _template().render(report=self, verdicts=VERDICTS, listed=LISTED, columns=columns)

    def json(self) -> dict[str, Any]:
        """All findings as plain JSON."""
        return {"title": self.title, "facts": dict(self.facts), "findings": [found.json() for found in self.findings]}

    def save(self, file: str | Path) -> Path:
        """The page, written there."""
        atomic.write_text(Path(file), self.html())
        return Path(file)

    def fixes(self, file: str | Path) -> Path:
        """A label file with what would mend what was found, for `train --labels`; strike out what you know better.

        Raises:
            BadSetting: where the file is there already.
        """
        target, written = require_new(Path(file)), io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(COLUMNS)
        taken = set[str]()
        for row in (row for found in self.findings for row in found.fixes):
            if row["path"] not in taken:  # one row for each example; the first finding is the graver one
                writer.writerow([row.get(name, "") for name in COLUMNS])
            taken.add(row["path"])
        atomic.write_text(target, written.getvalue())
        return target

    def keep(self, folder: Path) -> Path:
        """The page in the folder of a run, with a JSON file for each finding in findings/."""
        for found in self.findings:
            atomic.write_json(folder / "findings" / f"{found.name}.json", found.json())
        return self.save(folder / "report.html")

    def __repr__(self) -> str:
        width = max((len(found.question) for found in self.findings), default=0)
        lines = [self.title, *(f"{found.question:<{width}}  {found.headline}" for found in self.findings)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{_escaped(self.html())}" style="width:100%;height:40rem;border:0"></iframe>'


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
    """One cell of a table."""
    if isinstance(value, float):
        return "-" if value != value else number(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


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
