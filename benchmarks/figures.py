"""Pictures of quality against time, from the rows of `quality.py`: docs/figures/quality_<set>.png.

    python benchmarks/figures.py [--results FOLDER] [--out FOLDER] [--minutes 3] [--peer-minutes fastai=30] [--sets NAME ...]

One panel for the NLL, one for the errors. Thin lines are single seeds, thick ones their median. Of headstart: the rows on valid
of the run by the clock, and on test the kept row of every budget that was run (row 0 first), each at the time its process took.
Of a peer: every epoch on valid and on test, at the pace that was measured on the idle machine, and its kept epoch on test.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import quality
from entrants import parse_minutes, theirs
from harness import RESULTS, ROOT, Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sets import SETS

Row = dict[str, Any]
Point = tuple[float, float]
COLOURS = {"headstart": "#1f6fb4", "fastai": "#c2571a", "bare": "#6b7076", "trainer": "#3f8f5b"}
QUIET, INK = "#6b7076", "#22262b"
COLUMNS = (("valid_loss", "test_loss", "nll", "NLL (nats)"), ("error_rate", "test_error_rate", "error_rate", "error rate"))


def minutes_at(row: Row, place: int) -> float:
    """When the `place`-th entry of a row's curve was reached, in minutes; by the peer's pace where there is one."""
    entry = row["curve"][place]
    if "pace" in row:
        before, epoch, _ = row["pace"]
        return (before + entry["epoch"] * epoch) / 60
    return entry["seconds"] / 60


def curve(row: Row, column: str) -> list[Point]:
    """(minutes, value) of a column of the curve, where it is known."""
    entries = enumerate(row["curve"])
    return [(minutes_at(row, place), entry[column]) for place, entry in entries if entry.get(column) is not None]


def middle(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """The median of curves, point by point as far as half of them go."""
    longest = max((len(each) for each in curves), default=0)
    points = []
    for place in range(longest):
        here = [each[place] for each in curves if len(each) > place]
        if 2 * len(here) >= len(curves):
            points.append((statistics.median(x for x, _ in here), statistics.median(y for _, y in here)))
    return points


def budgets(rows: Sequence[Row], figure: str) -> list[list[Point]]:
    """For every seed what headstart reached on test within each budget, in order of time."""
    ours = [row for row in rows if row["entrant"].startswith("headstart")]
    seeds = sorted({row["repeat"] for row in ours})
    return [sorted((row["taken"] / 60, row["test"][figure]) for row in ours if row["repeat"] == seed) for seed in seeds]


def draw(axes: Axes, curves: Sequence[Sequence[Point]], colour: str, label: str, dashed: bool) -> None:
    """Thin lines, and their median."""
    style = "--" if dashed else "-"
    for each in curves:
        axes.plot(*zip(*each), style, color=colour, linewidth=0.7, alpha=0.35) if each else None
    if points := middle(curves):
        marker = "o" if len(points) < 15 else ""
        axes.plot(*zip(*points), style, color=colour, linewidth=2, marker=marker, markersize=3.5, label=label)


def figure(name: str, rows: Sequence[Row], minutes: float, peers: dict[str, float]) -> Figure:
    """Both panels of one set."""
    picture = Figure(figsize=(10, 4.2), layout="constrained")
    of = {"headstart": quality.ours(minutes)} | {peer: theirs(peer, budget) for peer, budget in peers.items()}
    splits = {who: len({row["repeat"] for row in rows if row["entrant"] == entrant}) for who, entrant in of.items()}
    told = ", ".join(f"{who} {count}" for who, count in splits.items() if count)
    picture.suptitle(f"{name} (splits: {told})", x=0.01, ha="left", fontsize=11, color=INK)
    for place, (valid, test, kept, title) in enumerate(COLUMNS):
        axes = picture.add_subplot(1, 2, place + 1)
        main_runs = [row for row in rows if row["entrant"] == quality.ours(minutes)]
        draw(axes, [curve(row, valid) for row in main_runs], COLOURS["headstart"], f"headstart {minutes:g} min, valid", True)
        draw(axes, budgets(rows, kept), COLOURS["headstart"], "headstart, kept row of each budget, test", False)
        for peer, budget in peers.items():
            runs = [row for row in rows if row["entrant"] == theirs(peer, budget)]
            draw(axes, [curve(row, valid) for row in runs], COLOURS[peer], f"{peer}, valid", True)
            draw(axes, [curve(row, test) for row in runs], COLOURS[peer], f"{peer}, test", False)
            ends = [(row["minutes_at_pace"], row["test"][kept]) for row in runs]
            if ends:
                label = f"{peer}, its kept epoch, test"
                axes.plot(*zip(*ends), "D", color=COLOURS[peer], markerfacecolor="white", markersize=5, label=label)
        dress(axes, title)
    handles, labels = picture.axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=7.5, labelcolor=QUIET)
    return picture


def dress(axes: Axes, title: str) -> None:
    """Axes for reading: minutes on a logarithmic scale with plain numbers, values from zero."""
    axes.set_title(title, loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel("minutes on two cores", fontsize=8.5, color=QUIET)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 60) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=QUIET, length=0)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)


def main() -> None:
    """Draws every set that has rows of headstart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--peer-minutes", nargs="+", default=[], metavar="NAME=MINUTES")
    parser.add_argument("--sets", nargs="+")
    asked = parser.parse_args()
    rows = [row for row in Table("quality", asked.results).rows() if not row["entrant"].endswith(" pace")]
    for name in asked.sets or list(dict.fromkeys((*SETS, *(row["case"] for row in rows)))):
        of = [row for row in rows if row["case"] == name]
        if any(row["entrant"] == quality.ours(asked.minutes) for row in of):
            asked.out.mkdir(parents=True, exist_ok=True)
            target = asked.out / f"quality_{name}.png"
            figure(name, of, asked.minutes, parse_minutes(asked.peer_minutes)).savefig(target, dpi=120)
            print(target)


if __name__ == "__main__":
    main()
