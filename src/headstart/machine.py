"""The processor, asked of the system without torch and without another process."""

import os
import platform
from contextlib import suppress
from pathlib import Path


def cpu_name() -> str:
    """The processor's name. Beware: platform.processor() would start a process on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.machine()


def logical_cores() -> int:
    """Processors that this process may use, hyper-threads counted each."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available is not None else os.cpu_count() or 1
