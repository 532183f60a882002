"""Where the seconds of an epoch go: torch's profiler over one epoch of all layers on the solar cells, by kind of work.

    python benchmarks/profile_epoch.py [--peer-python PYTHON_WITH_ELPV_DATASET] [--batch-size 64] [--augment light] [--trace FILE]

The epoch is the first of `fine_tune` after row 0, with evaluation, the head's second solution and saving, in this process. The shares are those of
the thread that trains: an operation on several threads counts as long as the slowest takes. "between operations" is Python,
optimizer bookkeeping, waiting for augmented images, and the profiler itself, whose cost the second column of the last line shows.
The last line is a measured ceiling: what a product of two square matrices reaches here, for the floor of the convolutions.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import facts
from paired import markdown
from sets import PLACE, available, divided

KINDS: Mapping[str, tuple[str, ...]] = {
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("convolution", "conv2d"),
    "norm layers": ("batch_norm", "layer_norm"),
    "activations": ("hardtanh", "relu", "clamp", "silu", "sigmoid", "gelu"),
    "sums and products of tensors": ("aten::add", "aten::mul", "aten::div", "aten::sub", "aten::lerp", "aten::sum", "aten::mean"),
    "copies and layout": ("aten::copy_", "aten::clone", "aten::fill_", "aten::zero_", "aten::cat", "aten::index"),
    "augmentation: sampling, resizing": ("grid_sampl", "affine_grid", "upsample", "aten::flip"),
    "optimizer": ("fused_adam", "foreach", "Optimizer.step"),
    "matrix products": ("addmm", "aten::mm", "aten::bmm", "aten::linear"),
}
"""Which operations are of which kind, by parts of their names; the first that fits counts."""
SIDE = 2048


def kind(name: str) -> str:
    """The kind of an operation."""
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other operations")


def epoch(
    data: Path, options: Mapping[str, Any], trace: Path | None
) -> tuple[float, float, dict[str, float], list[list[object]]]:
    """Seconds of an epoch without and with the profiler, seconds of each kind, and the longest operations."""
    import torch

    import headstart as hs

    learn = hs.Learner(hs.image_folder(data), **options).fine_tune(1)
    plain = learn.history[-1]["seconds"] - learn.history[-2]["seconds"]
    learn = hs.Learner(hs.image_folder(data), **options).fine_tune(0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        started = time.perf_counter()
        learn.more(1)
        seconds = time.perf_counter() - started
    if trace:
        profile.export_chrome_trace(str(trace))
    spent = dict.fromkeys((*KINDS, "other operations"), 0.0)
    found = sorted(profile.key_averages(), key=lambda each: -each.self_cpu_time_total)
    for each in found:
        spent[kind(each.key)] += each.self_cpu_time_total / 1e6
    longest = [[each.key, each.count, f"{each.self_cpu_time_total / 1e6:.2f}"] for each in found[:20]]
    return plain, seconds, spent, longest


def ceiling() -> float:
    """Floating-point operations per second of a float32 matrix product, in GFLOP/s: the best of five."""
    import torch

    a = torch.randn(SIDE, SIDE)
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(taken[1:]) / 1e9


def main() -> None:
    """One profile, printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--augment", default="light")
    parser.add_argument("--trace", type=Path, help="write a trace for chrome://tracing too")
    parser.add_argument("--place", type=Path, default=PLACE)
    args = parser.parse_args()
    read = available(["solar_cells"], {}, args.peer_python)
    data = divided("solar_cells", read["solar_cells"], 0, args.place).folder
    options = {"batch_size": args.batch_size, "augment": args.augment, "keep": "last"}
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        os.environ["HEADSTART_CACHE"] = str(Path(place) / "cache")
        plain, seconds, spent, longest = epoch(data, options, args.trace)
    rest = seconds - sum(spent.values())
    lines = [
        [name, f"{value:.1f}", f"{100 * value / seconds:.1f} %"] for name, value in {**spent, "between operations": rest}.items()
    ]
    lines.append(["the epoch under the profiler", f"{seconds:.1f}", f"{plain:.1f} s without it"])
    print(markdown(["kind of work", "seconds", "share"], lines))
    print(markdown(["operation", "calls", "seconds"], longest))
    print(f"a float32 matrix product of {SIDE} x {SIDE} reaches {ceiling():.0f} GFLOP/s")
    print(json.dumps(facts()))


if __name__ == "__main__":
    main()
