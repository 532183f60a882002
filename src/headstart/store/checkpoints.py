"""Checkpoints: everything a training goes on from, as folders that are whole or not there.

FOLDER/{model,optimizer,kept,adapters,average}.safetensors + state.json

kept: the weights of the row that is kept, where the model has others. adapters, average: where a training has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.core import FORMAT
from headstart.errors import StoreError
from headstart.store import atomic, tensors
from headstart.store._leftover import found
from headstart.store._trouble import told
from headstart.store.runs import check_format

FILES = ("model", "optimizer", "kept", "adapters", "average")
"""Names of the tensors in a checkpoint; what is empty has no file."""
KEPT = 2
"""Checkpoints that stay on disk: should the newest be damaged, there is the one before."""


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors and plain numbers."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    kept: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, Any] = field(default_factory=dict)
    average: Mapping[str, Any] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Makes `folder` hold exactly this checkpoint; a kill at any instant leaves what was there before or this."""
    with atomic.replace_folder(folder) as fresh:
        for name in FILES:
            if getattr(checkpoint, name):
                tensors.save(fresh / f"{name}.safetensors", getattr(checkpoint, name))
        atomic.write_json(fresh / "state.json", {"format": FORMAT, **checkpoint.state})


def append(parent: Path, checkpoint: Checkpoint) -> None:
    """Keeps the checkpoint under `parent`, numbered after those before it, of which only the last stays."""
    before = _numbered(parent)
    save(parent / f"{int(before[-1].name) + 1 if before else 1:06d}", checkpoint)
    for old in before[: 1 - KEPT]:
        remove(old)


def load(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, None when there is none.

    Raises:
        StoreError: when it is damaged.
    """
    atomic.finish_swap(folder)
    return atomic.read_folder(folder, _read) if (folder / "state.json").is_file() else None


def newest(parent: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest whole checkpoint under `parent`, and a sentence for each newer one that is damaged."""
    troubles: list[str] = []
    for folder in reversed(_numbered(parent)):
        try:
            whole = load(folder)
        except StoreError as error:
            troubles.append(f"The checkpoint {folder.name} cannot be read, so the one before it is taken: {error}")
            continue
        if whole is not None:
            return whole, tuple(troubles)
    return None, tuple(troubles)


def remove(folder: Path) -> None:
    """Removes the checkpoint in `folder`, if there is one."""
    # beware: state.json goes first, so that a folder that is half removed is no checkpoint
    with told(folder, "remove"):
        for name in ("state.json", *(f"{name}.safetensors" for name in FILES)):
            (folder / name).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def discard(parent: Path) -> None:
    """Removes every checkpoint under `parent`, and the folder."""
    for folder in _numbered(parent):
        remove(folder)
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def _read(folder: Path) -> Checkpoint:
    state = check_format(atomic.read_json(folder / "state.json"), folder / "state.json")
    there = {name: folder / f"{name}.safetensors" for name in FILES}
    return Checkpoint(
        state=state, **{name: tensors.load(file) if file.is_file() or name == "model" else {} for name, file in there.items()}
    )


def _numbered(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    atomic.sweep(parent)
    for leftover in found(parent):
        atomic.finish_swap(parent / leftover.target)
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and folder.name.isdecimal())
