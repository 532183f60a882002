"""The sampler of `posterior="hmc"`: effective draws and seconds, against Pyro's NUTS on the same posterior of the same head.

    python benchmarks/sampler.py --data NAME=FOLDER [--sets solar_cells] [--large] [--nuts] [--nuts-draws 60] [--peer-python PYTHON] [--report]

The head of the set (features of the default backbone, train and valid parts, its prior by the evidence) is sampled; effective draws are those of the
outputs of 50 training examples, the least of them. With `--large`, 10,000 made-up examples of 768 features and 10 classes. `--nuts` lets Pyro (a
peer: pip install pyro-ppl) sample the same two-class posterior, its weights in units of the prior, one chain, its own adaptation
of step and diagonal mass; its warm-up is not counted. One thread each (OMP_NUM_THREADS=1) unless the environment says otherwise.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Table, stoppable
from jaxtyping import Float, Int
from sets import arguments, available, divided, parse_folders

from headstart.data._steps import exhausted
from headstart.places import evenly
from headstart.posteriors import _sampler, hmc
from headstart.posteriors._precision import BIAS_PRECISION
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.single_label import SingleLabel
from headstart.train.head_solve import rotated, solve_softmax

Row = dict[str, Any]
Rows, Targets = Float[np.ndarray, "batch features"], Int[np.ndarray, " batch"]
WATCHED = 50


def of_set(folder: Path) -> tuple[Rows, Targets]:
    """Features and classes of the train and valid parts."""
    import headstart as hs

    begun = exhausted(hs.Learner(hs.image_folder(folder))._session._beginning(True))
    parts = [begun.state.parts[name] for name in ("train", "valid")]
    begun.store.close()
    return (
        np.concatenate([begun.features.rows[part.indices] for part in parts]),
        np.concatenate([np.asarray(part.targets) for part in parts]),
    )


def made_up(count: int = 10_000, width: int = 768, classes: int = 10) -> tuple[Rows, Targets]:
    """Examples around the middles of their classes, not all of them told apart, with directions of unequal size as features have."""
    draw = np.random.default_rng(0)
    targets = np.arange(count) % classes
    rows = 0.6 * draw.normal(size=(classes, width))[targets] / 5 + draw.normal(size=(count, width)) * np.geomspace(1, 0.05, width)
    return rows.astype(np.float32), targets


def problem_of(rows: Rows, targets: Targets) -> Problem:
    """The solved head with all of its examples."""
    classes = int(targets.max()) + 1
    head = solve_softmax(rows, targets, classes)
    said = torch.from_numpy((rows @ head.weight.T + head.bias).astype(np.float32))
    seen = Labelled(torch.from_numpy(rows), said, torch.from_numpy(targets))
    return Problem(SingleLabel(tuple(map(str, range(classes)))), seen, seen.some(0), head.precision, len(rows))


def ours(problem: Problem) -> Row:
    """As `posterior="hmc"` samples."""
    started = time.perf_counter()
    found = hmc.fit(problem)
    seconds = time.perf_counter() - started
    return {
        "n": len(problem.train.given),
        "features": problem.train.given.shape[1],
        "classes": problem.task.outputs,
        "seconds": round(seconds, 1),
        "effective": float(found.effective.min()),
        "median": float(found.effective.median()),
        "rhat": float(found.rhat.max()),
        "per_second": round(float(found.effective.min()) / seconds, 2),
        "divergences": int(found.divergences),
        "threads": torch.get_num_threads(),
    }


def nuts(problem: Problem, draws: int) -> Row:
    """As Pyro samples the contrast of two classes."""
    import pyro
    import pyro.distributions as dist
    from pyro.infer import MCMC, NUTS

    turned = rotated(problem.train.given.numpy())
    rows, y = torch.from_numpy(turned.rows), problem.train.targets.to(torch.float32)
    alpha = float(problem.precision[0])
    # of two independent weights the contrast has twice the variance
    scale, bias_scale = (2 / alpha) ** 0.5, (2 / BIAS_PRECISION) ** 0.5

    def model() -> None:
        weights = pyro.sample("weights", dist.Normal(torch.zeros(rows.shape[1]), 1.0).to_event(1))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Bernoulli(logits=scale * (rows @ weights) + bias_scale * bias).to_event(1), obs=y)

    torch.manual_seed(0)
    sampler = MCMC(NUTS(model, jit_compile=False), num_samples=draws, warmup_steps=draws, disable_progbar=True)
    started = time.perf_counter()
    sampler.run()
    seconds = time.perf_counter() - started
    found = sampler.get_samples()
    watched = evenly(len(rows), WATCHED)
    seen = (scale * found["weights"] @ rows[watched].T + bias_scale * found["bias"][:, None]).double().numpy()
    effective = _sampler.effective(seen[:, None])
    half = seconds / 2  # half of its trajectories are warm-up, and as long as the others
    return {
        "n": len(rows),
        "features": problem.train.given.shape[1],
        "classes": 2,
        "seconds": round(seconds, 1),
        "draws": draws,
        "effective": float(effective.min()),
        "median": float(np.median(effective)),
        "rhat": float(_sampler.rhat(seen[:, None]).max()),
        "per_second": round(float(effective.min()) / half, 3),
        "threads": torch.get_num_threads(),
        "version": pyro.__version__,
    }


def main() -> None:
    """Runs what is missing, then shows the rows."""
    parser = arguments(__doc__, ("solar_cells",), seeds=1)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--nuts", action="store_true")
    parser.add_argument("--nuts-draws", type=int, default=60)
    asked = parser.parse_args()
    stoppable()
    table = Table("sampler", asked.results)
    if not asked.report:
        for name, read in available(asked.sets, parse_folders(asked.data), asked.peer_python).items():
            split = divided(name, read, 0)
            problem = problem_of(*of_set(split.folder))
            same = {"case": name, "repeat": 0, "split": split.digest}
            table.tried("headstart", run=lambda problem=problem: ours(problem), **same)
            if asked.nuts and problem.task.outputs == 2:
                table.tried("pyro NUTS", run=lambda problem=problem: nuts(problem, asked.nuts_draws), **same)
        if asked.large:
            table.tried("headstart", "made up", 0, run=lambda: ours(problem_of(*made_up())))
    for row in table.rows():
        print(
            {
                key: row[key]
                for key in (
                    "entrant",
                    "case",
                    "n",
                    "features",
                    "classes",
                    "seconds",
                    "effective",
                    "rhat",
                    "per_second",
                    "threads",
                )
            }
        )


if __name__ == "__main__":
    main()
