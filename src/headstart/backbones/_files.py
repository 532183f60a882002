"""Weight files of other programs: tensors read without running code from the file, and the architecture they belong to."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.errors import WeightsUnavailable

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
CHECKPOINT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name; a checkpoint's inner table and the prefix of parallel training are unwrapped.

    Raises:
        WeightsUnavailable: when the file is missing, broken, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"there is no weight file {path}. Check the path, or name a backbone.")
    try:
        content = _content(path)
    except Exception as error:
        # beware: torch raises a pickle error for code in the file and many others for a damaged one
        if "weights_only" in str(error).lower():
            raise WeightsUnavailable(
                f"{path} holds Python objects besides tensors, and is not loaded because such a file can run any program. "
                f"Save it again as tensors only: safetensors.torch.save_file(model.state_dict(), ...)."
            ) from error
        raise WeightsUnavailable(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}). Fetch it again."
        ) from error
    tensors = {key.removeprefix("module."): value for key, value in _innermost(content).items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsUnavailable(f"{path} holds no tensors. A state dict saved as .safetensors is what is needed.")
    return tensors


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return load(path.read_bytes())
    return torch.load(path, map_location="cpu", weights_only=True)


def _innermost(content: Any) -> dict[str, Any]:
    """The state dict inside a training checkpoint; averaged weights before the last ones."""
    if not isinstance(content, dict):
        return {}
    for key in CHECKPOINT_KEYS:
        if isinstance(content.get(key), dict):
            return {str(name): value for name, value in content[key].items()}
    return {str(name): value for name, value in content.items()}


def architecture(path: Path) -> str | None:
    """timm's name for what the file holds, from its metadata or a config.json beside it; None when nothing tells."""
    if path.suffix == ".safetensors" and path.is_file():
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            named = (file.metadata() or {}).get("architecture")
        if named:
            return named
    beside = path.with_name("config.json")
    if beside.is_file():
        try:
            return json.loads(beside.read_text(encoding="utf-8")).get("architecture")
        except (ValueError, AttributeError, OSError):
            return None
    return None
