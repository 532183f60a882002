"""How masks are judged, the same for every entrant: how often each class was taken for each, and the loss of the true class."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")


def judged(pairs: Iterable[tuple[Path, np.ndarray]]) -> dict[str, list]:
    """For each (mask file, probabilities [classes, height, width] at its size): confusion [truth, said], and mean NLL in nats."""
    count, confusions, losses = len(CLASSES), [], []
    for file, probs in pairs:
        truth = np.array(Image.open(file))
        known = truth < count
        said = probs.argmax(0)
        confusions.append(np.bincount(truth[known].astype(int) * count + said[known], minlength=count**2).tolist())
        right = np.take_along_axis(probs, np.where(known, truth, 0)[None].astype(int), 0)[0]
        losses.append(float(-np.log(np.maximum(right[known], 1e-7)).mean()))
    return {"confusions": confusions, "losses": losses}
