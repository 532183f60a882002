"""Where and how to compute: device, threads, allocator, precision. Set when a run starts, given back when it ends."""

import ctypes
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from headstart.engine import threads
from headstart.errors import BadSetting, unknown_name
from headstart.machine import cpu_name

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
# glibc gives blocks above the threshold back to the system at once, so every large tensor costs page faults when it is made
# again; refused values fall back to the largest that every glibc takes
RUNNING = ((M_MMAP_THRESHOLD, (1 << 30, 32 << 20)), (M_TRIM_THRESHOLD, (2**31 - 1,)), (M_TOP_PAD, (1 << 26,)))
RESTING = ((M_MMAP_THRESHOLD, (32 << 20,)), (M_TRIM_THRESHOLD, (64 << 20,)), (M_TOP_PAD, (128 << 10,)))
FASTER, ERROR = 1.1, 0.1
"""What another precision must gain in speed, and how much it may add to the variance that drawing other images causes."""
HOPELESS = 3.0
"""How much slower than float32 a precision may be the first time, when what it needs is being made."""


def choose(device: str = "auto") -> torch.device:
    """The device that `device` names; "auto" is the GPU where there is one, else the CPU.

    Raises:
        UnknownName: with the nearest names.
        BadSetting: when this machine or this build of torch has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise unknown_name("device", device, ("auto", "cpu", "cuda", "cuda:0", "mps"))
    if kind == "cuda" and not torch.cuda.is_available():
        build = "" if torch.version.cuda else f" This torch ({torch.__version__}) is a build without CUDA."
        raise BadSetting(
            f'device="{device}" was asked for, but no NVIDIA GPU can be used here.{build} Use device="auto" or "cpu".'
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise BadSetting(f'device="{device}" was asked for, but the GPUs here are numbered 0 to {torch.cuda.device_count() - 1}.')
    if kind == "mps" and not torch.backends.mps.is_available():
        raise BadSetting('device="mps" was asked for, but there is no Apple GPU here. Use device="auto" or "cpu".')
    return torch.device(device)


@contextmanager
def tuned_run(device: torch.device) -> Iterator[None]:
    """Threads and allocator set for a run on `device`; afterwards the threads are as before and free memory is given back."""
    before = torch.get_num_threads()
    libc = _glibc() if device.type == "cpu" else None
    if device.type == "cpu":
        threads.use(threads.of_a_run())
    _set_allocator(libc, RUNNING)
    try:
        yield
    finally:
        threads.use(before)
        _set_allocator(libc, RESTING)
        if libc is not None:
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library where it is glibc, None on other systems."""
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return None
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
        libc.malloc_trim.argtypes = (ctypes.c_size_t,)
        return libc
    return None


def allocator_can_be_tuned() -> bool:
    """Whether the C library is one whose thresholds a run sets."""
    return _glibc() is not None


def _set_allocator(libc: ctypes.CDLL | None, options: tuple[tuple[int, tuple[int, ...]], ...]) -> None:
    if libc is not None:
        for option, values in options:
            any(libc.mallopt(option, value) for value in values)


# --------------------------------------------------------------------------------------------------------- precision


def probe_precision(
    model: nn.Module,
    inputs: Shaped[Tensor, "batch ..."],
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    rounds: int = 2,
) -> dict[str, Any]:
    """`{"precision": the one to train in, "measured": {name: {"seconds_per_image", "gradient_error"}}}`.

    The error of a precision is the squared distance of its gradient from float32's, as a share of the variance that drawing
    other images causes, which the two halves of the batch tell. Another precision than float32 is chosen only when it is more
    than a tenth faster and its error below a tenth. Parameters, gradients and buffers are left as they were.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    halves = list(zip(inputs.chunk(2), targets.chunk(2), strict=True))
    measured: dict[str, dict[str, float]] = {}
    exact: list[Tensor] = []
    try:
        for precision in precisions(inputs.device) if len(halves) == 2 else ("float32",):
            seconds, found = [], []
            while len(seconds) < rounds and not (seconds and _hopeless(seconds[0] / len(inputs), measured)):
                timed = [_timed_gradient(model, *half, loss, precision) for half in halves]
                seconds.append(sum(once for once, _ in timed))
                found = [gradient for _, gradient in timed]
            exact = exact or found
            measured[precision] = {"seconds_per_image": min(seconds) / len(inputs), "gradient_error": _error(found, exact)}
    finally:
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name]
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    return {"precision": _choice(measured), "measured": measured}


def _error(found: list[Tensor], exact: list[Tensor]) -> float:
    """Squared distance of the halves' mean from the exact one, over the variance of that mean, a quarter of (a - b)^2."""
    distance = sum(one - other for one, other in zip(found, exact, strict=True)) / len(exact)
    variance = (exact[0] - exact[-1]).square().sum() / 4
    return float(torch.as_tensor(distance).square().sum() / variance) if variance > 0 else 0.0


def _hopeless(seconds_per_image: float, measured: dict[str, dict[str, float]]) -> bool:
    """Whether a precision that took so long the first time need not be timed again."""
    return "float32" in measured and seconds_per_image > HOPELESS * measured["float32"]["seconds_per_image"]


def precisions(device: torch.device) -> tuple[str, ...]:
    """Those that this device computes in, float32 first; a processor that would have to emulate one is several times slower in it."""
    able = {"cuda": torch.cuda.is_bf16_supported, "cpu": _processor_has_bfloat16}.get(device.type, lambda: False)
    return ("float32", "bfloat16") if able() else ("float32",)


def _processor_has_bfloat16() -> bool:
    """What oneDNN says of it, which computes layers on processors; false where torch was built without it."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _choice(measured: dict[str, dict[str, float]]) -> str:
    base = measured["float32"]["seconds_per_image"]
    good = {
        name: one["seconds_per_image"]
        for name, one in measured.items()
        if one["gradient_error"] < ERROR and one["seconds_per_image"] * FASTER < base
    }
    return min(good, key=lambda name: good[name]) if good else "float32"


def autocast(precision: str, device: torch.device) -> Any:
    """The context in which a forward runs at this precision: "float32" or "bfloat16".

    Raises:
        UnknownName: for any other.
    """
    if precision == "float32":
        return nullcontext()
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    raise unknown_name("precision", precision, ("float32", "bfloat16"))


def _timed_gradient(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor], precision: str
) -> tuple[float, Float[Tensor, " parameters"]]:
    model.zero_grad(set_to_none=True)
    _wait(inputs.device)
    start = time.perf_counter()
    with autocast(precision, inputs.device):
        outputs = model(inputs)
    loss(outputs.float(), targets).mean().backward()
    _wait(inputs.device)
    seconds = time.perf_counter() - start
    return seconds, torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --------------------------------------------------------------------------------------------------------- processor


def fingerprint(device: torch.device) -> str:
    """The processor that timings and compiled networks belong to."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}: {cpu_name()}"
