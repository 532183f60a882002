"""The machine and what computes on it in facts, for `headstart doctor`."""

from typing import Any

import torch

from headstart.engine import device, openvino, threads
from headstart.machine import cpu_name, logical_cores


def report() -> dict[str, Any]:
    """What `doctor` tells of the machine: CPU, cores, threads, devices, what torch was built for, which engine is there."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {
        "cpu": cpu_name(),
        "cores": threads.physical_cores(),
        "logical_cores": logical_cores(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "gpus": gpus,
        "mps": torch.backends.mps.is_available(),
        "openvino": openvino.version(),
        "allocator_tuned": device.allocator_can_be_tuned(),
    }
