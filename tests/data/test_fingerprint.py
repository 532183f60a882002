"""Near-duplicates: planted copies are found, strangers and look-alikes are not, and the fast search agrees with the slow one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from headstart.data import _fingerprint
from headstart.data._fingerprint import SIDE, _largest_group, copies, thumbnail


def scene(seed, side=96):
    """A picture with the 1/f spectrum of photographs."""
    random = np.random.default_rng(seed)
    spectrum = random.normal(size=(side, side)) + 1j * random.normal(size=(side, side))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) + 1 / side
    values = np.fft.ifft2(spectrum / frequency**1.3).real
    values = 128 + 50 * (values - values.mean()) / values.std()
    return Image.fromarray(np.stack([values, values * 0.8 + 20, 255 - values], -1).clip(0, 255).astype(np.uint8))


def jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=25)
    return Image.open(io.BytesIO(buffer.getvalue()))


EDITS = {
    "re-encoded": jpeg,
    "smaller": lambda picture: picture.resize((40, 40)),
    "wider": lambda picture: picture.resize((140, 96)),
    "cut": lambda picture: picture.crop((4, 4, 92, 92)),
    "mirrored": ImageOps.mirror,
    "grey": lambda picture: picture.convert("L"),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "flatter": lambda picture: ImageEnhance.Contrast(picture).enhance(0.6),
    "blurred": lambda picture: picture.resize((24, 24)).resize((96, 96)),
}


def thumbs(pictures):
    return np.stack([thumbnail(picture) for picture in pictures])


@pytest.fixture(scope="module")
def strangers():
    return thumbs([scene(i) for i in range(200)])


@pytest.mark.parametrize("edit", EDITS)
def test_copies_of_every_kind_are_found_and_nothing_else(strangers, edit):
    edited = thumbs([EDITS[edit](scene(i)) for i in range(20)])
    found = copies(np.concatenate([strangers, edited]))
    expected = {(i, 200 + i) for i in range(20)}
    got = set(map(tuple, found.pairs.tolist()))
    assert len(got & expected) >= 18
    assert got <= expected


def test_strangers_have_no_pairs(strangers):
    assert len(copies(strangers).pairs) == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_small_sets(count):
    pictures = thumbs([scene(i) for i in range(count)]) if count else np.zeros((0, SIDE, SIDE), np.uint8)
    assert len(copies(pictures).pairs) == 0
    if count >= 2:
        twins = np.concatenate([pictures, thumbs([jpeg(scene(0))])])
        assert copies(twins).pairs.tolist() == [[0, count]]


def test_flat_images_are_copies_of_nothing():
    black = np.zeros((5, SIDE, SIDE), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]
    assert len(copies(black).pairs) == 0
    mixed = np.concatenate([black, thumbs([scene(0), jpeg(scene(0))])])
    assert copies(mixed).pairs.tolist() == [[5, 6]]


def test_look_alikes_with_a_common_pattern_are_not_chained():
    """Like solar cells: one strong pattern, faint differences; a planted copy must still stand out."""
    y, x = np.mgrid[0:96, 0:96]
    pattern = 150 + 60 * (y % 32 > 3) + 20 * np.cos(x / 15)

    def cell(seed):
        grain = np.asarray(scene(seed).convert("L")).astype(float) - 128
        return Image.fromarray((pattern + 0.15 * grain).clip(0, 255).astype(np.uint8))

    cells = [cell(i) for i in range(300)]
    raw = thumbs(cells).reshape(300, -1).astype(float)
    raw -= raw.mean(1, keepdims=True)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.median(raw @ raw.T) > 0.95, "they look alike"
    found = copies(thumbs([*cells, jpeg(cells[7]), ImageEnhance.Brightness(cells[11]).enhance(0.9)]))
    assert found.pairs.tolist() == [[7, 300], [11, 301]]


def test_a_continuum_of_look_alikes_lowers_the_distance():
    """Frames of a slow film: neighbours are arbitrarily near, so only the nearest may count."""
    first = np.asarray(scene(0).convert("L")).astype(float)
    others = [np.asarray(scene(i).convert("L")).astype(float) for i in range(2, 12)]
    film = []
    for other in others:
        film += [first + (other - first) * t for t in np.linspace(0, 1, 40)]
    found = copies(thumbs([Image.fromarray(frame.clip(0, 255).astype(np.uint8)) for frame in film]))
    assert found.distance < _fingerprint.DISTANCES[0]
    assert len(found.pairs) > 0
    assert _largest_group(found.pairs, 400) <= 40


def test_the_hashed_search_finds_what_the_exhaustive_one_finds(monkeypatch):
    random = np.random.default_rng(0)
    coarse = random.normal(size=(1500, 8, 8)).astype(np.float32)
    pictures = np.stack([np.asarray(Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for each in coarse])
    pictures = 128 + 40 * pictures
    pictures[1000:1100] = pictures[:100] + random.normal(size=(100, SIDE, SIDE)) * 2
    pictures[1100:1200] = pictures[200:300, :, ::-1] + random.normal(size=(100, SIDE, SIDE)) * 2
    pictures = pictures.clip(0, 255).astype(np.uint8)
    exact = copies(pictures)
    monkeypatch.setattr(_fingerprint, "EXHAUSTIVE", 10)
    hashed = copies(pictures)
    slow, fast = (set(map(tuple, each.pairs.tolist())) for each in (exact, hashed))
    assert fast <= slow
    assert len(slow) >= 195
    assert len(fast) >= 0.95 * len(slow)
    assert exact.distance == hashed.distance


def test_pairs_are_ordered_and_unique(strangers):
    twins = np.concatenate([strangers[:30], strangers[:30], strangers[:30]])
    pairs = copies(twins).pairs
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs) == 90


def compared(pictures, monkeypatch):
    """How many pairs the search for large sets compares."""
    count = 0
    original = _fingerprint._Tables._compared

    def counting(self, query, i, j, first, least):
        nonlocal count
        count += len(i)
        yield from original(self, query, i, j, first, least)

    monkeypatch.setattr(_fingerprint, "EXHAUSTIVE", 10)
    monkeypatch.setattr(_fingerprint._Tables, "_compared", counting)
    copies(pictures)
    monkeypatch.undo()
    return count


def test_comparisons_grow_with_the_images_and_not_with_their_square(monkeypatch):
    random = np.random.default_rng(0)
    coarse = random.normal(size=(1600, 8, 8)).astype(np.float32)
    pictures = np.stack([np.asarray(Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for each in coarse])
    pictures = (128 + 40 * pictures).clip(0, 255).astype(np.uint8)
    few, many = (compared(pictures[:count], monkeypatch) for count in (400, 1600))
    assert many < 1.5 * 4 * few
    assert many < 1600 * 1600 / 4


@pytest.mark.slow
def test_a_set_full_of_copies_keeps_few_pairs_and_finds_all_of_them(monkeypatch):
    """One picture a hundred times, in noise: all belong together, though nearly five thousand pairs are not remembered."""
    random = np.random.default_rng(0)
    first = thumbs([scene(0)])
    same = (first + random.integers(0, 2, (100, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    pictures = np.concatenate([same, thumbs([scene(i) for i in range(1, 1001)])])
    monkeypatch.setattr(_fingerprint, "EXHAUSTIVE", 10)
    monkeypatch.setattr(_fingerprint, "FEW_PAIRS", 10)
    monkeypatch.setattr(_fingerprint, "PAIRS_KEPT", 2)
    found = copies(pictures)
    assert len(found.pairs) <= 2 * len(pictures)
    assert set(np.unique(found.pairs).tolist()) == set(range(100))
    assert _largest_group(found.pairs, len(pictures)) == 100


def test_images_that_are_not_asked_have_no_pairs(strangers):
    twins = np.concatenate([strangers[:30], strangers[:30]])
    among = np.ones(60, bool)
    among[5] = False
    assert copies(twins, among).pairs.tolist() == [[i, 30 + i] for i in range(30) if i != 5]


def test_what_is_read_in_blocks_is_what_is_read_at_once(strangers, monkeypatch):
    twins = np.concatenate([strangers, strangers[:50]])
    whole = copies(twins)
    monkeypatch.setattr(_fingerprint, "BLOCK", 37)
    parts = copies(twins)
    assert parts.pairs.tolist() == whole.pairs.tolist()
    assert parts.distance == whole.distance
