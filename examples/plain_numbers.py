"""A number from plain numbers: Bayesian linear regression on made-up houses, with an interval for each price.

python examples/plain_numbers.py
"""

import numpy as np

import headstart as hs


def houses(count: int = 400) -> tuple[dict[str, list[float]], list[float]]:
    """Area, rooms and year of each house, and its price in thousands, with noise of deviation 20; some years are not known."""
    draw = np.random.default_rng(0)
    area, rooms, built = draw.uniform(40, 220, count), draw.integers(1, 7, count), draw.integers(1900, 2025, count).astype(float)
    price = 2.1 * area + 8 * rooms + 0.6 * (built - 1900) + draw.normal(0, 20, count)
    built[draw.random(count) < 0.1] = np.nan
    return {"area": area.tolist(), "rooms": rooms.tolist(), "built": built.tolist()}, price.tolist()


def main(epochs: int = 0) -> hs.Learner:
    table, prices = houses()
    data = hs.from_arrays(table, prices, valid=0.2, test=0.2)
    learn = hs.Learner(data, task="regression", metrics=["rmse", "r2", "coverage"])
    learn.fine_tune(epochs)
    print(learn.predict({"area": [120.0, 60.0], "rooms": [4, 2], "built": [1987, None]}))
    print(learn.evaluate(part="test"))
    return learn


if __name__ == "__main__":
    main()
