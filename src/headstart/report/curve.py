"""The learning curve: losses and metrics of every row, with their 95 % bands, as SVG, PNG or a figure."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import Row
from headstart.errors import UsageError
from headstart.train.observers.rows import interval, is_marked, metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALID, METRICS, QUIET = "#8a8f98", "#1f6fb4", ("#c2571a", "#2b8a4b", "#7a4fb0", "#b0306a"), "#6b7076"
MARKER = 5.5


def figure(rows: Sequence[Row], title: str = "") -> "Figure":
    """The learning curve as a matplotlib figure that belongs to no window and no global state.

    The losses are on the left, in nats; each metric has a panel of its own, with its 95 % interval as a band. The head
    (row 0) is an open diamond, the lowest validation loss is ringed.

    Raises:
        UsageError: when there is no row to draw.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise UsageError("there is no learning curve yet: the run has no rows. Train first, e.g. learn.fine_tune(3).")
    names = list(dict.fromkeys(name for row in rows for name in metric_names(row)))
    panels = 1 + len(names)
    across = min(panels, 3)
    down = -(-panels // across)
    drawing = Figure(figsize=(0.6 + 3.7 * across, 0.4 + 2.9 * down), layout="constrained")
    axes = [drawing.add_subplot(down, across, place + 1) for place in range(panels)]
    _losses(axes[0], rows)
    for place, name in enumerate(names):
        _metric(axes[1 + place], rows, name, METRICS[place % len(METRICS)])
    if title:
        drawing.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    return drawing


def svg(rows: Sequence[Row], title: str = "") -> str:
    """The learning curve as SVG text; equal rows give equal text."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "headstart"}):
        buffer = io.StringIO()
        figure(rows, title).savefig(buffer, format="svg", metadata={"Date": None, "Creator": "headstart"})
    return buffer.getvalue()


def png(rows: Sequence[Row], title: str = "", dpi: int = 130) -> bytes:
    """The learning curve as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure(rows, title).savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(rows: Sequence[Row], path: str | Path, title: str = "") -> Path:
    """Writes the learning curve to `path`, whose ending (.svg or .png) says how, and gives the path back.

    Raises:
        UsageError: for any other ending.
    """
    from headstart.store.atomic import write_bytes, write_text

    target = Path(path)
    match target.suffix.lower():
        case ".svg":
            write_text(target, svg(rows, title))
        case ".png":
            write_bytes(target, png(rows, title))
        case other:
            raise UsageError(f'a learning curve is saved as .svg or .png, not "{other}" (asked for: {target}).')
    return target


def _series(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _losses(axes: "Axes", rows: Sequence[Row]) -> None:
    trained = [row for row in rows if not is_marked(row)]
    if trained:
        axes.plot(*_series(trained, "train_loss"), color=TRAIN, linewidth=1.6, marker="o", markersize=3, label="train_loss")
    axes.plot(*_series(rows, "valid_loss"), color=VALID, linewidth=2, marker="o", markersize=3, label="valid_loss")
    _band(axes, rows, "valid_loss", VALID)
    marked = [row for row in rows if is_marked(row)]
    for row in marked:
        axes.plot(row["epoch"], row["train_loss"], **_diamond(TRAIN), label="train_loss, un-augmented")
    _head(axes, rows, "valid_loss", VALID)
    _best(axes, rows)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, labelcolor=QUIET)
    _dress(axes, rows, "loss (nats)")


def _metric(axes: "Axes", rows: Sequence[Row], name: str, colour: str) -> None:
    epochs, values = _series(rows, name)
    axes.plot(epochs, values, color=colour, linewidth=2, marker="o", markersize=3)
    _band(axes, rows, name, colour)
    _head(axes, rows, name, colour)
    if epochs:
        axes.annotate(
            f"{values[-1]:.3f}", (epochs[-1], values[-1]), xytext=(6, 5), textcoords="offset points", fontsize=8.5, color=colour
        )
    _dress(axes, rows, f"{name}, 95 % interval" if any(interval(row, name) for row in rows) else name)


def _band(axes: "Axes", rows: Sequence[Row], name: str, colour: str) -> None:
    known = [(row["epoch"], bounds) for row in rows if (bounds := interval(row, name)) is not None]
    if len(known) == 1:
        epoch, (low, high) = known[0]
        axes.vlines(epoch, low, high, color=colour, linewidth=6, alpha=0.18)
    elif known:
        epochs = [epoch for epoch, _ in known]
        axes.fill_between(
            epochs, [low for _, (low, _) in known], [high for _, (_, high) in known], color=colour, alpha=0.15, linewidth=0
        )


def _head(axes: "Axes", rows: Sequence[Row], name: str, colour: str) -> None:
    for row in rows:
        if row["epoch"] == 0 and row.get(name) is not None:
            axes.plot(0, row[name], **_diamond(colour))


def _diamond(colour: str) -> dict[str, Any]:
    return {
        "marker": "D",
        "markersize": MARKER,
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.5,
        "linestyle": "none",
        "zorder": 4,
    }


def _best(axes: "Axes", rows: Sequence[Row]) -> None:
    known = [row for row in rows if row.get("valid_loss") is not None]
    if len(known) > 1:
        best = min(known, key=lambda row: row["valid_loss"])
        axes.plot(
            best["epoch"],
            best["valid_loss"],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=VALID,
            markeredgewidth=1,
            linestyle="none",
            label="lowest valid_loss",
        )


def _dress(axes: "Axes", rows: Sequence[Row], title: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title, loc="left", fontsize=9.5, color="#22262b", parse_math=False)
    axes.set_xlabel("epoch (0 = head)" if rows[0]["epoch"] == 0 else "epoch", fontsize=8.5, color=QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9cdd2")
    axes.tick_params(labelsize=8, colors=QUIET, length=0)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    last = max(row["epoch"] for row in rows)
    axes.set_xlim(rows[0]["epoch"] - 0.35, max(last, 1) + 0.65)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if value <= last else ""))
