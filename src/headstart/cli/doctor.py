"""`headstart doctor`: what this machine has, what headstart will use of it, and what will hurt."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.output import results_on_stdout, size_in_words, write_line
from headstart.store import cache
from headstart.train.observers.json_lines import to_line

LITTLE_DISK = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Hurt:
    """Something that will make work slow or impossible, and what to do about it."""

    what: str
    remedy: str


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Delete the caches; they are made again when needed.")
    ] = False,
) -> None:
    """Show versions, devices, the engine in use, caches, and what will hurt (with the remedy)."""
    with results_on_stdout(json) as stdout:
        freed = cache.clear() if clear_cache else None
        found = examine()
    if freed is not None:
        found["freed"] = freed
    if json:
        write_line(stdout, to_line(found))
    else:
        for line in as_lines(found):
            typer.echo(line)
    if not found["torch"]["works"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything that doctor tells, as plain JSON."""
    from headstart.store.runs import environment

    torch = _torch()
    engine = _engine() if torch["works"] else {}
    folder = cache.root()
    free = _free(folder)
    hurts = [
        *torch_hurts(torch, has_nvidia()),
        *version_hurts(_installed, _requirements),
        *place_hurts(folder, free, {kind: cache.writable(kind) for kind in cache.KINDS}),
        *engine_hurts(torch, _installed("openvino") is not None),
    ]
    return {
        **environment(),
        "torch": torch,
        "engine": engine,
        "caches": {"folder": str(folder), **cache.usage()},
        "free_disk": free,
        "offline": os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"),
        "will_hurt": [{"what": hurt.what, "remedy": hurt.remedy} for hurt in hurts],
    }


def torch_hurts(torch: Mapping[str, Any], nvidia: bool) -> list[Hurt]:
    """What is wrong with torch itself: it does not start, or it does not see the card that is there."""
    if not torch["works"]:
        return [Hurt(f"torch cannot be used: {torch['error']}", "Reinstall it: pip install --force-reinstall torch torchvision")]
    found = []
    if torch["torchvision_error"]:
        found.append(
            Hurt(
                f"torchvision cannot be used with torch {torch['version']}: {torch['torchvision_error']}",
                "Install the two together: pip install --upgrade torch torchvision",
            )
        )
    if nvidia and not torch["cuda_build"]:
        found.append(
            Hurt(
                f"there is an NVIDIA card, but torch {torch['version']} was built without CUDA: everything runs on the CPU",
                "Choose the CUDA build for your system on pytorch.org/get-started, and install torch and torchvision from there.",
            )
        )
    elif nvidia and not torch["cuda"]:
        found.append(
            Hurt(
                f"there is an NVIDIA card, but torch (CUDA {torch['cuda_build']}) cannot use it",
                "Usually the driver is too old or hidden from this process: check nvidia-smi and CUDA_VISIBLE_DEVICES.",
            )
        )
    return found


def version_hurts(installed: Callable[[str], str | None], requirements: Callable[[str], list[str]]) -> list[Hurt]:
    """Whether torchvision asks for another torch than the one that is installed."""
    torch, vision = installed("torch"), installed("torchvision")
    if torch is None or vision is None:
        return []
    for requirement in requirements("torchvision"):
        match = re.match(r"torch\s*[( ]?\s*([^;)]*)", requirement)
        if match and not re.match(r"torch[\w-]", requirement) and not allows(match[1], torch):
            return [
                Hurt(
                    f"torchvision {vision} wants torch {match[1].strip()}, but torch {torch} is installed",
                    "Install the two together: pip install --upgrade torch torchvision",
                )
            ]
    return []


def allows(specifier: str, version: str) -> bool:
    """Whether a version is inside a specifier such as `==2.11.0` or `>=2.14.0,!=2.15.1`; builds (`+cpu`) do not count."""
    ours = _numbers(version)
    for clause in filter(None, (part.strip() for part in specifier.split(","))):
        match = re.match(r"(==|>=|<=|!=|~=|>|<)\s*([\d.]+)", clause)
        if match is None:
            continue
        theirs = _numbers(match[2])
        length = max(len(ours), len(theirs))
        left, right = ours + (0,) * (length - len(ours)), theirs + (0,) * (length - len(theirs))
        prefix = clause.endswith(".*")
        equal = ours[: len(theirs)] == theirs if prefix else left == right
        good = {
            "==": equal,
            "!=": not equal,
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
            "~=": left >= right and ours[: len(theirs) - 1] == theirs[:-1],
        }[match[1]]
        if not good:
            return False
    return True


def place_hurts(folder: Path, free: int | None, writable: Mapping[str, bool]) -> list[Hurt]:
    """What is wrong with the place of the caches."""
    found = []
    if not all(writable.values()):
        found.append(
            Hurt(
                f"the cache folder {folder} cannot be written: images are decoded again in every epoch and every run",
                "Set the environment variable HEADSTART_CACHE to a folder that you can write to.",
            )
        )
    if free is not None and free < LITTLE_DISK:
        found.append(
            Hurt(
                f"only {size_in_words(free)} are free where the caches live ({folder})",
                "Free some space, headstart doctor --clear-cache, or set HEADSTART_CACHE to a larger disk.",
            )
        )
    return found


def engine_hurts(torch: Mapping[str, Any], openvino: bool) -> list[Hurt]:
    """What makes the frozen forward slower than it could be."""
    if openvino or not torch["works"] or torch["cuda"] or torch["mps"]:
        return []
    return [
        Hurt("OpenVINO is not installed: features are computed by torch, several times slower on a CPU", "pip install openvino"),
    ]


def has_nvidia() -> bool:
    """Whether there is an NVIDIA card, as its driver tells."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """What was found, for people."""
    torch = found["torch"]
    versions = ", ".join(f"{name} {number or 'missing'}" for name, number in found["versions"].items())
    lines = [
        f"versions   {versions}",
        f"python     {found['python']} on {found['system']} {found['machine']}",
        f"processor  {found['cpu']}, {found['cores']} cores{', ' + torch['cpu_capability'] if torch['works'] else ''}",
    ]
    if torch["works"]:
        lines.append(f"devices    {', '.join(torch['devices'])}; torch uses {torch['threads']} threads")
    lines += [f"{name:<10} {_plain(value)}" for name, value in found["engine"].items()]
    sizes = ", ".join(f"{kind} {size_in_words(size)}" for kind, size in found["caches"].items() if kind != "folder")
    lines.append(f"caches     {sizes} in {found['caches']['folder']}")
    if found["free_disk"] is not None:
        lines.append(f"free disk  {size_in_words(found['free_disk'])}")
    if found["offline"]:
        lines.append("offline    HF_HUB_OFFLINE is set: only weights that are already here are used")
    if "freed" in found:
        lines.append(f"cleared    {size_in_words(found['freed'])} of caches")
    if not found["will_hurt"]:
        return [*lines, "", "Nothing here will hurt."]
    return [*lines, "", "What will hurt:", *(f"- {one['what']}.\n  {one['remedy']}" for one in found["will_hurt"])]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _torch() -> dict[str, Any]:
    """What torch says of itself. A broken installation can fail in any way, hence the wide net: doctor must survive it."""
    try:
        import torch
    except Exception as error:
        return {"works": False, "error": f"{type(error).__name__}: {error}", "cuda": False, "mps": False, "cuda_build": None}
    try:
        import torchvision

        vision_error = None if torchvision.__version__ else "it has no version"
    except Exception as error:
        vision_error = f"{type(error).__name__}: {error}"
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {
        "works": True,
        "version": torch.__version__,
        "cuda_build": torch.version.cuda,
        "cuda": cuda,
        "mps": mps,
        "devices": [*cards, *(["Apple GPU (mps)"] if mps else []), "cpu"],
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torchvision_error": vision_error,
    }


def _engine() -> dict[str, Any]:
    from headstart.engine.device import report

    return dict(report())


def _free(folder: Path) -> int | None:
    existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
    try:
        return None if existing is None else shutil.disk_usage(existing).free
    except OSError:
        return None


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(package: str) -> list[str]:
    return importlib.metadata.requires(package) or []


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
