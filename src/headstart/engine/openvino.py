"""OpenVINO as an engine for the frozen forward: converted once, compiled from the cache afterwards, silent about its user.

The only importer of openvino. Its converter would send telemetry and write an identifier into the home folder: the import
is made to find no telemetry package, and the conversion goes through the frontend, which has none.
"""

import hashlib
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache as cache_result
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from headstart.backbones._wrapped import one_thread
from headstart.core import Modality
from headstart.errors import StoreError
from headstart.machine import cpu_name
from headstart.store import atomic, cache

TELEMETRY = "openvino_telemetry"
CACHE_BYTES = 2 << 30
LAYOUT = 1
"""Raised when the compiled networks of older caches would be used wrongly."""
# f32: bfloat16, the default on some processors, moves features by more than we promise
CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}


def version() -> str | None:
    """The installed version of openvino, None when there is none."""
    try:
        return installed_version("openvino")
    except PackageNotFoundError:
        return None


class Compiled:
    """A compiled backbone: uint8 pixels in, features out; the normalisation is inside.

    Each request is one image, and several run side by side, each on its own cores: a fifth less work than batches of eight,
    whose activations leave the processor's caches, and an image's numbers cannot depend on its neighbours.
    """

    def __init__(self, openvino: ModuleType, network: Any, width: int, cached: bool) -> None:
        self._network = network
        self._queue = openvino.AsyncInferQueue(network)
        self._width = width
        self.cached = cached
        """Whether it came from the cache, neither converted nor compiled anew."""

    def features(self, pixels: UInt8[np.ndarray, "batch size size 3"]) -> Float32[np.ndarray, "batch features"]:
        """The features of each image."""
        rows = np.empty((len(pixels), self._width), np.float32)

        def keep(request: Any, place: int) -> None:
            rows[place] = request.get_output_tensor(0).data[0]

        self._queue.set_callback(keep)
        for place in range(len(pixels)):
            self._queue.start_async({0: np.ascontiguousarray(pixels[place : place + 1])}, place)
        self._queue.wait_all()
        return rows


def load(backbone: nn.Module, modality: Modality, width: int, fresh: bool = False, keep: bool = True) -> Compiled:
    """The backbone compiled for this processor: from the cache unless `fresh`, else converted, compiled and (to `keep`) cached.

    Raises:
        ImportError: without openvino.
        RuntimeError, ValueError, TypeError: when openvino cannot convert or compile this network.
    """
    openvino = _silent_import()
    core = _core()
    file = cache.folder("engines") / f"{_key(backbone, modality)}.blob"
    if not fresh and file.is_file():
        with suppress(OSError, RuntimeError):
            network = core.import_model(file.read_bytes(), "CPU", CONFIG)
            cache.touch(file)
            return Compiled(openvino, network, width, cached=True)
    network = core.compile_model(_converted(openvino, backbone, modality), "CPU", CONFIG)
    with suppress(OSError, StoreError):
        if not keep:
            return Compiled(openvino, network, width, cached=False)
        atomic.write_bytes(file, _exported(network))
        cache.bound("engines", CACHE_BYTES, keep=[file])
    return Compiled(openvino, network, width, cached=False)


@cache_result
def _core() -> Any:
    """One for the whole process, which is never given up.

    Beware: OpenVINO 2026.4 gives the thread that first compiles a stack of its own for signals, and frees it with the core, also
    when that happens on another thread, such as one that collects garbage. The next Ctrl-C would then end the process.
    """
    return _silent_import().Core()


def _silent_import() -> ModuleType:
    if "openvino" in sys.modules:
        return importlib.import_module("openvino")
    before = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # makes the import of that name fail, for which openvino has a stub
    try:
        return importlib.import_module("openvino")
    finally:
        if before is None:
            del sys.modules[TELEMETRY]
        else:
            sys.modules[TELEMETRY] = before


def _key(backbone: nn.Module, modality: Modality) -> str:
    """Names the compiled network by its content: weights, structure, normalisation, size, versions, processor."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(repr((LAYOUT, version(), torch.__version__, cpu_name(), CONFIG, modality.size, *_scale(modality))).encode())
    digest.update(repr(backbone).encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _scale(modality: Modality) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, from 0 to 1: all of the normalisation that is inside the compiled network."""
    told = modality.published()
    return told["mean"], told["std"]


def _converted(openvino: ModuleType, backbone: nn.Module, modality: Modality) -> Any:
    """The backbone as an openvino model of one image, [1, size, size, 3] uint8."""
    frontend = importlib.import_module("openvino.frontend")
    decoders = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    example = torch.zeros(1, 3, modality.size, modality.size)
    with _quiet(), one_thread(), torch.no_grad():
        traced = torch.jit.trace(backbone, example, check_trace=False)
        decoder = decoders.TorchScriptPythonDecoder(traced, example_input=example, trace_kwargs={})  # must outlive the conversion
        converter = frontend.FrontEndManager().load_by_framework("pytorch")
        model = converter.convert(converter.load(decoder))
    steps = openvino.preprocess.PrePostProcessor(model)
    taken = steps.input(0)
    taken.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    taken.tensor().set_shape([1, modality.size, modality.size, 3])
    taken.model().set_layout(openvino.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in _scale(modality))
    taken.preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return steps.build()


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing warns of its own deprecation and of sizes that become constants, which they are here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _exported(network: Any) -> bytes:
    blob = network.export_model()
    return blob if isinstance(blob, bytes) else blob.getvalue()
