"""The commands of the entrants of `quality.py`: each is one whole process on the same three folders, and gives one row.

The figures of a row are those of the kept epoch, chosen on valid, judged on test: `test` (nll, error_rate, n) and `wrong`, the
test images it got wrong. `curve` is what the entrant reached after how many seconds: headstart's rows, a peer's epochs.
"""

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import ROOT, Table, last_json, machine, measure
from sets import Divided

SCRIPTS = ROOT / "benchmarks/peers"
PEERS = {
    name: SCRIPTS / script
    for name, script in (("fastai", "fastai_fine_tune.py"), ("bare", "bare_loop.py"), ("trainer", "hf_trainer.py"))
}
MINUTES = {"fastai": 30.0, "bare": 3.0, "trainer": 30.0}
"""What each peer is given for the table of quality, where nothing else is asked."""
OURS = SCRIPTS / "headstart_run.py"
Script = Callable[..., dict[str, Any]]
"""The script of a peer with its places, which takes further options."""
Judged = Callable[[dict[str, Any]], dict[str, Any]]


def headstart(split: Divided, *options: str, settings: list[str]) -> dict[str, Any]:
    """One process of headstart with a cache of its own, so that the minutes hold everything."""
    with tempfile.TemporaryDirectory() as place:
        named = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, str(OURS), str(split.folder), f"{place}/run", "--seed", str(split.seed), *options, *named]
        found = measure(command, ours_environment(Path(place) / "cache"), Path(place))
    said = last_json(found.pop("printed"))
    found["curve"] = [row | {"test_loss": None} for row in said.pop("rows")]
    if "solved" in said:
        said["solved"] = flat(said["solved"])
    return {**found, **flat(said), "sizes": split.sizes}


def script_of_ours(script: str, first: Path, second: Path, seed: int, options: Sequence[str]) -> dict[str, Any]:
    """What a script of ours under peers/ tells: a process with a cache and a run folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, str(SCRIPTS / script), str(first), str(second), f"{place}/run", "--seed", str(seed), *options]
        found = measure(command, ours_environment(Path(place) / "cache"), Path(place))
    return {**last_json(found.pop("printed")), **found}


def script_of_peer(script: str, python: str, *arguments: object) -> dict[str, Any]:
    """What the script of a peer tells."""
    with tempfile.TemporaryDirectory() as place:
        found = measure([python, str(SCRIPTS / script), *map(str, arguments)], cwd=Path(place))
    return {**last_json(found.pop("printed")), **found}


def paced(
    table: Table, name: str, case: str, seed: int, split: str, minutes: float, script: Script, judged: Judged, only: Sequence[str]
) -> None:
    """The row of a peer that was given so many minutes at its pace, which is measured once for each set and machine.

    Measure it alone (`--only pace`): what comes after may run beside other work, because its epochs are counted then.
    """
    timed = table.tried(f"{name} pace", case, 0, run=partial(script, "--time"), machine=machine())
    if "peer" in only and timed is not None:
        options = ["--minutes", minutes, "--pace", *timed["pace"]]
        table.tried(theirs(name, minutes), case, seed, run=lambda: judged(script(*options)), split=split)


def ours_environment(cache: Path) -> dict[str, str]:
    """What a process of headstart from this checkout needs."""
    return {"HEADSTART_CACHE": str(cache), "PYTHONPATH": str(ROOT / "src")}


def peer(name: str, python: str, split: Divided, epochs: int, options: list[str]) -> dict[str, Any]:
    """One process of a peer, its best epoch kept."""
    with tempfile.TemporaryDirectory() as place:
        command = [python, str(PEERS[name]), str(split.train), str(split.valid), str(epochs), "--test", str(split.test), *options]
        found = measure(command, cwd=Path(place))
    said = last_json(found.pop("printed"))
    wanted = ("test", "kept", "curve", "seconds", "epochs")
    return {**found, **flat({key: said[key] for key in wanted if key in said}), "sizes": split.sizes}


def flat(said: dict[str, Any]) -> dict[str, Any]:
    """The same with the wrong images of the test part as a key of their own, and those of the others forgotten."""
    short = {part: {key: said[part][key] for key in said[part] if key != "wrong"} for part in ("test", "valid") if part in said}
    return {**said, "wrong": said["test"]["wrong"], **short}


def theirs(name: str, minutes: float) -> str:
    """The name of a peer given so many minutes, in rows."""
    return f"{name} {minutes:g} min"


def parse_minutes(given: list[str]) -> dict[str, float]:
    """NAME=MINUTES of peers over what they are given by default.

    Raises:
        ValueError: for a name that is no peer, or a number that is none.
    """
    found = dict(MINUTES)
    for word in given:
        name, _, minutes = word.partition("=")
        if name not in PEERS:
            raise ValueError(f"--peer-minutes {word}: the peers are {', '.join(PEERS)}.")
        found[name] = float(minutes)
    return found


# ------------------------------------------------------------------------------------------ how long a peer's epochs take


@dataclass(frozen=True)
class Pace:
    """Seconds on the idle machine before the first full epoch (the frozen one), and of each full epoch."""

    before: float
    epoch: float
    source: str

    def epochs(self, minutes: float) -> int:
        """Full epochs that end within the minutes, at least one."""
        return max(1, math.floor((60 * minutes - self.before) / self.epoch))

    def after(self, epochs: int) -> float:
        """Seconds after so many full epochs."""
        return self.before + epochs * self.epoch


def timed(name: str, python: str, split: Divided, options: list[str]) -> dict[str, Any]:
    """Two full epochs of a peer after its frozen one, as `before` and `epoch` of a `Pace`; start and imports are a present to it."""
    row = peer(name, python, split, 2, options)
    full = [epoch for epoch in row["curve"] if epoch["epoch"] > 0]
    before = sum(epoch["seconds"] for epoch in row["curve"] if epoch["epoch"] == 0)
    if not full:
        raise ValueError(f"{name} tells the seconds of no full epoch, so its pace is not known.")
    images = split.sizes["train"] + split.sizes["valid"]
    return {"before": before, "epoch": (full[-1]["seconds"] - before) / len(full), "images": images, **row}


def pace(table: Table, name: str, split: Divided) -> Pace | None:
    """The pace of a peer on this set: as measured on it, else from what an image took on other sets; None when nothing is."""
    rows = [row for row in table.rows() if row["entrant"] == f"{name} pace"]
    for row in rows:
        if row["case"] == split.name:
            return Pace(row["before"], row["epoch"], "measured on this set")
    if not rows:
        return None
    images = split.sizes["train"] + split.sizes["valid"]
    middle = Pace(
        statistics.median(row["before"] / row["images"] for row in rows),
        statistics.median(row["epoch"] / row["images"] for row in rows),
        "from seconds an image on " + ", ".join(row["case"] for row in rows),
    )
    return replace(middle, before=middle.before * images, epoch=middle.epoch * images)
