"""What to label next: the picks of a rule with what the model says of them by now, and the file in which labels are filled in."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headstart import plugins
from headstart.core import Event, Row, Spread
from headstart.data._steps import exhausted
from headstart.data.fixes import COLUMNS
from headstart.engine import device as engine
from headstart.errors import BadSetting
from headstart.learner import pools
from headstart.learner.answering import Answering
from headstart.learner.pools import Reading
from headstart.learner.session import Session, untrained
from headstart.report import results
from headstart.report.results import Shown
from headstart.store import atomic

USUAL, WITHOUT_DATA, WITHOUT_WEIGHTS = "unsure", "epig", "cover"
"""The rule where none is named (docs/log.md); without what the model was trained on, and where nothing is known of its weights."""
WORN = 50.0
"""Draws of the weights that count after labels were told, below which it is time to train again."""
EXAMPLE = "example"
"""The further column of the label file in which a text stands that lies in no file of its own."""


@dataclass(frozen=True)
class Suggestion:
    """One example to be labelled."""

    id: str
    path: str | None
    """Whole; None for what is no file."""
    guess: str
    """What the model says of it by now."""
    probability: float | None
    score: float
    """By the rule, when it was picked."""
    reason: str

    def row(self) -> Row:
        """The machine-readable contract of `suggest --json`."""
        return {name: getattr(self, name) for name in ("id", "path", "guess", "probability", "score", "reason")}


@dataclass(frozen=True)
class Suggestions:
    """What to label next, the most useful first. `save` writes the file to fill in; `told` takes labels and suggests the next."""

    items: tuple[Suggestion, ...]
    by: str
    notes: tuple[str, ...]
    reading: Reading = field(repr=False)
    count: int = 0
    """How many were asked for."""
    of_places: bool = False
    """Whether a label says something of every place of an example, and is no word."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Suggestion]:
        return iter(self.items)

    def told(self, labels: Mapping[str, Any]) -> "Suggestions":
        """The next ones, once these examples (by id) have these labels too: at once, without training.

        Raises:
            UnknownName, DataError: for an example that is not in the pool, or a label that the model does not know.
        """
        reading, counting = self.reading.told(labels)
        if not reading.ids:
            raise BadSetting("every example of the pool has a label now.")
        found = picked(reading, self.by, self.count)
        if counting >= WORN:
            return found
        return replace(
            found,
            notes=(*found.notes, "These labels have taught much that the model did not know: train it again with them first."),
        )

    def save(self, file: str | Path) -> Path:
        """The file: a label file (path,label,action,part,reason) in which the column label waits to be filled in.

        `train DATA --from RUN --labels FILE` adds what was labelled and passes over rows without a label. Of a text that lies in no
        file of its own the text stands in one more column, to be put into your table.

        Raises:
            BadSetting: where the file is there already, with labels that somebody has filled in.
        """
        require_unfilled(Path(file))
        target, written = Path(file), io.StringIO()
        looks = [""] * len(self) if all(each.path for each in self) else self.reading.looks([each.id for each in self])
        extra = [EXAMPLE] if any(isinstance(look, str) and look for look in looks) else []
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow([*COLUMNS, *extra])
        for each, look in zip(self, looks, strict=True):
            writer.writerow([each.path or each.id, "", "add", "", each.reason, *([look] if extra else [])])
        atomic.write_text(target, written.getvalue())
        return target

    def show(self) -> Any:
        """The examples with what the model says of them: a picture for a notebook, or lines where they are no images."""
        return results.shown(self._shown())

    def png(self) -> bytes | None:
        """The picture as the bytes of a PNG file; None where examples are no images."""
        shown = self._shown()
        return results.png(shown) if all(one.pixels is not None for one in shown) else None

    def _shown(self) -> list[Shown]:
        looks = self.reading.looks([each.id for each in self])
        return [
            Shown(each.id, look, each.guess, each.probability)
            if not isinstance(look, str)
            else Shown(each.id, None, each.guess, each.probability, text=look)
            for each, look in zip(self, looks, strict=True)
        ]


def suggested(
    session: Session, post: Answering, show: Callable[[Event], None], inputs: Any, count: int, by: str | None
) -> Suggestions:
    """`count` examples of the pool to be labelled next.

    Raises:
        UnknownName: for a rule that there is not, with the nearest.
        BadSetting: for a rule that this model cannot follow, or before the first training.
        DataError: where nothing is left of the pool.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BadSetting(f"n must be a whole number of at least 1, got {count!r}.")
    if not session.history:
        raise BadSetting(untrained("there is nothing to go by"))
    name = by or usual(session, post)
    rule = plugins.find("acquisitions", name)
    with engine.tuned_run(session.device):
        reading = exhausted(pools.read(session, post, inputs, rule.LEARNED), show)
        return picked(reading, name, count)


def usual(session: Session, post: Answering) -> str:
    """The rule for a model of which this is known."""
    if post.fitted is None or not plugins.find("posteriors", post.fitted.name).WEIGHTS:
        return WITHOUT_WEIGHTS
    return USUAL if session.data.records else WITHOUT_DATA


def require_unfilled(file: Path) -> None:
    """Raises `BadSetting` where the file is a label file with labels that somebody has filled in: they would be lost."""
    if not file.is_file():
        return
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig", errors="replace").splitlines()))
    except (OSError, csv.Error):
        rows = []
    filled = sum(bool((row.get("label") or "").strip()) for row in rows)
    if filled:
        raise BadSetting(
            f"{file} has {filled} labels filled in already, which would be lost. Train with them first, or name another file."
        )


def picked(reading: Reading, by: str, count: int) -> Suggestions:
    """What the rule picks of what was read."""
    rule, pool = plugins.find("acquisitions", by), reading.pool
    found = rule.pick(pool, min(count, len(pool)))
    ids = [reading.ids[place] for place in found.places.tolist()]
    said = pool.some(found.places).predictions
    items = tuple(
        Suggestion(name, path, one.text, one.probability, score, f"{rule.WHY}; {_looks(one.text, one.probability)}")
        for name, path, one, score in zip(ids, reading.sources(ids), said, found.scores.tolist(), strict=True)
    )
    return Suggestions(items, by, reading.notes, reading, count, any(isinstance(one, Spread) for one in said))


def _looks(text: str, probability: float | None) -> str:
    """What the model takes an example for."""
    sure = "" if probability is None else f" ({results.percent(probability)})"
    return f"looks like {text or 'nothing'}{sure}"
