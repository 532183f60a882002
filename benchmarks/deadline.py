"""Is the clock respected, and is a schedule that knows the deadline worth it?

    python benchmarks/deadline.py [--data NAME=FOLDER ...] [--sets solar_cells] [--minutes 0.5 1 3 10] [--repeats 3] [--busy 0 1 2]
    python benchmarks/deadline.py --truncated [--minutes 3] [--seeds 3] [--sets ...]

The first runs whole processes of `headstart train FOLDER --minutes M --json`, measured from their start to their end by the
operating system, each with an empty cache, beside as many processes that keep a core busy as `--busy` says (0: none). A run is
in time when it ends within 2 % or 2 s of what was asked, early or late.

`--truncated` gives equal minutes to the run as it is and to the same run without a schedule for the deadline: planned for twice
the minutes and cut off at the deadline, at its full rate. The one cut off is judged with its weights as they are then (its time
for evaluation and saving is a present to it), and once more with its head solved on its features, so that what the descent of
the rate is worth can be told from what solving is worth. Both runs keep their last row; parts and judging are those of quality.py.
Rows already in results/deadline.jsonl are not run again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import entrants
from harness import RESULTS, Table, headstart, last_json, measure, stoppable
from paired import NO_ERRORS, compared, markdown, ratios
from sets import PLACE, Divided, available, divided, parse_folders

Row = dict[str, Any]
WITHIN_SECONDS, WITHIN_SHARE, RATE_SHARE = 2.0, 0.02, 0.01


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def timed(split: Divided, minutes: float, processes: int, options: list[str]) -> Row:
    """One whole `headstart train`: when it ended, and at which rate."""
    with tempfile.TemporaryDirectory() as place, busy(processes):
        run = Path(place) / "run"
        command = headstart("train", str(split.folder), "--minutes", f"{minutes:g}", "--json", "--run", str(run), *options)
        found = measure(command, entrants.ours_environment(Path(place) / "cache"), Path(place))
        summary = last_json(found.pop("printed"))
        phases = json.loads((run / "plan.json").read_text())["phases"]
    rows = summary["rows"]
    return {
        **found,
        "asked": 60 * minutes,
        "off": round(found["wall"] - 60 * minutes, 2),
        "rate_share": last_rate(rows, phases),
        "kept": summary["kept"],
        "said": summary["seconds"],
        "rows": rows,
    }


def last_rate(rows: list[Row], phases: list[Row]) -> float | None:
    """The last step's learning rate as a share of the peak; None when no step was made."""
    if not phases or rows[-1]["lr"] is None:
        return None
    return rows[-1]["lr"] / (phases[-1]["lr"] * max(1.0, phases[-1]["head_lr_scale"]))


def in_time(row: Row) -> bool:
    """Within 2 % or 2 s of what was asked."""
    return abs(row["off"]) <= max(WITHIN_SECONDS, WITHIN_SHARE * row["asked"])


def told(row: Row) -> list[object]:
    """A line of the table."""
    share = row["rate_share"]
    rate = "no step" if share is None else f"{100 * share:.2f} %" + ("" if share < RATE_SHARE else " TOO HIGH")
    off = f"{row['off']:+.1f} s ({100 * row['off'] / row['asked']:+.1f} %)"
    timing = [f"{row['asked']:g} s", f"{row['wall']:.1f} s", off, "yes" if in_time(row) else "NO"]
    return [row["case"], row["repeat"], *timing, rate, len(row["rows"]), row["kept"]]


def clock_report(rows: list[Row]) -> str:
    """Every run by the clock, those that missed it too."""
    rows = sorted((row for row in rows if row["entrant"] == "clock"), key=lambda row: (row["case"], row["repeat"]))
    if not rows:
        return "no run by the clock yet."
    head = ["run", "repeat", "asked", "taken", "off by", "in time", "last rate / peak", "rows", "kept row"]
    cases = {case: [row for row in rows if row["case"] == case] for case in dict.fromkeys(row["case"] for row in rows)}
    counts = [f"{case}: in time {sum(map(in_time, of))} of {len(of)}" for case, of in cases.items()]
    stepped = [row for row in rows if row["rate_share"] is not None]
    low = sum(row["rate_share"] < RATE_SHARE for row in stepped)
    words = [*counts, f"all: in time {sum(map(in_time, rows))} of {len(rows)}"]
    words.append(f"last rate below 1 % of the peak: {low} of {len(stepped)} runs with steps ({len(rows) - len(stepped)} without)")
    return markdown(head, [told(row) for row in rows]) + "\n\n" + "\n".join(words) + "\n"


# ---------------------------------------------------------------------------------------------------------- truncated


def truncated_report(rows: list[Row], minutes: float) -> str:
    """The annealed run against the one cut off: ratios below 1 and fewer errors speak for annealing."""
    lines, pooled = [], {"as it was": NO_ERRORS, "head solved": NO_ERRORS}
    annealed = {(row["case"], row["repeat"], row["split"]): row for row in rows if row["entrant"] == f"annealed {minutes:g} min"}
    cut = {(row["case"], row["repeat"], row["split"]): row for row in rows if row["entrant"] == f"cut off {minutes:g} min"}
    for case in dict.fromkeys(key[0] for key in annealed):
        keys = [key for key in annealed if key[0] == case and key in cut]
        for how in pooled if keys else ():
            tests = [cut[key] if how == "as it was" else cut[key]["solved"] for key in keys]
            nll = ratios([annealed[key]["test"]["nll"] for key in keys], [other["test"]["nll"] for other in tests])
            pairs = zip(keys, tests)
            wrong = sum((compared(other["wrong"], annealed[k]["wrong"], other["test"]["n"]) for k, other in pairs), NO_ERRORS)
            pooled[how] += wrong
            valid = [f"{annealed[k]['valid']['nll']:.3f}/{other['valid']['nll']:.3f}" for k, other in zip(keys, tests)]
            steps = " ".join(f"{annealed[key]['steps']}/{cut[key]['steps']}" for key in keys)
            lines.append([case, how, nll, " ".join(valid), steps, wrong])
    if not lines:
        return "no pair of an annealed run and one cut off yet."
    head = [
        "set",
        "the one cut off",
        "test NLL annealed / cut off",
        "valid NLL of both by seed",
        "steps of both",
        "errors cut off -> annealed",
    ]
    totals = "\n".join(f"errors pooled, cut off ({how}) -> annealed: {wrong}" for how, wrong in pooled.items())
    return f"{markdown(head, lines)}\n\n{totals}\n"


def cut_off(split: Divided, minutes: float, settings: list[str]) -> Row:
    """The run planned for twice the minutes and stopped at the deadline."""
    options = ("--minutes", f"{2 * minutes:g}", "--cut-off", f"{minutes:g}")
    return entrants.headstart(split, *options, settings=[*settings, 'keep="last"'])


def annealed(split: Divided, minutes: float, settings: list[str]) -> Row:
    """The run as it is."""
    return entrants.headstart(split, "--minutes", f"{minutes:g}", settings=[*settings, 'keep="last"'])


def main() -> None:
    """Runs what is missing, then prints the tables of all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", default=["solar_cells"])
    parser.add_argument("--minutes", type=float, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0], help="busy processes beside the run")
    parser.add_argument("--truncated", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--options", default="", help="for headstart train, e.g. '--backbone tiny'")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting for --truncated, in JSON")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that may have the packages of images")
    parser.add_argument("--place", type=Path, default=PLACE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    stoppable()
    table = Table("deadline", asked.results, here=True)
    read = {} if asked.report else available(asked.sets, parse_folders(asked.data), asked.peer_python)
    if asked.truncated:
        for minutes in asked.minutes or [3.0]:
            for seed in range(asked.seeds):
                for name in read:
                    split = divided(name, read[name], seed, asked.place)
                    for entrant, run in (("annealed", annealed), ("cut off", cut_off)):
                        run_it = partial(run, split, minutes, asked.set)
                        table.tried(f"{entrant} {minutes:g} min", name, seed, run_it, split=split.digest)
            print(truncated_report(table.rows(), minutes))
        return
    for repeat in range(asked.repeats):
        for minutes in asked.minutes or [0.5, 1.0, 3.0, 10.0]:
            for processes in asked.busy:
                for name in read:
                    split = divided(name, read[name], 0, asked.place)
                    beside = f", {processes} busy" if processes else ""
                    run_it = partial(timed, split, minutes, processes, asked.options.split())
                    table.tried("clock", f"{name}, {minutes:g} min{beside}", repeat, run_it, split=split.digest)
    print(clock_report(table.rows()))


if __name__ == "__main__":
    main()
