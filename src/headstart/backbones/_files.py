"""Weight files of other programs: tensors read without running code from the file, and the architecture they belong to."""

import json
import pickle
from pathlib import Path

import torch
from torch import Tensor

from headstart.errors import WeightsUnavailable

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name; a checkpoint's inner table and the prefix of parallel training are unwrapped.

    Raises:
        WeightsUnavailable: when the file is missing, broken, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"there is no weight file {path}. Check the path, or name a backbone.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsUnavailable(
            f"{path} holds Python objects besides tensors, and is not loaded because such a file can run any program. "
            f"Save it again as tensors only: safetensors.torch.save_file(model.state_dict(), ...)."
        ) from error
    except Exception as error:
        raise WeightsUnavailable(f"{path} cannot be read as weights: {type(error).__name__}: {error}. Fetch it again.") from error
    for key in ("state_dict_ema", "state_dict", "model_ema", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {str(key).removeprefix("module."): value for key, value in dict(content).items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsUnavailable(f"{path} holds no tensors. A state dict saved as .safetensors is what is needed.")
    return tensors


def architecture(path: Path) -> str | None:
    """timm's name for what the file holds: from its metadata, a config.json beside it, or its file name; None when nothing tells."""
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
