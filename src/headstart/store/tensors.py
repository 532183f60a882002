"""Named tensors in one safetensors file: no code runs when it is read, and it is whole or not there."""

import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import StoreError
from headstart.store._leftover import beside, remove
from headstart.store._trouble import told


def save(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Makes `path` hold the tensors (any device or memory layout; tensors that share memory are kept as copies)."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with told(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(path, "new")
        try:
            try:
                save_file(_separate(tensors), temporary, metadata={"format": "pt", **(metadata or {})})
            except SafetensorError as error:
                raise _as_os_error(error) from error
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            remove(temporary)
            raise


def load(path: Path) -> dict[str, Any]:
    """The tensors of a file, in memory on the CPU.

    Raises:
        StoreError: names the file, when it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as loads

    with told(path, "read"):
        data = path.read_bytes()  # not mapped: an open map would keep Windows from replacing the file, and follows no rename
    try:
        return loads(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(
            f'"{path}" is not a whole safetensors file ({error}). It was damaged after it was written, or is something else: '
            "restore it from a copy, or train again."
        ) from error


def metadata(path: Path) -> dict[str, str]:
    """What was said of the tensors when they were saved; reads the head of the file only."""
    with told(path, "read"), path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            return json.loads(file.read(length)).get("__metadata__", {})
        except (struct.error, ValueError, OverflowError, MemoryError) as error:
            raise StoreError(f'"{path}" is not a safetensors file. Restore it from a copy.') from error


def _separate(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """CPU tensors, each contiguous and in its own memory, as the format wants them."""
    separate, seen = {}, set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        if memory in seen or plain.untyped_storage().nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        separate[name] = plain
    return separate


def _as_os_error(error: Exception) -> OSError:
    """The system's refusal that the library wrapped in words ("... (os error 28)")."""
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]), str(error)) if code else OSError(str(error))
