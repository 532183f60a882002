"""Unlabelled examples, read once for a trained model: what it says of them, with draws of its weights that stand for all of them together."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from headstart.acquisitions._pool import Pool
from headstart.core import Dataset, Event, Modality, Outputs, Progress
from headstart.data import stores
from headstart.data.audit import auditing, left_out
from headstart.data.labels import several, tidy
from headstart.data.stores import Store
from headstart.data.unlabelled import unlabelled
from headstart.errors import BadSetting, DataError, unknown_name
from headstart.learner import believing, onward
from headstart.learner.answering import Answering
from headstart.learner.session import Session
from headstart.modalities._scan import counted, quoted
from headstart.seeds import numpy_generator
from headstart.train.begin import engine_features

DRAWS, FEWEST_DRAWS = 512, 64
MOST = 10_000
"""Of a larger pool so many, drawn at random, are looked at; fewer where there are very many outputs."""
HELD = 1 << 27
"""Numbers of draws that are held at once."""


@dataclass(frozen=True)
class Reading:
    """A pool that was read. `ids` are those of the examples in `pool`, in order; `notes` say what was left out and why."""

    dataset: Dataset
    modality: Modality
    ids: tuple[str, ...]
    pool: Pool
    notes: tuple[str, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)
    """Those that were told since."""
    whole: "Reading | None" = None
    """As it was before any label was told."""

    def sources(self, ids: Sequence[str]) -> list[str | None]:
        """The path of each, None for what is no file."""
        found = {record.id: record.source for record in self.dataset.records}
        return [source if isinstance(source := found[name], str) else None for name in ids]

    def looks(self, ids: Sequence[str]) -> list[Any]:
        """Each as people see it: pixels, or a text."""
        places = {record.id: place for place, record in enumerate(self.dataset.records)}
        chosen = [places[name] for name in ids]
        with closing(stores.start(self.dataset, self.modality)) as store:
            return store.texts(chosen) or store.pictures(chosen)

    def told(self, labels: Mapping[str, Any]) -> tuple["Reading", float]:
        """Without the examples that have a label by now, which count as learned from; and with draws of the weights that fit all labels that
        were told: each counts as much as it makes them probable. And how many draws still count, with few of which it is time to train.

        Raises:
            DataError, UnknownName: for an example that is not in the pool, or a label that the model does not know.
        """
        if not isinstance(labels, Mapping):
            raise BadSetting(f'labels are told by example, as in {{"photos/1.jpg": "cat"}}, got {labels!r:.60}.')
        for name in labels:
            if name not in self.ids:
                raise unknown_name("example", str(name), self.ids, " in what is left of the pool")
        known = {**self.labels, **{name: _label(value) for name, value in labels.items()}}
        whole = self.whole or self
        places = {name: place for place, name in enumerate(whole.ids)}
        pool, counting = _fitting(whole.pool, [places[name] for name in known], list(known.values()))
        left = np.array([place for name, place in places.items() if name not in known], np.int64)
        ids = tuple(whole.ids[place] for place in left)
        return replace(self, ids=ids, pool=pool.some(left), labels=known, whole=whole), counting


def _fitting(pool: Pool, places: Sequence[int], labels: Sequence[Any]) -> tuple[Pool, float]:
    """The pool as it is seen once these of its examples have these labels, and how many draws of the weights count."""
    targets = pool.task.encode(list(labels))
    pool = replace(pool, learned=np.concatenate([pool.learned, pool.features[places]]))
    if pool.draws is None or not places:
        return pool, float("inf")
    draws = pool.draws
    losses = pool.task.loss(draws[:, places].flatten(0, 1), targets.repeat(len(draws), *(1 for _ in targets.shape[1:]))).double()
    shares = (-losses.reshape(len(draws), -1).sum(1)).softmax(0).numpy()
    fitting = draws[torch.from_numpy(_resampled(shares))]
    said = Outputs(fitting.mean(0), samples=fitting, unlike=pool.said.unlike)
    return replace(pool, draws=fitting, said=said), float(1.0 / (shares**2).sum())


def _label(value: Any) -> Any:
    """A label as data sets have it: a text, or several."""
    return several(value) if isinstance(value, list | tuple | set | frozenset) else tidy(value)


def _resampled(shares: Float[np.ndarray, " draws"]) -> np.ndarray:
    """As many draws, each as often as its share says, by evenly spaced points (systematic resampling)."""
    points = (np.arange(len(shares)) + 0.5) / len(shares)
    return np.minimum(np.searchsorted(np.cumsum(shares), points), len(shares) - 1)


def read(session: Session, post: Answering, inputs: Any, learned: bool) -> Generator[Event, None, Reading]:
    """What the model says of whatever a user gives to be predicted, unreadable and known examples left out.

    Args:
        learned: whether the features of what the model was trained on are wanted too.

    Raises:
        DataError: where nothing is left.
    """
    dataset, troubles = unlabelled(inputs, session.modality)
    notes = [f"{quoted(each.id)}: {each.error}" for each in troubles]
    total = len(dataset.records)
    most = max(1, min(MOST, HELD // (FEWEST_DRAWS * session.task.outputs)))
    if total > most:
        drawn = np.sort(numpy_generator(session.settings.seed, "pool").permutation(total)[:most])
        dataset = replace(dataset, records=tuple(dataset.records[place] for place in drawn.tolist()))
        notes.append(f"Of {counted(total, dataset.item)} {most:,}, drawn at random, were looked at.")
    with closing(stores.start(dataset, session.modality)) as store:
        rows = yield from _features(session, store)
        kept, told = yield from _kept(session, dataset, store)
    notes += told
    if not len(kept):
        raise DataError(f"nothing is left to choose from. {' '.join(notes)}")
    given, said = believing.through_head(session.model, rows[kept])
    count = min(DRAWS, max(FEWEST_DRAWS, HELD // said.numel()))
    draws = None if post.fitted is None else post.fitted.posterior.together(given, said, count)
    told_rows = (yield from _learned(session)) if learned else rows[:0]
    pool = Pool(post.task, rows[kept], _said(post, given, said, rows[kept]), draws, told_rows)
    return Reading(dataset, session.modality, tuple(store.ids[place] for place in kept.tolist()), pool, tuple(notes))


def _said(post: Answering, given: torch.Tensor, said: torch.Tensor, rows: Float[np.ndarray, "pool features"]) -> Outputs:
    if post.fitted is None:
        return Outputs(said)
    found, likeness = post.fitted.posterior.outputs(given, said), post.fitted.likeness
    return found if likeness is None else replace(found, unlike=likeness.unlike(torch.from_numpy(rows)))


def _features(session: Session, store: Store) -> Generator[Event, None, Float[np.ndarray, "pool features"]]:
    model = session.model.to(session.device)
    found = yield from engine_features(store, model, session.device)
    if found is None:
        raise BadSetting(
            "what this model computes of the pool does not fit into memory. Give fewer examples at once, or a part of the folder."
        )
    return found.rows


def _kept(session: Session, dataset: Dataset, store: Store) -> Generator[Event, None, tuple[np.ndarray, list[str]]]:
    """Places of the examples that are new to the model, of look-alikes the first; and sentences on the others."""
    for index in range(len(store)):
        store.wait(index)
        if index % 64 == 0 or index + 1 == len(store):
            yield Progress("reading the pool", index + 1, len(store))
    reports = store.reports()
    found = yield from auditing(dataset, reports, store.prints, session.task)
    earlier = None if session.run is None else onward.earlier_of(session.run)
    known = set() if earlier is None else {digest for digest, label in earlier.images.values() if digest and label is not None}
    usable = {report.id for report in reports if report.status == "ok"}
    labelled = {report.id for report in reports if report.digest in known}
    copies = set[str]()
    for group in (*found.exact, *found.near):
        there = [name for name in group if name in usable]
        copies.update(there if labelled & set(there) else there[1:])
    kept = [place for place, name in enumerate(store.ids) if name in usable - labelled - copies]
    notes = [*left_out(reports)]
    if labelled:
        notes.append(f"{counted(len(labelled), dataset.item)} of the pool the model knows with a label: left out.")
    if alike := copies - labelled:
        notes.append(f"{counted(len(alike), dataset.item)} of the pool like another of it: left out.")
    if earlier is None:
        notes.append(
            f"This is a model without its run, which does not know what it was trained on: {dataset.item}s of that in the pool are not left out."
        )
    return np.array(kept, np.int64), notes


def _learned(session: Session) -> Generator[Event, None, Float[np.ndarray, "learned features"]]:
    """Features of what the model was trained on, from the cache where they are.

    Raises:
        BadSetting: where that is not at hand.
    """
    if not session.data.records:
        reason = session.data.notes[0] if session.data.notes else ""
        raise BadSetting(f'this rule looks at what the model was trained on. {reason} by="epig" needs none of it.')
    begun = session.ready()
    found = yield from engine_features(begun.store, begun.state.model, begun.state.device)
    width = session.model.backbone.spec.width
    return np.empty((0, width), np.float32) if found is None else found.rows[begun.state.parts["train"].indices]
