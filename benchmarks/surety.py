"""Pictures of how sure a model is and how right: reliability, and risk against coverage. Written to docs/figures/surety.png.

    python benchmarks/surety.py --data trashnet=FOLDER [--sets solar_cells trashnet textile] [--peer-python PYTHON] [--to FILE]

On each set the head is solved (seed 0) and its default posterior answers for the test part, which nothing else has read.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, Quiet
from sets import Divided, available, divided, files_in, parse_folders

from headstart.metrics import calibration
from headstart.metrics.measured import wilson

BINS = 8


def answers(split: Divided) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and true classes of the test part."""
    import headstart as hs

    files = files_in(split.test)
    with tempfile.TemporaryDirectory() as folder:
        learn = hs.Learner(hs.image_folder(split.folder), observer=Quiet(), run=Path(folder) / "run").fine_tune(0)
        said = learn.predict([str(file) for file in files])
        return np.array([one.values for one in said]), np.array([learn.task.names.index(file.parent.name) for file in files])


def drawn(found: dict[str, tuple[np.ndarray, np.ndarray]], target: Path) -> None:
    """Both pictures side by side, a colour for each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0.3, 1], [0.3, 1], color="#9aa0a6", linewidth=1, linestyle="--")
    for colour, (name, (probs, truths)) in zip(("#1f6f8b", "#c0562b", "#5b7f2f", "#7b4a9e", "#8a6d1f"), found.items()):
        confidence, hit = probs.max(1), probs.argmax(1) == truths
        order = np.argsort(confidence)
        middles, shares, reach = [], [], []
        for part in np.array_split(order, BINS):
            share = hit[part].mean()
            low, high = wilson(hit[part].sum(), len(part))
            middles.append(confidence[part].mean())
            shares.append(share)
            reach.append((share - low, high - share))
        error = calibration.ece_debiased(probs, truths).value
        left.errorbar(
            middles,
            shares,
            np.array(reach).T,
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.2,
            label=f"{name}, {error:.3f} off",
        )
        surest = order[::-1]
        risk = np.cumsum(~hit[surest]) / np.arange(1, len(surest) + 1)
        right.plot(
            np.arange(1, len(surest) + 1) / len(surest),
            100 * risk,
            color=colour,
            linewidth=1.4,
            label=f"{name}, {100 * risk[-1]:.1f} % of all",
        )
    left.set(xlabel="how sure it says it is", ylabel="how often it is right", title="Reliability: on the line is honest")
    right.set(
        xlabel="share of the images that it answers, the surest first",
        ylabel="wrong among them, %",
        title="Risk against coverage",
    )
    right.set_ylim(bottom=-0.5)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Trains, asks, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", default=["solar_cells", "trashnet", "textile"])
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "figures" / "surety.png")
    asked = parser.parse_args()
    found: dict[str, Any] = {
        name.replace("_", " "): answers(divided(name, read, 0))
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items()
    }
    drawn(found, asked.to)


if __name__ == "__main__":
    main()
