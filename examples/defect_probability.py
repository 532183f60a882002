"""A number from an image: how probable a defect of a solar cell is, for 2,624 electroluminescence images.

pip install "headstart[demo]"
python examples/defect_probability.py
"""

import numpy as np
from elpv_dataset.utils import load_dataset

import headstart as hs


def main(epochs: int = 1, count: int | None = None) -> hs.Learner:
    images, probabilities, _ = load_dataset()
    chosen = np.arange(len(images)) if count is None else np.random.default_rng(0).permutation(len(images))[:count]
    data = hs.from_arrays([images[place] for place in chosen], probabilities[chosen].tolist(), valid=0.2, test=0.2)
    learn = hs.Learner(data, task="regression", metrics=["rmse", "r2", "coverage"], augment="dihedral")
    learn.fine_tune(epochs)
    print(learn.predict(images[0]), "truly", probabilities[0])
    print(learn.evaluate(part="test"))
    return learn


if __name__ == "__main__":
    main()
