"""Copies found by small grey pictures: whitened low frequencies, compared by angle, looked up by hashed signs.

Most images of a data set share most of what a small picture shows (a sky above, a cell's bus bars). Dividing by the covariance
of the data set itself (shrunk to that of natural images, 1/f^2) leaves what tells its images apart: copies keep an angle near
zero after re-encoding, scaling, recolouring, small cuts or text, and strangers come near 90 degrees.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from PIL import Image

from headstart.core import Progress
from headstart.data._steps import exhausted

SIDE = 32
LOW = 12
"""Frequencies kept along each axis, of `SIDE`."""
SOFT_CONTRAST = 8.0
"""Grey levels added to an image's contrast before dividing by it, so that noise is not blown up."""
FLAT = 4.0
"""Images with less contrast than this many grey levels show nothing to compare."""
NOISE = 0.02
PRIOR_IMAGES = 100
"""The covariance of natural images counts as much as so many images."""
CROPS = (0.96, 0.92)
"""Cut copies are looked for as the middle of the uncut ones."""
DISTANCES = (0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005)
"""1 - cosine below which two images count as copies: the largest at which look-alikes stay few is used."""
LOOK_ALIKE_SHARE = 0.25
LARGE_GROUP, LARGE_SHARE = 20, 0.1
"""Groups with more images, and with a larger share of all, are chains of look-alikes: then a smaller distance is used."""
EXHAUSTIVE = 4096
"""Up to so many images all pairs are compared; beyond, those whose hashes meet."""
N_TABLES = 24
BUCKET = 64
BLOCK = 1024
PAIRS_KEPT, FEW_PAIRS = 16, 1 << 20
"""Pairs that are remembered for each image, and a number that never counts as many."""

_Found = tuple[np.ndarray, np.ndarray]
"""Pairs of rows [pairs, 2] and their distances [pairs]."""


@runtime_checkable
class Pictures(Protocol):
    """Small grey pictures, read a stretch at a time: an array [images, SIDE, SIDE], or a file of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> UInt8[np.ndarray, "rows side side"]: ...


@dataclass(frozen=True, slots=True)
class Copies:
    """Pairs of images (first < second) that show the same, and the distance that was allowed."""

    pairs: Int[np.ndarray, "pairs 2"]
    distance: float


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "side side"]:
    """The whole image, grey, squeezed into `SIDE` x `SIDE`."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L"))


def copies(pictures: Pictures, among: Bool[np.ndarray, " images"] | None = None) -> Copies:
    """All pairs that show the same: as it is, mirrored, or one the middle of the other. `among` says which images are asked."""
    return exhausted(search(pictures, among))


def search(pictures: Pictures, among: Bool[np.ndarray, " images"] | None = None) -> Generator[Progress, None, Copies]:
    """Returns the `copies`; tells how far it is with a large set.

    Where look-alikes are many (cells of one ingot, frames of one film) no distance separates them from copies; then only
    the nearest count. Memory: some 500 bytes for each image beside the pictures themselves, which are read in blocks.
    """
    straight = _low_frequencies(np.eye(SIDE, dtype=np.float32))
    asked = np.ones(len(pictures), bool) if among is None else among.copy()
    whiten = _Whitening()
    for rows, flat in _blocks(pictures):
        base = _contrast(flat, straight)
        asked[rows] &= np.linalg.norm(base, axis=1) > 0
        whiten.learn(base[asked[rows]])
    visible = np.flatnonzero(asked)
    if len(visible) < 2:
        return Copies(np.zeros((0, 2), np.int64), DISTANCES[0])
    few = len(visible) <= EXHAUSTIVE

    def queries(view: Float32[np.ndarray, "pixels numbers"]) -> Iterator[Float32[np.ndarray, "rows numbers"]]:
        for rows, flat in _blocks(pictures):
            yield whiten(_contrast(flat[asked[rows]], view))

    target = np.empty((len(visible), straight.shape[1]), np.float32 if few else np.float16)
    for first, block in _numbered(queries(straight)):
        target[first : first + len(block)] = block
    index = _Exhaustive(target) if few else _Tables(target)
    pairs = _Pairs(max(FEW_PAIRS, PAIRS_KEPT * len(target)))
    views = (straight, *_views())
    for turn, view in enumerate(views):
        for first, block in _numbered(queries(view)):
            for found in index.near(block, first, 1 - DISTANCES[0]):
                pairs.add(found)
            if not few:
                yield Progress("looking for copies", turn * len(target) + first + len(block), len(views) * len(target))
    together, distance = pairs.result()
    farthest = min(pairs.within, _allowed(target, distance))
    choices = [each for each in DISTANCES if each <= farthest]
    large = max(LARGE_GROUP, LARGE_SHARE * len(target))
    unchained = (each for each in choices if _largest_group(together[distance <= each], len(target)) <= large)
    allowed = next(unchained, choices[-1])
    return Copies(visible[together[distance <= allowed]], allowed)


def _blocks(pictures: Pictures) -> Iterator[tuple[slice, UInt8[np.ndarray, "rows pixels"]]]:
    for first in range(0, len(pictures), BLOCK):
        rows = slice(first, min(first + BLOCK, len(pictures)))
        block = pictures[rows]
        yield rows, block.reshape(len(block), SIDE * SIDE)


def _numbered(blocks: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Each block with how many rows came before it."""
    first = 0
    for block in blocks:
        yield first, block
        first += len(block)


class _Whitening:
    """Unit vectors by which images of this data set are compared, once `learn` has seen all of them."""

    def __init__(self) -> None:
        width = LOW * LOW - 1
        self.count, self.total, self.moment = 0, np.zeros(width), np.zeros((width, width))
        self._learned: tuple[np.ndarray, np.ndarray] | None = None

    def learn(self, base: Float32[np.ndarray, "rows numbers"]) -> None:
        """Takes these images into account."""
        exact = base.astype(np.float64)
        self.count += len(base)
        self.total += exact.sum(0)
        self.moment += exact.T @ exact

    def __call__(self, base: Float32[np.ndarray, "rows numbers"]) -> Float32[np.ndarray, "rows numbers"]:
        self._learned = self._learned or self._mean_and_matrix()
        mean, matrix = self._learned
        white = (base - mean) @ matrix
        return white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-9)

    def _mean_and_matrix(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.total / (self.count + PRIOR_IMAGES)
        crossed = np.outer(mean, self.total)
        scatter = self.moment - crossed - crossed.T + self.count * np.outer(mean, mean)
        frequency = np.add.outer(np.arange(LOW) ** 2, np.arange(LOW) ** 2).ravel()[1:].astype(np.float64)
        prior = 1 / frequency
        prior *= max(float(np.trace(scatter)) / self.count, 1e-6) / prior.sum()
        values, vectors = np.linalg.eigh((scatter + np.diag(PRIOR_IMAGES * prior)) / (self.count + PRIOR_IMAGES))
        return mean.astype(np.float32), (vectors / np.sqrt(np.maximum(values, 0) + NOISE)).astype(np.float32)


def _low_frequencies(row_map: Float32[np.ndarray, "side side"], column_map: np.ndarray | None = None) -> np.ndarray:
    """[SIDE * SIDE, LOW * LOW - 1]: a picture, mapped along rows and columns, to its lowest cosine frequencies but the mean."""
    k, x = np.arange(LOW)[:, None], np.arange(SIDE)[None]
    cosine = np.cos(np.pi * k * (2 * x + 1) / (2 * SIDE)) * np.where(k == 0, np.sqrt(1 / SIDE), np.sqrt(2 / SIDE))
    along_y, along_x = cosine @ row_map, cosine @ (row_map if column_map is None else column_map)
    return np.kron(along_y, along_x)[1:].T.astype(np.float32)


def _views() -> Iterator[np.ndarray]:
    """The ways in which an image is looked for besides as it is: mirrored, its middle."""
    straight = np.eye(SIDE, dtype=np.float32)
    yield _low_frequencies(straight, np.ascontiguousarray(straight[::-1]))
    for kept in CROPS:
        centres = (np.arange(SIDE) + 0.5 - SIDE / 2) * kept + SIDE / 2 - 0.5
        yield _low_frequencies(np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(SIDE)[None])).astype(np.float32))


def _contrast(flat: UInt8[np.ndarray, "rows pixels"], view: Float32[np.ndarray, "pixels numbers"]) -> np.ndarray:
    """Low frequencies of each picture in units of its contrast; zeros for those without any."""
    part = flat.astype(np.float32) @ view
    contrast = np.linalg.norm(part, axis=1, keepdims=True) / SIDE
    return np.where(contrast < FLAT, np.float32(0), part / (contrast + SOFT_CONTRAST))


class _Exhaustive:
    """Compares every query with every image."""

    def __init__(self, target: Float32[np.ndarray, "images numbers"]) -> None:
        self.target = target

    def near(self, query: Float32[np.ndarray, "rows numbers"], first: int, least: float) -> Iterator[_Found]:
        """(pairs, distances) of query rows, numbered from `first`, and images whose cosine is at least `least`."""
        cosine = query @ self.target.T
        i, j = np.nonzero(cosine >= least)
        yield np.stack([i + first, j], 1), 1 - cosine[i, j]


class _Tables:
    """The same for large sets: only rows that share all signs along some table's random directions are compared."""

    def __init__(self, target: Float[np.ndarray, "images numbers"]) -> None:
        n_bits = int(np.log2(len(target))) + 2
        random = np.random.Generator(np.random.PCG64(0))
        self.target = target
        self.weights = 1 << np.arange(n_bits, dtype=np.int32)
        # One matrix for all tables: many small products wait long for each other's threads on a busy machine
        self.directions = random.standard_normal((target.shape[1], N_TABLES * n_bits)).astype(np.float32)
        codes = np.empty((N_TABLES, len(target)), np.int32)
        for first in range(0, len(target), BLOCK):
            codes[:, first : first + BLOCK] = self._codes(target[first : first + BLOCK].astype(np.float32))
        self.orders = np.stack([np.argsort(code, kind="stable").astype(np.int32) for code in codes])
        self.ordered = codes
        for code, order in zip(codes, self.orders, strict=True):
            code[:] = code[order]

    def near(self, query: Float32[np.ndarray, "rows numbers"], first: int, least: float) -> Iterator[_Found]:
        """As `_Exhaustive.near`."""
        for code, ordered, order in zip(self._codes(query), self.ordered, self.orders, strict=True):
            start = np.searchsorted(ordered, code, "left")
            count = np.minimum(np.searchsorted(ordered, code, "right") - start, BUCKET)
            i = np.repeat(np.arange(len(query)), count)
            offset = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
            yield from self._compared(query, i, order[np.repeat(start, count) + offset], first, least)

    def _codes(self, rows: Float32[np.ndarray, "rows numbers"]) -> Int[np.ndarray, "tables rows"]:
        """The signs of each row along each table's directions, as one number."""
        signs = (rows @ self.directions > 0).reshape(len(rows), N_TABLES, len(self.weights))
        return np.ascontiguousarray((signs @ self.weights).T)

    def _compared(self, query: np.ndarray, i: np.ndarray, j: np.ndarray, first: int, least: float) -> Iterator[_Found]:
        different = i + first != j
        i, j = i[different], j[different]
        for part in (slice(a, b) for a, b in pairwise([*range(0, len(i), 1 << 16), len(i)])):
            cosine = np.einsum("pk,pk->p", query[i[part]], self.target[j[part]].astype(np.float32))
            keep = cosine >= least
            yield np.stack([i[part][keep] + first, j[part][keep]], 1), 1 - cosine[keep]


class _Pairs:
    """Each pair once with its smallest distance, `most` of them: where there are more, those beyond a smaller distance go."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.within = DISTANCES[0]
        """All pairs found up to this distance are kept."""
        self._found: list[_Found] = []
        self._waiting = 0

    def add(self, found: _Found) -> None:
        """Takes these pairs in."""
        pairs, distance = found
        near = distance <= self.within
        if near.any():
            self._found.append((pairs[near].astype(np.int32), distance[near].astype(np.float32)))
            self._waiting += int(near.sum())
        if self._waiting > self.most:
            self.result()

    def result(self) -> _Found:
        """Pairs and distances so far."""
        pairs, distance = _distinct(self._found)
        while len(pairs) > self.most and self.within > DISTANCES[-1]:
            self.within = next(each for each in DISTANCES if each < self.within)
            pairs, distance = pairs[distance <= self.within], distance[distance <= self.within]
        if len(pairs) > self.most:
            nearest = np.sort(np.argpartition(distance, self.most)[: self.most])
            pairs, distance = pairs[nearest], distance[nearest]
        self._found, self._waiting = [(pairs, distance)], 0
        return pairs, distance


def _distinct(found: list[_Found]) -> _Found:
    """Each pair once, smaller index first, with its smallest distance."""
    pairs = np.sort(np.concatenate([each for each, _ in found] or [np.zeros((0, 2), np.int32)]), axis=1)
    distance = np.concatenate([each for _, each in found] or [np.zeros(0, np.float32)])
    order = np.lexsort((distance, pairs[:, 1], pairs[:, 0]))
    pairs, distance = pairs[order], distance[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(1)
    first &= pairs[:, 0] != pairs[:, 1]
    return pairs[first], distance[first]


def _allowed(target: Float[np.ndarray, "images numbers"], distance: Float[np.ndarray, " pairs"]) -> float:
    """The largest of `DISTANCES` at which chance look-alikes are at most `LOOK_ALIKE_SHARE` of the pairs found.

    Look-alikes are counted where there are no copies (distances .2 to .4, against a sample of the images) and carried to
    small distances by the power law that their numbers follow.
    """
    n = len(target)
    # Beware: a small sample makes the answer hang on the order of the files; up to EXHAUSTIVE images all are counted
    sample = np.random.Generator(np.random.PCG64(1)).permutation(n)[:EXHAUSTIVE]
    near, far = (max(1, count) * n / (2 * len(sample)) for count in _strangers(target, sample, (0.25, 0.4)))
    power = max(1.0, float(np.log(far / near) / np.log(0.4 / 0.25)))
    for allowed in DISTANCES:
        if near * (allowed / 0.25) ** power <= LOOK_ALIKE_SHARE * max(1, int((distance <= allowed).sum())):
            return allowed
    return DISTANCES[-1]


def _strangers(target: Float[np.ndarray, "images numbers"], sample: np.ndarray, within: tuple[float, ...]) -> list[int]:
    """How many pairs (sampled image, any image) lie at a distance above .15 and within each of the given ones."""
    counts, rows, columns = [0] * len(within), target[sample].astype(np.float32), np.argsort(sample)
    for first in range(0, len(target), BLOCK):
        cosine = rows @ target[first : first + BLOCK].astype(np.float32).T
        here = columns[slice(*np.searchsorted(sample[columns], (first, first + BLOCK)))]
        cosine[here, sample[here] - first] = 1  # an image is no stranger to itself
        closer = int((cosine > 0.85).sum())
        counts = [count + int((cosine > 1 - distance).sum()) - closer for count, distance in zip(counts, within, strict=True)]
    return counts


def _largest_group(pairs: Int[np.ndarray, "pairs 2"], count: int) -> int:
    """Images in the largest group that the pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return int(np.bincount(connected_components(links, directed=False)[1]).max())
