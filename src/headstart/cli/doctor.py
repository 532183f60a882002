"""`headstart doctor`: what this machine has, what headstart will use of it, and what will hurt."""

import importlib.metadata
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from headstart.cli.hurts import engine_hurts, place_hurts, torch_hurts, version_hurts
from headstart.cli.output import results_on_stdout, size_in_words, write_line
from headstart.store import cache
from headstart.train.observers.json_lines import to_line

PROBED = 8
"""Images of noise on which engines and precisions are tried."""


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Delete the caches; they are made again when needed.")
    ] = False,
) -> None:
    """Show versions, devices, engine, precision, caches, and what will hurt (with the remedy)."""
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
    choice = _choice() if torch["works"] else {}
    folder = cache.root()
    free = _free(folder)
    hurts = [
        *torch_hurts(torch, has_nvidia()),
        *version_hurts(_installed, _requirements),
        *place_hurts(folder, free, {kind: cache.writable(kind) for kind in cache.KINDS}),
        *engine_hurts(torch, _installed("openvino") is not None, choice),
    ]
    return {
        **environment(),
        "torch": torch,
        "engine": engine,
        "choice": choice,
        "caches": {"folder": str(folder), **cache.usage()},
        "free_disk": free,
        "offline": os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"),
        "will_hurt": [{"what": hurt.what, "remedy": hurt.remedy} for hurt in hurts],
    }


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
    choice = found["choice"]
    if "engine" in choice:
        lines += [
            f"engine     {choice['engine']} for the frozen backbone, {choice['images_per_second']:,.0f} images a second",
            f"precision  {choice['precision']} for training it, {choice['training_images_per_second']:,.0f} images a second",
        ]
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
    from headstart.engine.report import report

    return dict(report())


def _choice() -> dict[str, Any]:
    """What a run with the default backbone would use here, measured on noise in a few seconds.

    Beware: anything can be broken on the machine that doctor is asked about, hence the wide net.
    """
    try:
        return _measured_choice()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _measured_choice() -> dict[str, Any]:
    import torch

    from headstart import model as models
    from headstart.core import Settings
    from headstart.engine import device as devices
    from headstart.engine.frozen import choose_frozen
    from headstart.modalities import image
    from headstart.seeds import numpy_generator

    device = devices.choose("auto")
    with devices.tuned_run(device):
        backbone = models.build_backbone(Settings().backbone)
        model = models.build(backbone, 2).to(device).eval()
        modality = image.of(backbone.spec)
        pixels = numpy_generator(0, "doctor").integers(0, 256, (PROBED, modality.size, modality.size, 3), np.uint8)
        frozen = choose_frozen(backbone, modality, pixels, device)
        began = time.perf_counter()
        frozen.features(pixels)
        seconds = time.perf_counter() - began
        inputs = modality.to_input(torch.from_numpy(pixels).to(device))
        targets = torch.arange(PROBED, device=device) % 2
        models.set_trainable(model, 0)
        models.norm_mode(model, "frozen")
        found = devices.probe_precision(model, inputs, targets, torch.nn.functional.cross_entropy)
    return {
        "device": str(device),
        "backbone": backbone.spec.name,
        "engine": frozen.name,
        "agreement": frozen.agreement,
        "notes": list(frozen.notes),
        "images_per_second": PROBED / seconds,
        "precision": found["precision"],
        "precisions": found["measured"],
        "training_images_per_second": 1 / found["measured"][found["precision"]]["seconds_per_image"],
    }


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
