"""headstart: fine-tune a pretrained model on your labelled images in minutes, and know how far to trust it.

Importing does nothing: names are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.core import Dataset, Settings
    from headstart.data.arrays import from_arrays
    from headstart.data.coco import coco_json
    from headstart.data.fixes import apply_labels
    from headstart.data.huggingface import from_huggingface
    from headstart.data.masks import mask_folder
    from headstart.data.rows import array_csv, text_csv
    from headstart.data.sheet import show
    from headstart.data.sources import image_csv, image_folder
    from headstart.learner import Learner, load, resume
    from headstart.learner.choosing import choose
    from headstart.report.check import check

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Learner",
    "Settings",
    "apply_labels",
    "array_csv",
    "check",
    "choose",
    "coco_json",
    "from_arrays",
    "from_huggingface",
    "image_csv",
    "image_folder",
    "load",
    "mask_folder",
    "resume",
    "show",
    "text_csv",
]

_PLACES = (
    ("headstart.core", ("Dataset", "Settings")),
    ("headstart.data.sheet", ("show",)),
    ("headstart.report.check", ("check",)),
    ("headstart.data.fixes", ("apply_labels",)),
    ("headstart.data.rows", ("array_csv", "text_csv")),
    ("headstart.data.arrays", ("from_arrays",)),
    ("headstart.data.coco", ("coco_json",)),
    ("headstart.data.huggingface", ("from_huggingface",)),
    ("headstart.data.masks", ("mask_folder",)),
    ("headstart.data.sources", ("image_csv", "image_folder")),
    ("headstart.learner", ("Learner", "load", "resume")),
    ("headstart.learner.choosing", ("choose",)),
)


def __getattr__(name: str) -> Any:
    for module, names in _PLACES:
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"headstart has no {name!r}. There are: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
