"""The smallest words: the format number of files, parts, raw labels, rows."""

from typing import Any, Literal

FORMAT = 1
"""Format number of everything written to disk; raised when an older reader would misread a newer file."""

Part = Literal["train", "valid", "test"]
Label = str | tuple[str, ...]
"""A raw label: a text, or a text for each label column. What it means is the task's business."""


class MaskFile(str):
    """A raw label that is the name of a mask: an image whose pixels are numbers of classes.

    `path` tells where it lies now, `image` which image it lies over; equal names are equal labels.
    """

    path: str
    image: str

    def __new__(cls, name: str, path: str, image: str) -> "MaskFile":
        made = super().__new__(cls, name)
        made.path, made.image = path, image
        return made

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return MaskFile, (str(self), self.path, self.image)


Row = dict[str, Any]
"""One row of the table: epoch, stage, train_loss, valid_loss, <metric>, <metric>_95, lr, seconds, beyond_noise (whether it is better
than the first row by more than chance; None in the first)."""
