"""What will hurt on a machine: rules over plain facts, each with its remedy."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.cli.output import size_in_words

LITTLE_DISK = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Hurt:
    """Something that will make work slow or impossible, and what to do about it."""

    what: str
    remedy: str


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


def engine_hurts(torch: Mapping[str, Any], openvino: bool, choice: Mapping[str, Any]) -> list[Hurt]:
    """What makes the frozen forward slower than it could be, or impossible."""
    if "error" in choice:
        return [
            Hurt(f"the default backbone could not be tried: {choice['error']}", "pip install --force-reinstall headstart"),
        ]
    found = [Hurt(note.rstrip("."), "pip install --upgrade openvino") for note in choice.get("notes", ())]
    if not openvino and torch["works"] and not torch["cuda"] and not torch["mps"]:
        what = "OpenVINO is not installed: features are computed by torch, which is slower on a CPU"
        found.append(Hurt(what, "pip install openvino"))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
