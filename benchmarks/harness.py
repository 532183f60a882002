"""What every benchmark shares: whole processes measured by the operating system, rows appended to a file, nothing run twice.

A row is one JSON object: benchmark, entrant, case, repeat, wall and CPU seconds, peak memory, the figures that the process
printed, commit, versions and machine. A run continues where an earlier one ended: rows already there are skipped.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "timm", "openvino", "numpy", "pillow", "fastai")


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
        _, status, usage = os.wait4(process.pid, 0)
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


class Table:
    """The rows of one benchmark in `benchmarks/results/<name>.jsonl`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = RESULTS / f"{name}.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines() if line.strip()]

    def once(
        self, entrant: str, case: str, repeat: int, run: Callable[[], dict[str, Any]], again: bool = False
    ) -> dict[str, Any]:
        """The row of this entrant, case and repeat: from the file, or by running it now."""
        for row in self.rows():
            if not again and (row["entrant"], row["case"], row["repeat"]) == (entrant, case, repeat):
                return row
        row = {
            "benchmark": self.name,
            "entrant": entrant,
            "case": case,
            "repeat": repeat,
            **run(),
            **facts(),
            "at": time.strftime("%Y-%m-%dT%H:%M"),
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({key: row[key] for key in row if key not in ("versions", "machine", "commit", "python")}), flush=True)
        return row


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    """Median, smallest and largest of the pairwise ratios, in words."""
    ratios = [a / b for a, b in zip(numerators, denominators)]
    return f"median {statistics.median(ratios):.1f} (min {min(ratios):.1f}, max {max(ratios):.1f}, n = {len(ratios)} pairs)"


def headstart(*arguments: str) -> list[str]:
    """The command that runs headstart with this Python."""
    return [sys.executable, "-m", "headstart", *arguments]
