"""A class from a text: a sentence encoder on made-up film reviews.

pip install "headstart[text]"
python examples/texts.py
"""

import numpy as np

import headstart as hs

PRAISE = ("a joy from start to end", "warm and clever", "I would see it again", "the best of the year", "moving, funny, wise")
BLAME = ("two hours I will not get back", "dull and loud", "I left early", "the worst of the year", "clumsy, cold, long")
ABOUT = ("the story is", "the acting is", "all in all", "my friends said", "as the critics wrote", "for a first film:")


def reviews(count: int = 200) -> tuple[list[str], list[str]]:
    """Texts and what they say of a film."""
    draw = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(count):
        said = [f"{draw.choice(ABOUT)} {draw.choice(PRAISE if number % 2 else BLAME)}" for _ in range(draw.integers(1, 4))]
        texts.append(f"{'; '.join(said)} ({number})")
        labels.append("good" if number % 2 else "bad")
    return texts, labels


def main(epochs: int = 1) -> hs.Learner:
    learn = hs.Learner(hs.from_arrays(*reviews()))
    learn.fine_tune(epochs)
    print(learn.predict(["wise and warm, I laughed a lot", "so long, so loud"]))
    return learn


if __name__ == "__main__":
    main()
