"""Any number of labels for an image: made-up pictures with a disc, a square, a stripe, or several of them.

python examples/several_labels.py
"""

import numpy as np

import headstart as hs

LABELS = ("disc", "square", "stripe")


def picture(number: int) -> tuple[np.ndarray, list[str]]:
    """An image [64, 64, 3] and what is in it."""
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 70, (64, 64, 3), dtype=np.uint8)
    y, x = np.mgrid[:64, :64]
    row, column = draw.integers(16, 48, 2)
    parts = {"disc": (y - row) ** 2 + (x - 20) ** 2 < 120, "square": abs(y - column) + abs(x - 48) < 12, "stripe": abs(y - 8) < 4}
    there = [name for name in LABELS if draw.random() < 0.5]
    for name in there:
        pixels[parts[name]] = draw.integers(150, 255, 3)
    return pixels, there


def main(epochs: int = 1) -> hs.Learner:
    pictures, labels = zip(*(picture(number) for number in range(200)), strict=True)
    learn = hs.Learner(hs.from_arrays(pictures, labels, valid=0.25), task="multi_label", metrics=["mAP", "f1", "hamming"])
    learn.fine_tune(epochs)
    print(learn.predict(list(pictures[:3])))
    print(learn.evaluate(per_class=True))
    return learn


if __name__ == "__main__":
    main()
