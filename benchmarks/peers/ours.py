"""What the scripts of headstart on tables share."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import headstart as hs


class Silent:
    """Nothing is shown."""

    def show(self, event: object) -> None: ...

    def close(self) -> None: ...


def parser(doc: str | None, *places: str) -> argparse.ArgumentParser:
    """For these paths, the minutes, the seed and settings in JSON."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for place in places:
        made.add_argument(place)
    made.add_argument("--minutes", type=float)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    return made


def trained(asked: argparse.Namespace, read: Callable[[], hs.Dataset], **more: Any) -> tuple[hs.Learner, dict[str, Any]]:
    """A learner after the head alone, or after the minutes, which hold the reading too; and what every row tells of it."""
    settings = {name: json.loads(value) for name, _, value in (word.partition("=") for word in asked.set)}
    started = time.perf_counter()
    learn = hs.Learner(read(), seed=asked.seed, run=asked.run, observer=Silent(), started=started, **settings, **more)
    learn.fine_tune(0) if asked.minutes is None else learn.fine_tune(minutes=asked.minutes)
    told = {
        "seconds": round(time.perf_counter() - started, 1),
        "kept": learn.kept,
        "curve": [{key: row[key] for key in ("epoch", "valid_loss", "seconds")} for row in learn.history],
    }
    return learn, told
