"""From the names in `track` to observers at work."""

from collections.abc import Sequence
from pathlib import Path

from headstart.core import Observer, Plan
from headstart.plugins import find
from headstart.train.observers.guarded import Aside, Tell
from headstart.train.observers.together import Together


def started(names: Sequence[str], run_folder: Path, plan: Plan, tell: Tell) -> Observer:
    """One observer for all trackers of these names, each on a thread of its own; `tell` says what went wrong in them.

    Raises:
        UnknownName: with the nearest names.
        MissingExtra: for a tracker whose library is not installed.
    """
    trackers = [(name, find("train.trackers", name).make(run_folder, plan)) for name in names]
    return Together([Aside(name, tracker, tell) for name, tracker in trackers])
