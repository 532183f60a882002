"""The model card: README.md of a bundle, in the form the Hugging Face Hub reads."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from headstart.core import BackboneSpec, Defaults, InputWords, Row, Settings, TaskWords
from headstart.train.observers.rows import cells, columns, duration, interval, measured, metric_names, number

HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "agpl-3.0", "unlicense", "openrail"),
        *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    )
)
MOST_CLASSES_LISTED = 60


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells; plain facts of a finished run."""

    name: str
    """Of the run."""
    data: str
    """Name of the data set."""
    words: TaskWords
    names: tuple[str, ...]
    """Of the classes, labels or numbers."""
    images: Mapping[str, int]
    """By part ("train", "valid", "test")."""
    counts: Mapping[str, Mapping[str, int]]
    """Images by part and class or label; none where there are none."""
    backbone: BackboneSpec
    inputs: InputWords
    settings: Settings
    rows: Sequence[Row]
    kept: int
    """Epoch of the row whose weights are in the bundle."""
    defaults: Defaults = field(default_factory=Defaults)
    """What was trained with."""
    split_rule: str = ""
    quarantined: int = 0
    """Files that could not be read and were left out."""
    base_model: str | None = None
    """Hub id of the pretrained weights, such as "timm/tf_efficientnet_lite0.in1k"; None when they are not from the Hub."""
    timm_loads: bool = True
    """Whether timm alone can load the bundle: a timm backbone with a linear head."""
    head: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the head worth telling, in words by name."""
    versions: Mapping[str, str | None] = field(default_factory=dict)


def card(facts: CardFacts) -> str:
    """The text of README.md: YAML front matter, then what the model is, how it was made, how to use it and its limits."""
    return _template().render(
        facts=facts,
        licence=_licence(facts.backbone.licence),
        kept=_kept(facts),
        results=_results(facts),
        headings=columns(facts.rows[-1]) if facts.rows else [],
        lines=[_line(row, facts) for row in facts.rows],
        versions={name: number for name, number in facts.versions.items() if number},
        seconds=duration(facts.rows[-1].get("seconds") if facts.rows else None),
        parts=[part for part in ("train", "valid", "test") if facts.images.get(part)],
        listed=facts.names[:MOST_CLASSES_LISTED],
        sentences=_sentences(facts),
    )


@cache
def _template() -> Any:
    """Read and compiled once: a card is written at every row that is kept."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("headstart.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = _yaml
    environment.filters["cell"] = _cell
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment.get_template("card.md.j2")


def _yaml(value: Any) -> str:
    """A scalar as YAML: a JSON string is one, once what YAML calls unprintable is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def _cell(text: str) -> str:
    """Text that cannot break out of a cell of a Markdown table."""
    clean = "".join(character if character.isprintable() else "?" for character in str(text))
    return clean.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`").replace("*", "\\*")


def _licence(words: str) -> dict[str, str]:
    """The licence as the Hub's front matter wants it: one of its identifiers, or "other" with a name."""
    identifier = words.strip().lower().replace(" ", "-")
    if identifier in HUB_LICENCES:
        return {"license": identifier}
    return {"license": "other", "license_name": identifier or "unknown"}


def _kept(facts: CardFacts) -> Row:
    return next((row for row in facts.rows if row.get("epoch") == facts.kept), {})


def _results(facts: CardFacts) -> list[dict[str, Any]]:
    """The kept row's numbers on the validation images, for `model-index`; an error rate is told as accuracy as well."""
    row = _kept(facts)
    found = []
    for name in metric_names(row):
        if row[name] is None or not math.isfinite(row[name]):
            continue
        if name == "error_rate":
            found.append({"type": "accuracy", "value": round(1 - row[name], 4), "name": "Accuracy (validation)"})
        found.append({"type": name, "value": round(row[name], 4), "name": f"{name} (validation)"})
    if row.get("valid_loss") is not None:
        found.append(
            {"type": "loss", "value": round(row["valid_loss"], 4), "name": "Negative log-likelihood in nats (validation)"}
        )
    return found


def _line(row: Row, facts: CardFacts) -> list[str]:
    texts = dict(zip(columns(row), cells(row), strict=True))
    line = [_cell(texts.get(heading, "-")) for heading in columns(facts.rows[-1])]
    return [f"**{text}**" for text in line] if row.get("epoch") == facts.kept else line


def _sentences(facts: CardFacts) -> list[str]:
    """What the kept row says, in words."""
    row = _kept(facts)
    if not row:
        return []
    valid = facts.images.get("valid", 0)
    told = [f"{name} {measured(row, name)}" for name in metric_names(row)]
    if row.get("valid_loss") is not None:
        told.append(f"negative log-likelihood {number(row['valid_loss'])} nats")
    spread = " (95 % interval in brackets)" if any(interval(row, name) for name in metric_names(row)) else ""
    head = " It is the head on the frozen backbone: no later epoch was better." if facts.kept == 0 and len(facts.rows) > 1 else ""
    return [f"On {valid:,} validation {facts.inputs.items}: {', '.join(told)}{spread}.{head}"]
