"""The bundle: what predict, serve and export need, in a folder that timm can also load. Rebuilding the model is not done here.

model.safetensors (weights) · config.json (timm's format, with a key "headstart") · task.json · README.md (model card)
A text encoder adds tokenizer.json and encoder.json; a posterior adds posterior/ (tensors.safetensors, state.json).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.core import FORMAT
from headstart.errors import NotARun, StoreError
from headstart.store import atomic, tensors
from headstart.store._trouble import is_file
from headstart.store.codec import to_json
from headstart.store.runs import check_format


@dataclass(frozen=True)
class StoredPosterior:
    """A posterior as data: the file of `posteriors/` that it is of, its tensors, and the weights that it was fitted to by their digest.

    `task` is the state of the task as it answers with it.
    """

    name: str
    tensors: Mapping[str, Any]
    digest: str
    task: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A model as data: named tensors, what to build from them, what its outputs mean, and words for people."""

    tensors: Mapping[str, Any]
    config: Mapping[str, Any]
    """timm's keys ("architecture", "num_classes", "pretrained_cfg", ...) and "headstart": backbone, modality, head."""
    task: Mapping[str, Any]
    card: str = field(default="")
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files that the backbone is built from, by name."""
    posterior: StoredPosterior | None = None
    trouble: str = ""
    """Why a posterior that is there cannot be read; the model can."""


def save(folder: Path, bundle: Bundle) -> None:
    """Makes `folder` hold exactly this bundle; a kill at any instant leaves the one before or this one."""
    config = to_json(bundle.config)
    config["headstart"] = {**config.get("headstart", {}), "format": FORMAT, "files": sorted(bundle.files)}
    with atomic.replace_folder(folder) as fresh:
        tensors.save(fresh / "model.safetensors", bundle.tensors)
        atomic.write_text(fresh / "README.md", bundle.card)
        for name, text in bundle.files.items():
            atomic.write_text(fresh / name, text)
        if bundle.posterior is not None:
            save_posterior(fresh / "posterior", bundle.posterior)
        atomic.write_json(fresh / "task.json", {"format": FORMAT, **to_json(bundle.task)})
        atomic.write_json(fresh / "config.json", config)


def save_posterior(folder: Path, posterior: StoredPosterior) -> None:
    """Writes tensors.safetensors and state.json into a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors.save(folder / "tensors.safetensors", posterior.tensors)
    atomic.write_json(
        folder / "state.json",
        to_json({"format": FORMAT, "name": posterior.name, "digest": posterior.digest, "task": posterior.task}),
    )


def load_posterior(folder: Path) -> StoredPosterior | None:
    """The posterior in a folder, None where there is none.

    Raises:
        NewerFormat: if a later headstart wrote it.
        StoreError: where it cannot be read.
    """
    if not os.path.lexists(folder):
        return None
    if not is_file(folder / "state.json"):
        raise StoreError(f"{folder} holds no state.json.")
    state = check_format(atomic.read_json(folder / "state.json"), folder / "state.json")
    if not isinstance(state, dict) or not {"name", "digest", "task"} <= set(state) or not isinstance(state["task"], dict):
        raise StoreError(f"{folder / 'state.json'} is not whole: it needs name, digest and task.")
    return StoredPosterior(str(state["name"]), tensors.load(folder / "tensors.safetensors"), str(state["digest"]), state["task"])


def load(folder: str | Path) -> Bundle:
    """The bundle in `folder`, or in the run folder `folder`.

    Raises:
        NotARun: if there is none.
        NewerFormat: if a later headstart wrote it.
    """
    return atomic.read_folder(find(Path(folder).expanduser()), _read)


def find(path: Path) -> Path:
    """The bundle folder that `path` (a bundle or a run) means.

    Raises:
        NotARun: says what is there instead.
    """
    is_run = is_file(path / "plan.json")
    where = path / "bundle" if is_run else path
    atomic.finish_swap(where)
    if is_file(where / "config.json") and is_file(where / "model.safetensors"):
        return where
    if is_run:
        raise NotARun(
            f'the run "{path}" has no bundle yet: it was stopped before its first row was complete. headstart resume finishes it.'
        )
    if not os.path.lexists(path):
        raise NotARun(f'"{path}" does not exist. Name a run folder, a bundle, or "last".')
    raise NotARun(f'"{path}" is neither a bundle (model.safetensors, config.json, task.json) nor a run folder with one.')


def _read(where: Path) -> Bundle:
    config = atomic.read_json(where / "config.json")
    if not isinstance(config, dict) or "headstart" not in config:
        raise NotARun(
            f'"{where}" holds a model that headstart did not write (its config.json has no key "headstart"). '
            f'As the start of a training it may be used: backbone="{where}".'
        )
    check_format(config["headstart"], where / "config.json")
    task = check_format(atomic.read_json(where / "task.json"), where / "task.json")
    card = where / "README.md"
    try:
        posterior, trouble = load_posterior(where / "posterior"), ""
    except StoreError as error:
        posterior, trouble = None, str(error)
    return Bundle(
        tensors=tensors.load(where / "model.safetensors"),
        config=config,
        task={key: value for key, value in task.items() if key != "format"},
        card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
        files={name: (where / name).read_text(encoding="utf-8") for name in config["headstart"].get("files", ())},
        posterior=posterior,
        trouble=trouble,
    )
