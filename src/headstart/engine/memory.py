"""Work that may ask for more memory than there is: told apart from other errors, and undone so that less can be tried."""

import gc
import traceback
from collections.abc import Callable
from typing import TypeVar

import torch

Found = TypeVar("Found")
WORDS = ("out of memory", "not enough memory", "can't allocate memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")
"""How the parts of torch tell it; its CPU and Apple parts raise plain RuntimeErrors."""


def is_shortage(error: BaseException) -> bool:
    """Whether memory was what is missing."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def tried(work: Callable[[], Found]) -> Found | None:
    """What the work gives; None when memory does not suffice for it, which is then free again."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        # beware: the frames that the error came through hold every activation made so far
        traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
