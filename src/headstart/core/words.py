"""The smallest words: the format number of files, parts, raw labels, rows."""

from typing import Any, Literal

FORMAT = 1
"""Format number of everything written to disk; raised when an older reader would misread a newer file."""

Part = Literal["train", "valid", "test"]
Label = str | tuple[str, ...]
"""A raw label: a text, or a text for each label column. What it means is the task's business."""
Row = dict[str, Any]
"""One row of the table: epoch, stage, train_loss, valid_loss, <metric>, <metric>_95, lr, seconds, beyond_noise (whether it is better
than the first row by more than chance; None in the first)."""
