"""What a ramp of learning rates tells: the losses over the rates as a picture, a suggestion, and how far to trust it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart.train import lr_find
from headstart.train.lr_find import Ramp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSS, SMOOTHED, CHOSEN, QUIET = "#b9bec5", "#1f6fb4", "#c2571a", "#6b7076"
CAUTION = (
    "Good for: seeing from which rate on training breaks down, and the order of magnitude that trains. It is one ramp over few\n"
    "batches and looks at no validation image, so it does not tell the best rate; after a solved head little loss is left to fall.\n"
    "Training would take {usual:g} by itself; the rate after a solved head, 3e-4, was chosen on several data sets (docs/log.md)."
)


@dataclass(frozen=True)
class LearningRates:
    """Losses at growing rates; printed, it says what follows from them. `suggestion` is a `base_lr`, None where no fall was seen."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    usual: float
    """The rate that training would take as the settings are."""
    head: str
    """What the ramp started from."""

    def plot(self) -> "Figure":
        """The losses over the rates as a matplotlib figure that belongs to no window and no global state."""
        from matplotlib.figure import Figure

        drawing = Figure(figsize=(6.2, 3.7), layout="constrained")
        axes = drawing.add_subplot()
        axes.set_xscale("log")
        axes.plot(self.rates, self.losses, color=LOSS, linewidth=1, marker="o", markersize=2.5, label="loss of each batch")
        axes.plot(self.rates, self.smoothed, color=SMOOTHED, linewidth=2, label="smoothed")
        if self.suggestion is not None:
            height = self.smoothed[self.rates.index(self.suggestion)]
            label = f"suggestion {self.suggestion:.1e}"
            axes.plot(self.suggestion, height, color=CHOSEN, marker="o", markersize=8, linestyle="none", label=label)
        axes.axvline(self.usual, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label=f"training takes {self.usual:g}")
        low, high = min(*self.losses, *self.smoothed), max(self.smoothed)
        axes.set_ylim(
            max(0.0, low - 0.08 * (high - low)), high + 0.12 * (high - low) + 1e-9
        )  # a last loss far away hides the rest
        axes.set_title("loss (nats) at growing rates", loc="left", fontsize=9.5, color="#22262b", parse_math=False)
        axes.set_xlabel(f"peak learning rate of the last stage; {self.head}", fontsize=8.5, color=QUIET, parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#c9cdd2")
        axes.tick_params(which="both", labelsize=8, colors=QUIET, length=0)
        axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8, labelcolor=QUIET, loc="upper left")
        return drawing

    def __repr__(self) -> str:
        lowest = self.smoothed.index(min(self.smoothed))
        said = (
            "No suggestion: the loss does not fall at any rate that was tried."
            if self.suggestion is None
            else f"Suggestion: base_lr={self.suggestion:.1e}, the middle of the longest fall."
        )
        return (
            f"LearningRates({len(self.rates)} rates from {self.rates[0]:.0e} to {self.rates[-1]:.1e}; the smoothed loss is lowest, "
            f"{self.smoothed[lowest]:.3f}, at {self.rates[lowest]:.1e}; {self.head})\n{said} Look at it: .plot()\n"
            + CAUTION.format(usual=self.usual)
        )


def of(found: Ramp, usual: float, head: str) -> LearningRates:
    """What the ramp tells; `usual` is the rate that training would take, `head` says what the ramp started from."""
    return LearningRates(found.rates, found.losses, found.smoothed, lr_find.valley(found), usual, head)
