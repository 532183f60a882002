"""The next task from the last one: which shape is in a made-up picture; then, with few labels, what several shapes have in common.

python examples/chain.py
"""

import numpy as np

import headstart as hs

SHAPES = {"disc": ["round"], "ring": ["round", "hollow"], "square": ["angular"], "frame": ["angular", "hollow"]}


def picture(number: int) -> tuple[np.ndarray, str]:
    """An image [64, 64, 3] in loud noise, and the shape in it."""
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 150, (64, 64, 3), dtype=np.uint8)
    row, column, half, shape = *draw.integers(24, 40, 2), draw.uniform(9, 22), list(SHAPES)[number % 4]
    y, x = np.mgrid[:64, :64]
    far = np.hypot(y - row, x - column) if "round" in SHAPES[shape] else np.maximum(abs(y - row), abs(x - column))
    pixels[abs(far - half) < 3 if "hollow" in SHAPES[shape] else far < half] += draw.integers(40, 90, 3, dtype=np.uint8)
    return pixels, shape


def main(epochs: int = 4) -> hs.Learner:
    pictures, shapes = zip(*(picture(number) for number in range(320)), strict=True)
    # a run that keeps row 0 has the layers that it came with: here the last row is kept
    first = hs.Learner(hs.from_arrays(pictures[:240], shapes[:240], valid=0.2), keep="last").fine_tune(epochs)
    labels = [SHAPES[shape] for shape in shapes[240:]]
    few = hs.from_arrays(pictures[240:], labels, valid=0.5)
    afresh = hs.Learner(few, task="multi_label").fine_tune(0)
    chained = hs.Learner(few, task="multi_label", backbone=first.run.path).fine_tune(0)
    print("on the pretrained layers:", afresh.evaluate())
    print("on those of the first task:", chained.evaluate())
    print(chained.predict(pictures[240]), "truly", shapes[240])
    return chained


if __name__ == "__main__":
    main()
