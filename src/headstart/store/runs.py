"""The run folder: plan, split, audit, history and environment of one training, and where its bundle is."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partialmethod
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from headstart.core import FORMAT, Plan, Row, Split
from headstart.errors import NewerFormat, NotARun, StoreError
from headstart.machine import cpu_name
from headstart.store import atomic
from headstart.store._trouble import is_file, told
from headstart.store.codec import from_json, to_json

PACKAGES = ("headstart", "torch", "torchvision", "timm", "openvino", "numpy", "scipy", "pillow", "safetensors", "huggingface-hub")
RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Run:
    """One training on disk. Each file is whole or not there; `history.jsonl` grows by a line per table row."""

    path: Path

    @classmethod
    def create(cls, plan: Plan, folder: str | Path | None = None, name: str = "run", place: Path | None = None) -> "Run":
        """A new run folder with its plan and environment: `folder`, or the first free `runs/<name>-<n>` in `place` (here if None).

        Raises:
            StoreError: if `folder` already holds something, or cannot be written.
        """
        run = cls(_fresh(_file_name(name), place or Path.cwd()) if folder is None else _empty(Path(folder).expanduser()))
        run.write_plan(plan)
        run.write_env(environment())
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run at `path`: a run folder, its bundle, a name under runs/, or "last" for the one that was written last.

        Raises:
            NotARun: with the nearest runs there are.
            NewerFormat: if a later headstart wrote it.
        """
        where = _newest() if str(path) == "last" else _located(Path(path).expanduser())
        atomic.sweep(where)
        check_format(atomic.read_json(where / "plan.json"), where / "plan.json")
        return cls(where.absolute())

    @property
    def bundle(self) -> Path:
        """Where the usable model is (it exists after row 0)."""
        return self.path / "bundle"

    @property
    def posteriors(self) -> Path:
        """Where the posteriors are that were asked for by name, each in a folder of its name."""
        return self.path / "posteriors"

    @property
    def stable(self) -> Path:
        """Where the training is from which `more` goes on: as it was before its learning rate fell."""
        return self.path / "stable"

    @property
    def checkpoints(self) -> Path:
        """Where a training under way is saved now and then."""
        return self.path / "checkpoints"

    @property
    def epoch(self) -> Path:
        """The training as it was when the epoch under way began: where it steps back to when its loss is no number."""
        return self.path / "checkpoints" / "epoch"

    def plan(self) -> Plan:
        """What was asked for, and what was timed or probed to decide it."""
        file = self.path / "plan.json"
        return from_json(Plan, _as_today(check_format(atomic.read_json(file), file)), str(file))

    def write_plan(self, plan: Plan) -> None:
        """Keeps `plan`, in place of the one before."""
        atomic.write_json(self.path / "plan.json", to_json(plan))

    def split(self) -> Split:
        """Which ids train, choose and judge."""
        file = self.path / "split.json"
        data = check_format(atomic.read_json(file), file)
        return from_json(Split, {key: value for key, value in data.items() if key != "format"}, str(file))

    def write_split(self, split: Split) -> None:
        """Keeps `split`."""
        atomic.write_json(self.path / "split.json", {"format": FORMAT, **to_json(split)})

    def audit(self) -> dict[str, Any]:
        """What was found in the files, and what was noted of each image; empty before they were read."""
        return self._read("audit.json")

    def changes(self) -> dict[str, Any]:
        """What a model that started from an earlier one lost and gained; empty for one that did not."""
        return self._read("changes.json")

    def append_row(self, row: Row) -> None:
        """Adds a row to the history; it is on disk when this returns."""
        atomic.append_line(self.path / "history.jsonl", _line(row))

    def rows(self) -> list[Row]:
        """The history so far. A last line that a killed writer left unfinished is passed over."""
        return _lines(self.path / "history.jsonl")

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Makes the history hold exactly these rows."""
        atomic.write_text(self.path / "history.jsonl", "".join(_line(row) + "\n" for row in rows))

    def append_judged(self, line: Mapping[str, Any]) -> None:
        """Adds what a row says of each validation example."""
        atomic.append_line(self.path / "judged.jsonl", _line(line))

    def judged(self) -> list[dict[str, Any]]:
        """What `append_judged` has added; nothing where it cannot be read, as no training hangs on it."""
        try:
            return _lines(self.path / "judged.jsonl")
        except StoreError:
            return []

    def log_step(self, entry: Sequence[float | int]) -> None:
        """Adds what set a step by the clock (see `Logged`); it outlives the process, not the machine."""
        with told(self.path / "steps.jsonl", "write"), (self.path / "steps.jsonl").open("a", encoding="ascii") as file:
            file.write(json.dumps(list(entry)) + "\n")

    def steps(self) -> list[list[float | int]]:
        """What `log_step` has added; a line that a killed writer left unfinished is passed over."""
        file, found = self.path / "steps.jsonl", []
        for line in file.read_text(encoding="ascii", errors="replace").splitlines() if file.is_file() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [entry for entry in found if isinstance(entry, list) and len(entry) == 5]

    def forget_steps(self) -> None:
        """Empties the log of steps."""
        with told(self.path / "steps.jsonl", "remove"):
            (self.path / "steps.jsonl").unlink(missing_ok=True)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other processes from training in this folder; the system frees it when the process dies.

        Raises:
            StoreError: when another process has it.
        """
        lock = FileLock(self.path / ".lock", blocking=False)
        with told(self.path, "write"):
            try:
                lock.acquire()
            except Timeout:
                raise StoreError(
                    f'another process is training in "{self.path}". Wait for it, or give a run folder of your own with --run.'
                ) from None
        try:
            yield
        finally:
            lock.release()

    def discard(self) -> None:
        """Removes a run that came to nothing: only what headstart wrote into it, and the folder if it is then empty."""
        for name in ("plan.json", "env.json", "split.json", "audit.json", "changes.json", "steps.jsonl", "judged.jsonl", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        atomic.write_json(self.path / name, {"format": FORMAT, **to_json(data, exact=False)})

    def _read(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return check_format(atomic.read_json(file), file) if file.is_file() else {}

    write_changes = partialmethod(_write, "changes.json")
    write_audit = partialmethod(_write, "audit.json")
    write_env = partialmethod(_write, "env.json")


@cache
def versions() -> Mapping[str, str | None]:
    """Of the packages that numbers depend on, None for one that is not installed; looked up once."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return MappingProxyType(found)


def environment() -> dict[str, Any]:
    """Versions, system and processor: what a number depends on besides the plan. Imports nothing heavy, starts no process."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "versions": dict(versions()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": cores,
    }


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(to_json(row, exact=False), ensure_ascii=False)


def _lines(file: Path) -> list[dict[str, Any]]:
    """The objects in a file of one for each line; a last one that a killed writer left unfinished is passed over."""
    if not file.exists():
        return []
    with told(file, "read"):
        lines = file.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line.decode("utf-8")))
        except ValueError as error:
            if number == len(lines):
                break
            raise StoreError(f'line {number} of "{file}" is not valid JSON ({error}). Delete that line to go on.') from error
    return found


def check_format(data: Any, file: Path) -> dict[str, Any]:
    """`data`, if this version can read it.

    Raises:
        NewerFormat: if a later headstart wrote it.
        StoreError: if it is not an object at all.
    """
    if not isinstance(data, dict):
        raise StoreError(f'"{file}" should hold an object, but holds {data!r:.60}. Restore it from a copy.')
    number = data.get("format", 1)
    if not isinstance(number, int):
        raise StoreError(f'"{file}" has the format {number!r}, which is not a number. Restore it from a copy.')
    if number > FORMAT:
        raise NewerFormat(
            f'"{file}" has format {number}, and this headstart reads up to {FORMAT}. '
            "It was written by a later version: pip install --upgrade headstart."
        )
    return data


def _fresh(name: str, place: Path) -> Path:
    """A folder `runs/<name>-<n>` that did not exist a moment ago; making it claims it, also against another process."""
    runs = place.absolute() / "runs"
    with told(runs, "create"):
        runs.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            try:
                (runs / f"{name}-{number}").mkdir()
            except FileExistsError:
                number += 1
            else:
                return runs / f"{name}-{number}"


def _empty(folder: Path) -> Path:
    with told(folder, "create"):
        if folder.is_dir() and any(folder.iterdir()):
            raise StoreError(
                f'"{folder}" already holds files, and a run never writes over another. '
                f"Name a new folder, or go on with this one: headstart more {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def folder_of(path: Path) -> Path | None:
    """The run folder that a path means (its own, a bundle in it, a name under runs/), None where it means none."""
    by_name = () if is_file(path / "model.safetensors") else (Path("runs") / path,)
    for candidate in (path, *by_name, path.parent if path.name == "bundle" else path):
        if is_file(candidate / "plan.json"):
            return candidate
    return None


def _located(path: Path) -> Path:
    if folder := folder_of(path):
        return folder
    if is_file(path / "model.safetensors"):
        raise NotARun(f'"{path}" is a bundle, not a run: predict, evaluate and hs.load take it. To train on, name its run.')
    runs = [run.name for run in _runs(Path("runs"))]
    close = get_close_matches(path.name, runs, n=3, cutoff=0.5)
    state = "is no run folder (it has no plan.json)" if os.path.lexists(path) else "does not exist"
    hint = f" Did you mean {' or '.join(f'runs/{name}' for name in close)}?" if close else ""
    raise NotARun(f'"{path}" {state}.{hint} `headstart train` makes runs; "last" names the newest one under runs/.')


def _newest() -> Path:
    """The run written last under `runs/` here, or one or two folders up: a run that was made inside the data lies beside it."""
    for place in (Path.cwd(), *Path.cwd().parents[:2]):
        if found := _runs(place / "runs"):
            return max(found, key=_last_written)
    raise NotARun(f'there is no run in "{Path.cwd() / "runs"}" yet. Make one with `headstart train FOLDER`, or name its folder.')


def _runs(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    with told(runs, "read"):
        return [folder for folder in runs.iterdir() if is_file(folder / "plan.json")]


def _last_written(run: Path) -> tuple[int, int]:
    """When the run was last worked on; of two at the same instant the higher number is the later."""
    times = [file.stat().st_mtime_ns for file in (run / "plan.json", run / "history.jsonl") if file.exists()]
    number = re.search(r"-(\d+)$", run.name)
    return max(times), int(number[1]) if number else 0


def _file_name(name: str) -> str:
    """`name` as a folder name that every system takes."""
    clean = re.sub(r'[\x00-\x1f<>:"/\\|?*\s\ud800-\udfff]+', "_", name).strip("._ ")[:60].rstrip("._ ") or "run"
    return f"{clean}_" if clean.lower() in RESERVED else clean


def _as_today(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan as it is written now; the first versions knew images only, and called their modality a geometry.

    Before there was a `loss`, no average of the weights was asked for where `ema` is null; before there were `features`, heads saw the
    last layer.
    """
    settings = plan.get("settings")
    if isinstance(settings, dict) and "loss" not in settings:
        settings = settings | {"ema": settings.get("ema") or 0.0}
    if isinstance(settings, dict):
        plan = plan | {"settings": {"features": "last", **settings}}
    if "geometry" not in plan:
        return plan
    geometry = plan["geometry"]
    kept = {key: value for key, value in plan.items() if key != "geometry"}
    return kept | {"modality": {} if geometry is None else {"name": "image", **geometry}}
