"""From whatever a user holds (files, folders, arrays, texts) to predictions, streamed in the order given.

Every example goes by itself through its modality to the model: what else is in the batch, and where, changes nothing.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from headstart.core import Modality, Named, Outputs, Predictive, Spread
from headstart.errors import DataError, HeadstartError

NO_NUMBER = "what the model makes of it is no number: its values are far beyond all that it has learned from. Check them, and their units."


@dataclass(frozen=True, slots=True)
class Prepared:
    """One example as it is stored, or why there is none."""

    example: Any
    error: str | None = None
    extent: tuple[int, int] | None = None
    """(height, width), where something is said of the places of the example."""


@runtime_checkable
class Predicts(Protocol):
    """What is asked of a task here."""

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[Any]: ...

    def failed(self, id: str, message: str) -> Any: ...


def predict(
    model: Predictive,
    task: Predicts,
    inputs: Any,
    modality: Modality,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[Any]:
    """One prediction per example, in the order given; an input that cannot be read has one that says why.

    `inputs` is what the modality can name: a path, a folder, a pattern, an array or a stack of them for images; a text for
    texts; any iterable of these, read as it is consumed. The next examples are prepared by threads while the model works.
    """
    for batch in _batched(prepared(inputs, modality, threads or min(8, os.cpu_count() or 1), 2 * batch_size), batch_size):
        good = [(name, each.example) for name, each in batch if each.error is None]
        found = iter(())
        if good:
            said = outputs(model, [modality.stacked([example for _, example in good])], modality)
            found = _told(task, said, [name for name, _ in good])
        for name, each in batch:
            yield _spread(next(found), each.extent) if each.error is None else task.failed(name, each.error)


def _told(task: Predicts, said: Outputs, names: Sequence[str]) -> Iterator[Any]:
    """What the task makes of the outputs; an example of which they are no numbers could not be read."""
    import torch

    finite = torch.isfinite(torch.as_tensor(said.mean)).flatten(1).all(1)
    if bool(finite.all()):
        yield from task.predict(said, names)
        return
    good = [name for name, well in zip(names, finite.tolist(), strict=True) if well]
    found = iter(task.predict(said.some(finite), good) if good else ())
    for name, well in zip(names, finite.tolist(), strict=True):
        yield next(found) if well else task.failed(name, NO_NUMBER)


def outputs(model: Predictive, batches: Iterable[Any], modality: Modality) -> Outputs:
    """What the model says of all batches together, in order, as they are stored.

    Raises:
        DataError: when there is none.
        HeadstartError: when memory does not suffice for one image.
    """
    import torch

    parts = list(_within_memory(model, batches, modality))
    if not parts:
        raise DataError(f"there are no {modality.words.items} to predict on. Give at least one.")
    first = parts[0]
    if len(parts) == 1:
        return first
    return Outputs(
        torch.cat([torch.as_tensor(part.mean) for part in parts]),
        None if first.cov is None else torch.cat([torch.as_tensor(part.cov) for part in parts]),
        None if first.samples is None else torch.cat([torch.as_tensor(part.samples) for part in parts], dim=1),
        None if first.unlike is None else torch.cat([torch.as_tensor(part.unlike) for part in parts]),
    )


def _within_memory(model: Predictive, batches: Iterable[Any], modality: Modality) -> Iterator[Outputs]:
    """The outputs of the batches in order; in halves, and from then on of that size, where memory does not suffice."""
    import torch

    from headstart.engine import memory

    most: int | None = None
    for batch in batches:
        waiting = list(torch.as_tensor(batch).split(most or len(batch)))[::-1]
        while waiting:
            piece = waiting.pop()
            said = memory.tried(partial(_said, model, piece, modality))
            if said is not None:
                yield said
                continue
            if len(piece) == 1:
                raise HeadstartError(
                    f"memory does not suffice to predict on a single {modality.words.item} of {modality.words.size}. End other "
                    "programs that use the memory, or train a model with a smaller size or backbone."
                )
            most = len(piece) // 2
            waiting += list(piece.split(most))[::-1]


def _said(model: Predictive, batch: Any, modality: Modality) -> Outputs:
    """The outputs of a batch. One example goes in twice: a batch of one is computed by other kernels, which round differently."""
    if len(batch) != 1:
        return model.outputs(modality.to_input(batch))
    return model.outputs(modality.to_input(batch.repeat(2, *(1 for _ in batch.shape[1:])))).some(slice(1))


def prepared(inputs: Any, modality: Modality, threads: int, ahead: int) -> Iterator[tuple[str, Prepared]]:
    """(id, the example) of each input in order, with up to `ahead` in preparation."""
    waiting: deque[tuple[str, Future[Prepared]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="headstart-prepare") as pool:
        try:
            for item in modality.named(inputs):
                waiting.append((item.id, pool.submit(_prepared, item, modality)))
                if len(waiting) >= ahead:
                    name, future = waiting.popleft()
                    yield name, future.result()
            while waiting:
                name, future = waiting.popleft()
                yield name, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepared(item: Named, modality: Modality) -> Prepared:
    """What the model needs of one input, or why it cannot be read."""
    if item.error is not None:
        return Prepared(None, item.error)
    try:
        return Prepared(modality.prepared(item.source, item.id), extent=modality.extent(item.source))
    except DataError as error:
        return Prepared(None, str(error))


def _spread(prediction: Any, extent: tuple[int, int] | None) -> Any:
    return prediction.at(*extent) if extent is not None and isinstance(prediction, Spread) else prediction


def _batched(items: Iterator[tuple[str, Prepared]], batch_size: int) -> Iterator[list[tuple[str, Prepared]]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
