"""What the network is made of: its stages from input to output, their size, their maps, and how fast each learns.

Parameters are counted once however often they are used; multiplications by what torch does with one example, not by kinds of layers.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from headstart.backbones._layers import seen
from headstart.backbones._wrapped import as_eval
from headstart.core import Check, Finding, Row
from headstart.inspections._plant import Plant, squares
from headstart.inspections._trace import Trace
from headstart.train.summary import count

QUESTION = "What is in this model, and what learns how fast?"
NEEDS = ("stages",)


def inspect(trace: Trace) -> Finding:
    """A row for each stage: parameters, how many learn, the share of the learning rate, its maps, how far it has moved."""
    assert trace.stages is not None, "NEEDS says so"
    maps, work = _one_forward(trace)
    items: list[Row] = []
    for line in trace.stages.lines:
        moved = (trace.weights or {}).get(line.stage)
        items.append(
            {
                "stage": line.stage,
                "parameters": line.parameters,
                "learn": line.learning,
                "share of the learning rate": line.share,
                "maps": maps.get(line.stage, ""),
                **({} if moved is None else {"weights moved": moved}),
            }
        )
    total, learning = (sum(getattr(line, name) for line in trace.stages.lines) for name in ("parameters", "learning"))
    billions = f" One example takes {work / 1e9:.2g} billion multiplications." if work else ""
    return Finding(
        "summary",
        QUESTION,
        f"{trace.stages.backbone} at {trace.stages.size}: {total:,} parameters in {len(items):,} stages, of which {learning:,} learn when all "
        f"layers are trained.{billions}",
        "good",
        {},
        items,
        checks=_counted(trace, total),
    )


def _one_forward(trace: Trace) -> tuple[dict[str, str], int]:
    """Of one picture the channels, rows and columns of each stage's maps, and how many multiplications it takes; nothing for others."""
    if trace.inputs is None or trace.model is None or not trace.ids:
        return {}, 0
    counter = FlopCounterMode(display=False)
    # beware: the counter hooks gradients of what modules are given, which without them is an error where that is a parameter
    with torch.enable_grad(), as_eval(trace.model), counter:
        _, maps = seen(trace.model.backbone, trace.inputs([0]))
    sizes = {name: " x ".join(str(side) for side in each.shape[1:]) for name, each in maps.items()}
    return sizes, counter.get_total_flops() // 2


def _counted(trace: Trace, total: int) -> tuple[Check, ...]:
    """No parameter stands in two stages."""
    if trace.model is None:
        return ()
    whole = count(trace.model)
    return (Check("every parameter is counted once", whole == total, f"{whole:,} in the model, {total:,} in its stages"),)


def plant(seed: int) -> Plant:
    """A model of one layer and a head, whose sizes are known."""
    planted = squares(seed)
    weights = 3 * 3 * 8 * 8 + 3 * 2 + 2
    return Plant(
        planted.faulty,
        planted.clean,
        lambda found: sum(item["parameters"] for item in found.items) == weights and found.checks[0].passed,
    )
