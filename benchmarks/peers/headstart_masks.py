"""headstart on images with masks, judged on others. One JSON line out: how often each class was taken for each, image by image.

    python headstart_masks.py FOLDER TEST RUN [--minutes M] [--seed N] [--set NAME=VALUE ...]

FOLDER holds train, train_masks, valid and valid_masks, TEST holds val and val_masks. The minutes hold everything from the call on.
"""

import json
from functools import partial
from pathlib import Path

from judging import CLASSES, judged
from ours import parser, trained

import headstart as hs


def main() -> None:
    asked = parser(__doc__, "folder", "test", "run").parse_args()
    learn, told = trained(asked, partial(hs.mask_folder, asked.folder, classes=CLASSES, void=len(CLASSES)))
    images = sorted(Path(asked.test, "val").iterdir())
    masks = [Path(asked.test, "val_masks", f"{image.stem}.png") for image in images]
    pairs = ((mask, said.values) for mask, said in zip(masks, learn.predictions(list(map(str, images))), strict=True))
    print(json.dumps({**told, **judged(pairs)}))


if __name__ == "__main__":
    main()
