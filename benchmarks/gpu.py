"""The same code on a CUDA device: images per second of a training step and of prediction, and agreement with the CPU.

    python benchmarks/gpu.py [--backbones small,resnet18,resnet50] [--batch-size 64] [--steps 30]

Weights are random where they are not installed: speed does not depend on them. Appends to results/gpu.jsonl.
"""

import argparse
import time

import numpy as np
import torch
from harness import Table

from headstart import model as models
from headstart.core import Batch, Phase
from headstart.engine import device as engine
from headstart.modalities import image
from headstart.tasks.single_label import SingleLabel
from headstart.train.optim import make_optimizer, set_rates
from headstart.train.step import step


def training(backbone: str, batch_size: int, steps: int, precision: str) -> dict[str, float]:
    """Images per second of augmentation and step together, and the most memory held."""
    device = torch.device("cuda")
    model = models.build(models.build_backbone(backbone, pretrained=backbone == "small"), 10).to(
        device, memory_format=torch.channels_last
    )
    task, phase = SingleLabel(tuple("0123456789")), Phase("all", 1, 1e-4, precision=precision, batch_size=batch_size)
    geometry = image.of(model.backbone.spec, None)
    draw = np.random.default_rng(0)
    windows = torch.from_numpy(draw.integers(0, 256, (batch_size, geometry.short, geometry.short, 3), dtype=np.uint8))
    targets = torch.from_numpy(draw.integers(0, 10, batch_size)).to(device)
    models.norm_mode(model, "frozen")
    optimizer = make_optimizer(model, phase)
    set_rates(optimizer, 0.5)
    seconds = 0.0
    for number in range(steps + 5):
        if number == 5:
            torch.cuda.synchronize()
            seconds = time.perf_counter()
        inputs = image.augment(windows.to(device), image.draw("light", 0, number, np.arange(batch_size)), geometry, "light")
        step(model, optimizer, Batch(inputs, targets, tuple(map(str, range(batch_size)))), task, phase)
    torch.cuda.synchronize()
    elapsed = time.perf_counter() - seconds
    return {
        "images_per_second": round(steps * batch_size / elapsed, 1),
        "peak_mb": round(torch.cuda.max_memory_allocated() / 2**20),
    }


def agreement(backbone: str) -> float:
    """The largest difference of a probability between the CPU and the GPU, in float32."""
    model = models.build(models.build_backbone(backbone, pretrained=backbone == "small"), 10)
    size = model.backbone.spec.size
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, size, size)).astype(np.float32))
    cpu = model.outputs(inputs).mean.softmax(1)
    return float((model.to("cuda").outputs(inputs).mean.softmax(1) - cpu).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="small,resnet18,resnet50")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a CUDA device; this machine has none.")
    table, device = Table("gpu", here=True), torch.cuda.get_device_name()
    with engine.tuned_run(torch.device("cuda")):
        for backbone in args.backbones.split(","):
            for precision in ("float32", "bfloat16"):
                case = f"{device}, {backbone}, {precision}, batch {args.batch_size}"
                table.once("headstart", case, 0, lambda: training(backbone, args.batch_size, args.steps, precision))
            table.once(
                "headstart",
                f"{device}, {backbone}, agreement with the CPU",
                0,
                lambda: {"largest_difference": agreement(backbone)},
            )


if __name__ == "__main__":
    main()
