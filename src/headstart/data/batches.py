"""Batches from a store: which examples, in which order, changed how; gathered one ahead by a thread, never by a process."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
from jaxtyping import Int

from headstart.core import Batch, Modality, Outputs, Phase
from headstart.data import balance, mixing
from headstart.data.stores import Store
from headstart.seeds import numpy_generator

EVALUATION_BATCH = 32
AHEAD = 2


@dataclass(frozen=True)
class Examples:
    """The examples of one part: their places in the store, their encoded targets and their ids, in one order."""

    store: Store
    indices: Int[np.ndarray, " examples"]
    targets: Any
    """A tensor with one row per example, on the CPU."""
    ids: tuple[str, ...]
    groups: Int[np.ndarray, " examples"] | None = None
    """The class of each, where the task has classes: what `balance` evens out."""

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "Examples":
        """These of the examples, in this order."""
        groups = None if self.groups is None else self.groups[rows]
        return Examples(self.store, self.indices[rows], self.targets[rows], tuple(self.ids[row] for row in rows.tolist()), groups)


def order(count: int, batch_size: int, seed: int, epoch: int) -> list[Int[np.ndarray, " batch"]]:
    """A shuffle of range(count) in batches of at most `batch_size`, a function of (seed, epoch) alone.

    No example is dropped and sizes differ by at most one, so that no batch is left with a single example beside full ones.
    """
    return _in_batches(numpy_generator(seed, "order", epoch).permutation(count), batch_size)


def _in_batches(shuffled: Int[np.ndarray, " examples"], batch_size: int) -> list[Int[np.ndarray, " batch"]]:
    return np.array_split(shuffled, max(1, -(-len(shuffled) // batch_size)))


def training_batches(examples: Examples, phase: Phase, seed: int, epoch: int, first: int, device: Any) -> Iterator[Batch]:
    """The batches of an epoch from number `first` on: together every example once (or as `phase.balance` says), augmented on `device`.

    What happens to an example depends on (seed, epoch, its place in the data) alone, whom it is mixed with on its batch too.
    Where examples differ in length a batch begins with the shortest, so that pieces of it are no longer than they must be.
    """
    import torch

    modality, n = examples.store.modality, len(examples)
    rule = balance.RULES[phase.balance]
    weighed = rule.weighs and examples.groups is not None  # else the task weighs what an example is made of
    weights = torch.from_numpy(balance.weights(examples.groups)).float() if weighed else None

    def gather(draw: Int[np.ndarray, " batch"]) -> tuple[Int[np.ndarray, " batch"], Any, np.ndarray]:
        draw = draw[by_length(examples.store.lengths(examples.indices[draw % n]), len(draw))]
        rows, repeats = draw % n, draw // n
        indices = examples.indices[rows]
        draws = modality.draw(phase.augment, seed, epoch, indices + repeats * len(examples.store))  # each time another change
        return rows, draws, modality.gathered(examples.store, indices.tolist(), draws)

    if rule.draws:
        batches = _in_batches(balance.drawn(examples.groups, seed, epoch), phase.batch_size)[first:]
    else:
        batches = order(n, phase.batch_size, seed, epoch)[first:]
    for number, (rows, draws, stored) in enumerate(_ahead(gather, batches), start=first):
        inputs = modality.augmented(torch.from_numpy(stored).to(device, non_blocking=True), draws, phase.augment)
        places = torch.from_numpy(rows)
        targets = modality.moved(examples.targets[places].to(device, non_blocking=True), draws, phase.augment)
        weighs = None if weights is None else weights[places].to(device, non_blocking=True)
        batch = Batch(inputs, targets, tuple(examples.ids[row] for row in rows.tolist()), weighs, modality=modality)
        yield mixing.mixed(batch, phase, seed, epoch, number)


def by_length(lengths: Int[np.ndarray, " examples"] | None, count: int) -> Int[np.ndarray, " examples"]:
    """An order of `count` examples in which neighbours are of about one length: as they come where all are of one size."""
    return np.arange(count) if lengths is None else np.argsort(lengths, kind="stable")


def stored(examples: Examples, batch_size: int = EVALUATION_BATCH, modality: Modality | None = None) -> Iterator[np.ndarray]:
    """Every example as `modality`, by default the store's own, takes it to predict, in order, in batches."""
    parts = [examples.indices[first : first + batch_size].tolist() for first in range(0, len(examples), batch_size)]
    yield from _ahead(lambda indices: examples.store.stored(indices, modality), parts)


def in_order(outputs: Outputs, order: Int[np.ndarray, " examples"]) -> Outputs:
    """The outputs of examples that were put in this order, as they were before."""
    return outputs.some(np.argsort(order))


def _ahead(function: Any, items: Sequence[Any]) -> Iterator[Any]:
    """`map(function, items)`, computed up to AHEAD items early on one thread, which ends when the caller stops reading."""
    ready: Queue[tuple[Any, BaseException | None]] = Queue(AHEAD)
    stopped = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except Full:
                continue
            return

    def work() -> None:
        for item in items:
            if stopped.is_set():
                return
            try:
                entry = (function(item), None)
            except BaseException as error:
                put((None, error))
                return
            put(entry)

    thread = threading.Thread(target=work, name="headstart-gather", daemon=True)
    thread.start()
    try:
        for _ in items:
            result, error = _next(ready)
            if error is not None:
                raise error
            yield result
    finally:
        stopped.set()
        thread.join()


def _next(ready: "Queue[tuple[Any, BaseException | None]]") -> tuple[Any, BaseException | None]:
    """The next entry; waits in short naps so that Ctrl-C is heard on every system."""
    while True:
        try:
            return ready.get(timeout=0.2)
        except Empty:
            continue
