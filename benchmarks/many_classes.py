"""A thousand classes: seconds and memory of the default posterior, and of laplace-torch on the same features.

    python benchmarks/many_classes.py [--classes 1000] [--features 2048] [--examples 10000] [--peer] [--report]

Made-up features and a made-up head; each entrant is a process of its own. Ours: fitting (curvature; width and temperature on 1,000 held-out ones),
the bytes of its state, telling a batch of 256 (outputs with draws), with the memory that this takes on top. laplace-torch (extra `dev`,
last layer, Kronecker factors): fitting a share of the examples, from which the whole is extrapolated (marked); and telling a batch of one, in a
process of its own, for it may need more memory than there is.
"""

import argparse
import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import RESULTS, Table, last_json, measure, stoppable

Row = dict[str, Any]
PEERS = (("laplace-torch", "peer"), ("laplace-torch, telling one", "peer_told"))
SHARE = 128
"""Examples that laplace-torch is fitted to."""


def made_up(asked: argparse.Namespace, count: int) -> tuple[Any, Any, Any]:
    """(features, what the head says, classes) of so many examples, and of the same head."""
    import torch

    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(asked.classes, asked.features, generator=draw) / asked.features**0.5
    rows = torch.randn(count, asked.features, generator=draw)
    said = 3 * rows @ weight.T
    return rows, said, said.softmax(1).multinomial(1, generator=draw)[:, 0]


def ours(asked: argparse.Namespace) -> Row:
    """What is printed by a process of ours."""
    import numpy as np
    import torch

    from headstart.posteriors import laplace
    from headstart.posteriors._problem import Labelled, Problem
    from headstart.tasks.single_label import SingleLabel

    rows, said, truths = made_up(asked, asked.examples + 1000)
    train = Labelled(rows[:-1000], said[:-1000], truths[:-1000])
    held = Labelled(rows[-1000:], said[-1000:], truths[-1000:])
    task = SingleLabel(tuple(map(str, range(asked.classes))))
    started = time.perf_counter()
    post = laplace.fit(Problem(task, train, held, np.full(asked.classes, 10.0), asked.examples))
    fitting = time.perf_counter() - started
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = post.outputs(rows[:256], said[:256])
    asking = time.perf_counter() - started
    return {
        "fitting": round(fitting, 2),
        "asking_256": round(asking, 3),
        "state_mb": round(sum(tensor.numel() * tensor.element_size() for tensor in post.state().values()) / 1e6, 1),
        "told_mb": round(torch.as_tensor(found.samples).numel() * torch.as_tensor(found.samples).element_size() / 1e6, 1),
        "grown_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
    }


def peer(asked: argparse.Namespace) -> Row:
    """What is printed by a process of laplace-torch."""
    import torch
    from laplace import Laplace

    rows, _, truths = made_up(asked, SHARE)
    head = torch.nn.Linear(asked.features, asked.classes)
    made = Laplace(torch.nn.Sequential(torch.nn.Identity(), head), "classification")
    pairs = torch.utils.data.TensorDataset(rows, truths)
    started = time.perf_counter()
    made.fit(torch.utils.data.DataLoader(pairs, batch_size=64))
    fitting = time.perf_counter() - started
    if asked.inside == "peer_told":
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        made(rows[:1])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        return {"asking_1": round(time.perf_counter() - started, 2), "grown_mb": round(grown, 1)}
    return {
        "share": SHARE,
        "fitting_share": round(fitting, 2),
        "fitting_extrapolated": round(fitting * asked.examples / SHARE, 1),
        "version": version("laplace-torch"),
    }


def main() -> None:
    """Measures what is missing, then shows the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--inside", choices=("ours", "peer", "peer_told"), default=None, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.inside is not None:
        print(json.dumps((ours if asked.inside == "ours" else peer)(asked)))
        return
    stoppable()
    table = Table("many_classes", asked.results, here=True)
    case = f"{asked.examples} examples, {asked.features} features, {asked.classes} classes"
    for entrant, inside in (("headstart", "ours"), *(PEERS if asked.peer else ())):
        if not asked.report:
            command = [sys.executable, __file__, *sys.argv[1:], "--inside", inside]

            def run(command: list[str] = command) -> Row:
                found = measure(command)
                return {**last_json(found.pop("printed")), **found}

            table.tried(entrant, case, 0, run=run)
    for row in table.rows():
        print({key: value for key, value in row.items() if key not in ("versions", "machine", "python", "commit")})


if __name__ == "__main__":
    main()
