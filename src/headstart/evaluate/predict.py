"""From whatever a user holds (files, folders, arrays, PIL images) to predictions, streamed in the order given.

Every image goes file -> `modalities.image` -> model by itself: what else is in the batch, and where, changes nothing.
"""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headstart.core import Geometry, Outputs, Predictive
from headstart.data._scan import clean, scan
from headstart.errors import DataError, HeadstartError
from headstart.modalities import image

Source = str | Path | bytes | np.ndarray | Image.Image
Inputs = Source | Iterable[Source]
Pixels = UInt8[np.ndarray, "size size 3"]


@runtime_checkable
class Predicts(Protocol):
    """What is asked of a task here."""

    def predict(self, outputs: Outputs, ids: Sequence[str]) -> list[Any]: ...

    def failed(self, id: str, message: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Named:
    """One input under the id its prediction will carry; `error` says why there is nothing to read."""

    id: str
    source: Any
    error: str | None = None


def predict(
    model: Predictive,
    task: Predicts,
    inputs: Inputs,
    geometry: Geometry,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[Any]:
    """One prediction per image, in the order given; an input that cannot be read has one that says why.

    `inputs` may be a path, a folder, a pattern, an array [height, width, 3] (or a stack of them), a PIL image, the bytes of
    a file, or any iterable of these, read as it is consumed. The next images are decoded by threads while the model works.
    """
    for batch in _batched(decoded(inputs, geometry, threads or min(8, os.cpu_count() or 1), 2 * batch_size), batch_size):
        good = [(name, pixels) for name, pixels in batch if not isinstance(pixels, str)]
        found = iter(())
        if good:
            said = outputs(model, [np.stack([pixels for _, pixels in good])], geometry)
            found = iter(task.predict(said, [name for name, _ in good]))
        for name, pixels in batch:
            yield task.failed(name, pixels) if isinstance(pixels, str) else next(found)


def outputs(model: Predictive, batches: Iterable[UInt8[Any, "_ size size 3"]], geometry: Geometry) -> Outputs:
    """What the model says of all batches together, in order; `batches` are the centres of decoded images.

    Raises:
        DataError: when there is none.
        HeadstartError: when memory does not suffice for one image.
    """
    import torch

    parts = list(_within_memory(model, batches, geometry))
    if not parts:
        raise DataError("there are no images to predict on. Give at least one.")
    first = parts[0]
    if len(parts) == 1:
        return first
    return Outputs(
        torch.cat([torch.as_tensor(part.mean) for part in parts]),
        None if first.cov is None else torch.cat([torch.as_tensor(part.cov) for part in parts]),
        None if first.samples is None else torch.cat([torch.as_tensor(part.samples) for part in parts], dim=1),
    )


def _within_memory(model: Predictive, batches: Iterable[Any], geometry: Geometry) -> Iterator[Outputs]:
    """The outputs of the batches in order; in halves, and from then on of that size, where memory does not suffice."""
    import torch

    from headstart.engine import memory

    most: int | None = None
    for batch in batches:
        waiting = list(torch.as_tensor(batch).split(most or len(batch)))[::-1]
        while waiting:
            piece = waiting.pop()
            said = memory.tried(partial(_said, model, piece, geometry))
            if said is not None:
                yield said
                continue
            if len(piece) == 1:
                raise HeadstartError(
                    f"memory does not suffice to predict on a single image of {geometry.size} pixels. End other programs that "
                    "use the memory, or train a model with a smaller size or backbone."
                )
            most = len(piece) // 2
            waiting += list(piece.split(most))[::-1]


def _said(model: Predictive, batch: Any, geometry: Geometry) -> Outputs:
    """The outputs of a batch. One image goes in twice: a batch of one is computed by other kernels, which round differently."""
    if len(batch) != 1:
        return model.outputs(image.to_input(batch, geometry))
    both = model.outputs(image.to_input(batch.repeat(2, 1, 1, 1), geometry))
    return Outputs(
        both.mean[:1],
        None if both.cov is None else both.cov[:1],
        None if both.samples is None else both.samples[:, :1],
    )


def decoded(inputs: Inputs, geometry: Geometry, threads: int, ahead: int) -> Iterator[tuple[str, Pixels | str]]:
    """(id, the pixels the model sees, or why there are none) of each input in order, with up to `ahead` images in preparation."""
    waiting: deque[tuple[str, Future[Pixels | str]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="headstart-decode") as pool:
        try:
            for item in named(inputs):
                waiting.append((item.id, pool.submit(_pixels, item, geometry)))
                if len(waiting) >= ahead:
                    name, future = waiting.popleft()
                    yield name, future.result()
            while waiting:
                name, future = waiting.popleft()
                yield name, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def named(inputs: Inputs) -> Iterator[Named]:
    """Each image among the inputs with its id: the path as given, joined with the path inside it; a number if it has no path."""
    numbers = count()
    single = isinstance(inputs, str | Path | bytes | Image.Image) or not isinstance(inputs, Iterable)
    alone = single or (isinstance(inputs, np.ndarray) and not _is_stack(inputs))
    sources: Iterable[Any] = [inputs] if alone else inputs  # pyright: ignore[reportAssignmentType]
    for source in sources:
        if isinstance(source, str | Path):
            yield from _from_path(str(source))
        else:
            file = getattr(source, "filename", "") if isinstance(source, Image.Image) else ""
            yield Named(clean(str(file)) if file else f"{next(numbers):06d}", source)


def _from_path(given: str) -> Iterator[Named]:
    if not os.path.isdir(given):  # noqa: PTH112 (Path raises where the parent may not be read)
        if not os.path.lexists(given) and glob.has_magic(given):  # shells on Windows leave patterns to the program
            found = sorted(glob.glob(given, recursive=True))  # noqa: PTH207
            for path in found:
                yield from _from_path(path)
            if found:
                return
        yield Named(clean(given), given)
        return
    prefix = clean(given).rstrip("/" if os.sep == "/" else "/\\") + "/"
    try:
        inside = scan(str(Path(given).absolute())).images
    except OSError as error:
        yield Named(clean(given), None, f"the folder cannot be listed ({error.strerror or error}). Check its permissions.")
        return
    for name, path in inside:
        yield Named(prefix + name, path)
    if not inside:
        yield Named(clean(given), None, "there is no image in this folder (hidden files and files of other kinds do not count).")


def _pixels(item: Named, geometry: Geometry) -> Pixels | str:
    """What the model sees of one input, or a sentence that says why it cannot be read."""
    if item.source is None:
        return item.error or "nothing to read."
    try:
        if not isinstance(item.source, str | Path | bytes | np.ndarray | Image.Image):
            kind = type(item.source).__name__
            return (
                f"a {kind} is no image. Give a path, the bytes of a file, an array [height, width, 3] of uint8, or a PIL image."
            )
        return np.ascontiguousarray(image.centre(image.read(item.source, geometry).pixels, geometry.size))
    except DataError as error:
        return str(error)


def _is_stack(array: np.ndarray) -> bool:
    """Whether an array is many images; three axes of which the last is no channel axis are grey images one after another."""
    return array.ndim > 3 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))


def _batched(items: Iterator[tuple[str, Pixels | str]], batch_size: int) -> Iterator[list[tuple[str, Pixels | str]]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
