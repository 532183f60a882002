"""What every benchmark shares: whole processes measured by the operating system, rows appended to a file, nothing run twice.

A row is one JSON object: benchmark, entrant, case, repeat, wall and CPU seconds, peak memory, the figures that the process
printed, commit, versions and machine. A run continues where an earlier one ended: rows already there are skipped.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NOT_SHOWN = frozenset({"versions", "machine", "commit", "python", "wrong", "rows", "curve", "losses", "squares"})
"""Keys of a row that are not printed when it is made: long, or the same for every row."""
PACKAGES = ("torch", "timm", "openvino", "numpy", "pillow", "fastai", "transformers")


def facts() -> dict[str, Any]:
    """Commit, versions and machine of this measurement."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"commit": commit, "versions": versions, "python": platform.python_version(), "machine": machine()}


def machine() -> str:
    """The processor and how many of its cores there are."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.processor()
    )
    family = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith(("cpu family", "model\t"))][:2]
    return f"{model} (family {', model '.join(family)}), {os.cpu_count()} cores"


def stoppable() -> None:
    """From now on Ctrl-C and a request to terminate end what was started and leave with a word; rows so far are kept."""

    def stop(_signal: int, _frame: object) -> None:
        raise SystemExit("stopped; the rows so far are kept")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> dict[str, Any]:
    """Wall, CPU and system seconds and peak memory (MB, of the whole process tree's largest sample) of a command, and what it printed.

    `anon_mb` is the part of the memory that no file backs (None where the system does not tell): mapped files count in
    `peak_mb` while their pages are in memory.

    Raises:
        RuntimeError: when the command fails, with the end of what it printed.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(environment or {})}, cwd=cwd)
        peak: list[float] = [0.0, 0.0]
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, stop))
        watcher.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()  # who stops a benchmark does not want its entrant to go on
            process.wait()
            raise
        finally:
            wall = time.perf_counter() - started
            stop.set()
            watcher.join()
        out.seek(0)
        err.seek(0)
        printed = out.read()
        if status != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{printed[-2000:]}\n{err.read()[-2000:]}")
    peak_mb = max(peak[0], usage.ru_maxrss / 1024)
    return {
        "wall": round(wall, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "system": round(usage.ru_stime, 2),
        "peak_mb": round(peak_mb),
        "anon_mb": round(peak[1]) or None,
        "printed": printed,
    }


def _watch(pid: int, peak: list[float], stop: threading.Event) -> None:
    """The largest sums of resident and of anonymous memory over the process and its children, sampled five times a second."""
    try:
        import psutil
    except ImportError:
        return
    while not stop.wait(0.2):
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            resident = sum(member.memory_info().rss for member in family) / 2**20
            peak[:] = max(peak[0], resident), max(peak[1], sum(_anonymous_mb(member.pid) for member in family))
        except (psutil.Error, OSError):
            continue


def _anonymous_mb(pid: int) -> float:
    """What Linux calls RssAnon; 0 elsewhere."""
    file = Path(f"/proc/{pid}/status")
    lines = file.read_text().splitlines() if file.exists() else ()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


def last_json(printed: str) -> dict[str, Any]:
    """The last line that is a JSON object."""
    return next(json.loads(line) for line in reversed(printed.splitlines()) if line.lstrip().startswith("{"))


class Quiet:
    """An observer that shows nothing."""

    def show(self, event: object) -> None: ...

    def close(self) -> None: ...


class Table:
    """The rows of one benchmark in `<folder>/<name>.jsonl`; with `here`, those of this machine: times of another do not compare."""

    def __init__(self, name: str, folder: Path = RESULTS, here: bool = False) -> None:
        self.name = name
        self.file = folder / f"{name}.jsonl"
        self._machine = machine() if here else None

    def rows(self) -> list[dict[str, Any]]:
        """The rows so far; a last line that a stopped run left unfinished is passed over."""
        return [row for row in self._all() if self._machine in (None, row.get("machine"))]

    def _all(self) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def kept(self, entrant: str, case: str, repeat: int, **same: Any) -> dict[str, Any] | None:
        """The row of this entrant, case and repeat whose other keys are as in `same`, if there is one."""
        wanted = {"entrant": entrant, "case": case, "repeat": repeat, **same}
        return next((row for row in self.rows() if all(row.get(key) == value for key, value in wanted.items())), None)

    def once(
        self, entrant: str, case: str, repeat: int, run: Callable[[], dict[str, Any]], again: bool = False, **same: Any
    ) -> dict[str, Any]:
        """The row of this entrant, case and repeat: from the file, or by running it now. `same` is kept in it and must agree."""
        if not again and (kept := self.kept(entrant, case, repeat, **same)) is not None:
            return kept
        row = {
            "benchmark": self.name,
            "entrant": entrant,
            "case": case,
            "repeat": repeat,
            **same,
            **run(),
            **facts(),
            "at": time.strftime("%Y-%m-%dT%H:%M"),
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._append(json.dumps(row).encode() + b"\n")
        print(json.dumps({key: row[key] for key in row if key not in NOT_SHOWN}), flush=True)
        return row

    def _append(self, line: bytes) -> None:
        """Adds a line in one piece: another benchmark may be writing to the same file."""
        before = self.file.read_bytes()[-1:] if self.file.exists() else b""
        with self.file.open("ab", buffering=0) as file:
            # a line that a stopped run left unfinished stays one, and does not spoil this one
            file.write(line if before in (b"", b"\n") else b"\n" + line)

    def tried(
        self, entrant: str, case: str, repeat: int, run: Callable[[], dict[str, Any]], **same: Any
    ) -> dict[str, Any] | None:
        """As `once`; None when it fails, which is told and not kept, so that it is tried again next time."""
        try:
            return self.once(entrant, case, repeat, run, **same)
        except (RuntimeError, OSError, ValueError, LookupError, StopIteration) as error:
            failed = {"benchmark": self.name, "entrant": entrant, "case": case, "repeat": repeat, **same, "failed": str(error)}
            print(json.dumps(failed), flush=True)
            return None


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    """Median, smallest and largest of the pairwise ratios, in words."""
    ratios = [a / b for a, b in zip(numerators, denominators)]
    return f"median {statistics.median(ratios):.1f} (min {min(ratios):.1f}, max {max(ratios):.1f}, n = {len(ratios)} pairs)"


def headstart(*arguments: str) -> list[str]:
    """The command that runs headstart with this Python."""
    return [sys.executable, "-m", "headstart", *arguments]
