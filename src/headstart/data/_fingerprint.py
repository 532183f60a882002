"""Copies found by small grey pictures: whitened low frequencies, compared by angle, looked up by hashed signs.

Most images of a data set share most of what a small picture shows (a sky above, a cell's bus bars). Dividing by the covariance
of the data set itself (shrunk to that of natural images, 1/f^2) leaves what tells its images apart: copies keep an angle near
zero after re-encoding, scaling, recolouring, small cuts or text, and strangers come near 90 degrees.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

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

_Found = tuple[np.ndarray, np.ndarray]
"""Pairs of rows [pairs, 2] and their distances [pairs]."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Pairs of images (first < second) that show the same, and the distance that was allowed."""

    pairs: Int[np.ndarray, "pairs 2"]
    distance: float


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "side side"]:
    """The whole image, grey, squeezed into `SIDE` x `SIDE`."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L"))


def copies(pictures: UInt8[np.ndarray, "images side side"]) -> Copies:
    """All pairs that show the same: as it is, mirrored, or one the middle of the other.

    Where look-alikes are many (cells of one ingot, frames of one film) no distance separates them from copies; then only
    the nearest count.
    """
    flat = pictures.reshape(len(pictures), SIDE * SIDE)
    base = _contrast(flat, _low_frequencies(np.eye(SIDE, dtype=np.float32)))
    visible = np.flatnonzero(np.linalg.norm(base, axis=1) > 0)
    if len(visible) < 2:
        return Copies(np.zeros((0, 2), np.int64), DISTANCES[0])
    flat, base = flat[visible], base[visible]
    whiten = _Whitening(base)
    target = whiten(base)
    queries = [target, *(whiten(_contrast(flat, view)) for view in _views())]
    near = _near_all if len(target) <= EXHAUSTIVE else _near_hashed
    pairs, distance = _distinct(list(near(queries, target, 1 - DISTANCES[0])))
    choices = [each for each in DISTANCES if each <= _allowed(target, distance)]
    large = max(LARGE_GROUP, LARGE_SHARE * len(target))
    unchained = (each for each in choices if _largest_group(pairs[distance <= each], len(target)) <= large)
    allowed = next(unchained, choices[-1])
    return Copies(visible[pairs[distance <= allowed]], allowed)


class _Whitening:
    """Unit vectors by which images of this data set are compared."""

    def __init__(self, base: Float32[np.ndarray, "images numbers"]) -> None:
        n = len(base)
        self.mean = base.sum(0) / (n + PRIOR_IMAGES)
        centred = base - self.mean
        frequency = np.add.outer(np.arange(LOW) ** 2, np.arange(LOW) ** 2).ravel()[1:].astype(np.float64)
        prior = 1 / frequency
        prior *= max(float((centred**2).sum(1).mean()), 1e-6) / prior.sum()
        covariance = (centred.T.astype(np.float64) @ centred + np.diag(PRIOR_IMAGES * prior)) / (n + PRIOR_IMAGES)
        values, vectors = np.linalg.eigh(covariance)
        self.matrix = (vectors / np.sqrt(np.maximum(values, 0) + NOISE)).astype(np.float32)

    def __call__(self, base: Float32[np.ndarray, "images numbers"]) -> Float32[np.ndarray, "images numbers"]:
        white = (base - self.mean) @ self.matrix
        return white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-9)


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


def _contrast(flat: UInt8[np.ndarray, "images pixels"], view: Float32[np.ndarray, "pixels numbers"]) -> np.ndarray:
    """Low frequencies of each picture in units of its contrast; zeros for those without any."""
    out = np.empty((len(flat), view.shape[1]), np.float32)
    for first in range(0, len(flat), BLOCK):
        part = flat[first : first + BLOCK].astype(np.float32) @ view
        contrast = np.linalg.norm(part, axis=1, keepdims=True) / SIDE
        out[first : first + BLOCK] = np.where(contrast < FLAT, 0, part / (contrast + SOFT_CONTRAST))
    return out


def _near_all(queries: list[np.ndarray], target: np.ndarray, least: float) -> Iterator[_Found]:
    """(pairs, distances) of query and target rows whose cosine is at least `least`; a row never meets itself."""
    for query in queries:
        for first in range(0, len(query), BLOCK):
            cosine = query[first : first + BLOCK] @ target.T
            i, j = np.nonzero(cosine >= least)
            yield np.stack([i + first, j], 1), 1 - cosine[i, j]


def _near_hashed(queries: list[np.ndarray], target: np.ndarray, least: float) -> Iterator[_Found]:
    """The same for large sets: only rows that share all signs along some table's random directions are compared."""
    n_bits = int(np.log2(len(target))) + 2
    random = np.random.Generator(np.random.PCG64(0))
    weights = 1 << np.arange(n_bits, dtype=np.int64)
    for _ in range(N_TABLES):
        directions = random.standard_normal((target.shape[1], n_bits)).astype(np.float32)
        code = (target @ directions > 0) @ weights
        order = np.argsort(code, kind="stable")
        ordered = code[order]
        for query in queries:
            asked = code if query is target else (query @ directions > 0) @ weights
            first = np.searchsorted(ordered, asked, "left")
            count = np.minimum(np.searchsorted(ordered, asked, "right") - first, BUCKET)
            i = np.repeat(np.arange(len(query)), count)
            offset = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
            yield from _compared(query, target, i, order[np.repeat(first, count) + offset], least)


def _compared(query: np.ndarray, target: np.ndarray, i: np.ndarray, j: np.ndarray, least: float) -> Iterator[_Found]:
    different = i != j
    i, j = i[different], j[different]
    for part in (slice(a, b) for a, b in pairwise([*range(0, len(i), 1 << 18), len(i)])):
        cosine = np.einsum("pk,pk->p", query[i[part]], target[j[part]])
        keep = cosine >= least
        yield np.stack([i[part][keep], j[part][keep]], 1), 1 - cosine[keep]


def _distinct(found: list[_Found]) -> _Found:
    """Each pair once, smaller index first, with its smallest distance."""
    pairs = np.sort(np.concatenate([each for each, _ in found] or [np.zeros((0, 2), np.int64)]), axis=1)
    distance = np.concatenate([each for _, each in found] or [np.zeros(0, np.float32)])
    order = np.lexsort((distance, pairs[:, 1], pairs[:, 0]))
    pairs, distance = pairs[order], distance[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(1)
    first &= pairs[:, 0] != pairs[:, 1]
    return pairs[first], distance[first]


def _allowed(target: Float32[np.ndarray, "images numbers"], distance: Float[np.ndarray, " pairs"]) -> float:
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


def _strangers(target: Float32[np.ndarray, "images numbers"], sample: np.ndarray, within: tuple[float, ...]) -> list[int]:
    """How many pairs (sampled image, any image) lie at a distance above .15 and within each of the given ones."""
    counts = [0] * len(within)
    for first in range(0, len(sample), BLOCK):
        rows = sample[first : first + BLOCK]
        cosine = target[rows] @ target.T
        cosine[np.arange(len(rows)), rows] = 1
        closer = int((cosine > 0.85).sum())
        counts = [count + int((cosine > 1 - distance).sum()) - closer for count, distance in zip(counts, within, strict=True)]
    return counts


def _largest_group(pairs: Int[np.ndarray, "pairs 2"], count: int) -> int:
    """Images in the largest group that the pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return int(np.bincount(connected_components(links, directed=False)[1]).max())
