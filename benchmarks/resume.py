"""Processes killed at random instants and resumed: are the final weights and rows those of an undisturbed run, to the bit?

    python benchmarks/resume.py [--kills 200] [--epochs 4] [--seed 0]

Each try is a whole `headstart train` on generated images with the smallest backbone, killed without warning (SIGKILL; on Windows
TerminateProcess), then `headstart resume` until it is finished, which is itself killed once in every third try. The course varies
from try to try: the default (head solved, images mixed), a trained head with mixed images (kills in both stages), norms that
adapt. Every second kill comes at an instant drawn evenly over the time from the first file of the run to its end; the others come
when a file or folder that is just being written has been seen, so inside saving. Checkpoints are written after every step.
After each kill a copy of the run folder is read: plan, rows, checkpoints, and the bundle where there is one.

Each try is a row in results/resume.jsonl with instants of its own, so a count of 200 can be reached in several sessions; tries
already there are not made again. Weights are compared with those of an undisturbed run of the same session and machine.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, Table, headstart, stoppable
from PIL import Image

COURSES = {
    "head solved, mixup": [],
    "head trained, mixup": ["--head", "train", "--freeze-epochs", "2", "--mixup", "0.4"],
    "norms adapt": ["--norms", "adapt"],
}
LONGEST = 600.0
ATTEMPTS = 4


def make_images(root: Path, count: int = 20) -> Path:
    """Two classes of noise with and without a bright square."""
    for kind in ("plain", "square"):
        (root / kind).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 90, (40, 48, 3), dtype=np.uint8)
            if kind == "square":
                pixels[10:28, 14:32] += 120
            Image.fromarray(pixels).save(root / kind / f"{kind}{number}.png")
    return root


def result(run: Path) -> str:
    """A name for the weights and the table of a finished run, without its times."""
    digest = hashlib.blake2b((run / "bundle" / "model.safetensors").read_bytes())
    for line in (run / "history.jsonl").read_text().splitlines():
        digest.update(repr(sorted(item for item in json.loads(line).items() if item[0] != "seconds")).encode())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- killing


class Watched:
    """What is seen of a run folder from outside: since when it is there, and which temporaries have come and gone."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.began: float | None = None
        self.seen: set[str] = set()

    def look(self) -> None:
        """Notes what there is now."""
        self.seen |= self.temporaries()
        if self.began is None and (self.run / "plan.json").exists():
            self.began = time.perf_counter()

    def temporaries(self) -> set[str]:
        """Files and folders that are being written now, by the random end of their names."""
        names: list[str] = []
        for folder in (self.run, self.run / "checkpoints"):
            try:
                names += [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]
            except OSError:
                continue
        return {name.rsplit("-", 1)[-1] for name in names if "-" in name}


def killed_when(command: list[str], due: Callable[[], bool], place: Path) -> bool:
    """Runs the command until `due` says so; whether it had to be killed.

    Raises:
        RuntimeError: when it ends by itself with an error.
    """
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=(place / "words").open("w"))
    started = time.perf_counter()
    try:
        while process.poll() is None:
            if due() or time.perf_counter() - started > LONGEST:
                process.kill()
                process.wait()
                return True
            time.sleep(0.0005)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {(place / 'words').read_text()[-1500:]}")
    return False


def after(seconds: float) -> Callable[[], bool]:
    """Due so many seconds from now."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def after_begin(watched: Watched, seconds: float) -> Callable[[], bool]:
    """Due so many seconds after the run folder is there."""

    def due() -> bool:
        watched.look()
        return watched.began is not None and time.perf_counter() >= watched.began + seconds

    return due


def at_saving(watched: Watched, count: int) -> Callable[[], bool]:
    """Due when so many temporaries have been seen: the last of them is being written."""

    def due() -> bool:
        watched.look()
        return len(watched.seen) >= count

    return due


def unreadable(run: Path, place: Path) -> str:
    """Why a copy of the run folder cannot be read; empty when it can."""
    import headstart as hs
    from headstart.errors import HeadstartError
    from headstart.store import checkpoints
    from headstart.store.runs import Run

    copy = place / "copy"
    shutil.copytree(run, copy)
    try:
        opened = Run.open(copy)
        opened.plan(), opened.rows(), opened.steps()
        _, troubles = checkpoints.newest(opened.checkpoints)
        if opened.bundle.is_dir():
            hs.load(copy)
        return " ".join(troubles)
    except (HeadstartError, OSError, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(copy, ignore_errors=True)


# --------------------------------------------------------------------------------------------------------------- tries


def one_try(
    train: list[str], straight: dict[str, Any], draw: random.Random, saving: bool, twice: bool, place: Path
) -> dict[str, Any]:
    """What became of one killed run: `result` is "equal", or what went wrong."""
    share, again = draw.random(), draw.random()
    for attempt in range(ATTEMPTS):
        run, watched = place / f"run{attempt}", Watched(place / f"run{attempt}")
        count = 1 + int(share * straight["saves"])
        due = at_saving(watched, count) if saving else after_begin(watched, share * straight["seconds"])
        killed = killed_when([*train, "--run", str(run)], due, place)
        if killed:
            break
        if result(run) != straight["result"]:
            return {"killed": False, "inside_saving": False, "unreadable": [], "result": "undisturbed and different"}
        share /= 2  # it ended before the instant, which varies with what else the machine does: an earlier one
    told: dict[str, Any] = {"killed": killed, "share": round(share, 4), "inside_saving": bool(watched.temporaries())}
    told["unreadable"] = []
    if not killed:
        return {**told, "result": "equal"}
    if not (run / "plan.json").is_file():
        return {**told, "result": "equal", "killed": False}  # before there was a run: nothing to resume, nothing unreadable
    told["rows"] = len((run / "history.jsonl").read_text().splitlines()) if (run / "history.jsonl").is_file() else 0
    told["unreadable"] += filter(None, [unreadable(run, place)])
    try:
        if twice and killed_when(headstart("resume", str(run)), after(again * straight["whole"]), place):
            told["killed_again"] = True
            told["unreadable"] += filter(None, [unreadable(run, place)])
        if killed_when(headstart("resume", str(run)), after(LONGEST), place):
            return {**told, "result": f"resume did not end within {LONGEST:g} s"}
        return {**told, "result": "equal" if result(run) == straight["result"] else "different"}
    except (RuntimeError, OSError, ValueError) as error:
        return {**told, "result": str(error)}


def undisturbed(train: list[str], place: Path) -> dict[str, Any]:
    """A run to its end: its result, its seconds (whole, and from the first file on), and how many temporaries were seen."""
    place.mkdir()
    watched, started = Watched(place / "run"), time.perf_counter()
    killed_when([*train, "--run", str(place / "run")], at_saving(watched, sys.maxsize), place)
    ended = time.perf_counter()
    found = {"result": result(place / "run"), "saves": max(1, len(watched.seen)), "whole": ended - started}
    return {**found, "seconds": ended - (watched.began or started)}


def report(rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """Counts by course and kind of kill, and whether everything is as promised."""
    lines = ["course, kill: tries, killed, of these twice, with a temporary left behind, bit-equal, unreadable folders"]
    for key in dict.fromkeys((row["entrant"], row["case"]) for row in rows):
        of = [row for row in rows if (row["entrant"], row["case"]) == key]
        counts = [len(of), *(sum(bool(row.get(what)) for row in of) for what in ("killed", "killed_again"))]
        counts.append(sum(row["killed"] and row["inside_saving"] for row in of))
        counts += [sum(row["result"] == "equal" for row in of), sum(bool(row["unreadable"]) for row in of)]
        lines.append(f"{', '.join(key)}: {', '.join(map(str, counts))}")
    for row in rows:
        if row["result"] != "equal" or row["unreadable"]:
            lines.append(f"try {row['repeat']} ({row['entrant']}, {row['case']}): {row['result']} {' '.join(row['unreadable'])}")
    equal, readable = sum(row["result"] == "equal" for row in rows), sum(not row["unreadable"] for row in rows)
    counts = {"benchmark": "resume", "kills": len(rows), "equal": equal, "unreadable": len(rows) - readable}
    lines.append(json.dumps(counts))
    return "\n".join(lines), equal == readable == len(rows)


def main() -> None:
    """Makes the tries that are missing and prints the counts; the exit code is 1 unless all are equal and readable."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    stoppable()
    table, rows = Table("resume", asked.results), []
    with tempfile.TemporaryDirectory() as folder:
        data = make_images(Path(folder) / "images")
        basic = headstart("train", str(data), "--backbone", "tiny", "--epochs", str(asked.epochs), "--batch-size", "8")
        trains = {name: [*basic, "--checkpoint-seconds", "0", *options] for name, options in COURSES.items()}

        @cache
        def straight(course: str) -> dict[str, Any]:
            return undisturbed(trains[course], Path(folder) / course)

        def tried(course: str, saving: bool, number: int) -> dict[str, Any]:
            expected = straight(course)
            with tempfile.TemporaryDirectory(dir=folder) as place:
                draw = random.Random(f"{asked.seed}/{number}")
                return one_try(trains[course], expected, draw, saving, number % 3 == 0, Path(place))

        for number in range(asked.kills):
            saving, course = bool(number % 2), list(COURSES)[number // 2 % len(COURSES)]
            kind, same = "inside saving" if saving else "at any instant", {"seed": asked.seed, "epochs": asked.epochs}
            row = table.tried(course, kind, number, partial(tried, course, saving, number), **same)
            rows += [] if row is None else [row]
    words, good = report(rows)
    print(words)
    sys.exit(not good or len(rows) < asked.kills)


if __name__ == "__main__":
    main()
