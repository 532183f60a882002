"""What every inspection makes of any network of timm: answers that hold, or the reason why there is none.

    python benchmarks/architectures.py [--jobs evidence questions] [--most 1000] [--report]

Of every file of models that timm has, the smallest two by their names, with random weights.

evidence: the weights are moved so that no head is nearly linear by accident. The map of the evidence either adds up (`exact` where what
follows the last maps is affine, `closed` to 5 %), is struck through because it does not, or is not made, with the reason. `wrong`: a map
that adds up exactly though putting out one place of the maps changes the answer otherwise than it says.

questions: the network is trained for an epoch of sixteen drawn pictures, and all questions are asked. Each is answered, or not with the reason.
Held against what the network itself does: the pass that looks at layers says what `predict` says (`said`, the largest difference of a
probability); where a corner of a picture is changed, the maps of each layer change most in that corner (`misplaced`: layers of which that is
so in less than two of three corners); weights and hooks are afterwards what they were (`touched`).

Rows already in results/architectures.jsonl are not run again; `--report` runs nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, Quiet, Table, last_json, stoppable
from paired import markdown
from PIL import Image

import headstart as hs
from headstart import model as models
from headstart.backbones import from_timm
from headstart.backbones._layers import seen
from headstart.backbones._maps import grid
from headstart.backbones._wrapped import Wrapped, as_eval
from headstart.errors import HeadstartError
from headstart.inspections import evidence
from headstart.inspections._shown import asked
from headstart.learner import tracing

Row = dict[str, Any]
SMALL = (
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "tiny",
    "_xs",
    "micro",
    "small",
    "_s",
    "_t",
    "b0",
    "18",
    "050",
    "_0",
    "_1",
    "10",
    "mini",
)
EXACT = 1e-3
"""The share of an answer that may be left over where what follows is called affine."""
LARGEST = 40_000_000
"""Parameters of a network that is trained here."""
PICTURES, SIDE = 20, 96


def smallest() -> list[str]:
    """Of every file of models in timm the two whose names sound smallest."""
    import timm

    found = []
    for module in timm.list_modules():
        names = [name for name in timm.list_models(module=module) if "_in" not in name and "clip" not in name]
        names.sort(
            key=lambda name: (next((place for place, word in enumerate(SMALL) if word in name), len(SMALL)), len(name), name)
        )
        found += names[:2]
    return found


def tried(run: Callable[[str], Row], name: str) -> Row:
    """What came of it; an error that nobody expected is one of the states."""
    try:
        return run(name)
    except Exception as error:
        return {"state": "failed", "why": f"{type(error).__name__}: {error}"[:200]}


def apart(job: str, name: str) -> Row:
    """The same in a process of its own, which a network may end: torch has kernels that corrupt memory."""
    ran = subprocess.run([sys.executable, __file__, "--one", job, name], capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return last_json(ran.stdout)
    return {"state": "crashed", "why": f"{ran.returncode}: {ran.stderr.strip()[-160:]}"}


# -------------------------------------------------------------------------------------------------------------- evidence


def evident(name: str) -> Row:
    """What the map of the evidence is worth."""
    torch.manual_seed(0)
    try:
        model = models.build(from_timm.build(name, pretrained=False), 5).eval()
    except (HeadstartError, MemoryError) as error:
        return {"state": "no backbone", "why": str(error)[:200]}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * (1.0 if parameter.ndim == 1 else parameter.std().nan_to_num(0.0)))
    size = model.backbone.spec.size
    x = torch.randn(2, 3, size, size)
    place = evidence.where(model, x)
    if isinstance(place, str):
        return {"state": "not available", "why": place, "size": size}
    cut, asks = place(x[:1]), asked(1, 5, True)
    places, left, elsewhere = evidence.evidence(model, cut, asks)
    row = {"size": size, "left": left, "places": list(places.shape), "cut": type(cut).__name__, "in the token": elsewhere}
    if not left <= evidence.CLOSED:
        return {**row, "state": "struck through"}
    others = place(x[1:]).maps
    slopes = [evidence._slope(model, cut, at, asks) for at in (others, cut.maps)]
    if left > EXACT or not torch.allclose(*slopes, rtol=1e-3, atol=1e-6 * float(slopes[1].abs().max())):
        # something bends behind the maps: places share the answer, but one alone does not tell the change
        return {**row, "state": "closed"}
    return {**row, "state": "exact", "wrong": _put_out(model, cut, asks, places)}


def _put_out(model: Any, cut: Any, asks: Any, places: np.ndarray) -> bool:
    """Whether without the strongest place of the maps the answer changes by other than what the map says of it, to a hundredth."""
    row, column = divmod(int(np.abs(places).argmax()), places.shape[1])
    away = cut.maps.clone()
    grid(away)[0, :, row, column] = 0.0  # a view of the maps, or of their tokens
    with torch.no_grad():
        change = float(evidence._contrast(model, cut, cut.maps, asks) - evidence._contrast(model, cut, away, asks))
    return not torch.equal(away, cut.maps) and abs(change - float(places[row, column])) > 0.01 * float(np.abs(places).max())


# ------------------------------------------------------------------------------------------------------------- questions


def drawn(place: Path) -> Path:
    """Pictures of two classes: a bright square on noise, and stripes."""
    draw = np.random.default_rng(0)
    for number in range(PICTURES):
        kind = ("square", "stripes")[number % 2]
        pixels = draw.integers(40, 120, (SIDE, SIDE, 3))
        if kind == "square":
            row, column = draw.integers(8, SIDE - 40, 2)
            pixels[row : row + 32, column : column + 32] += 130
        else:
            pixels[(np.arange(SIDE) // int(draw.integers(3, 9))) % 2 == 0] += 60
        (place / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / kind / f"{number:02d}.png")
    return place


def questioned(name: str) -> Row:
    """What each question gets for an answer, and whether the answers hold."""
    with tempfile.TemporaryDirectory() as place:
        data = hs.image_folder(drawn(Path(place) / "data"), seed=0, valid=0.2)
        try:
            learn = hs.Learner(data, backbone=name, pretrained=False, keep="last", observer=Quiet(), run=Path(place) / "run")
            body = learn.model.backbone
        except (HeadstartError, MemoryError) as error:
            return {"state": "no backbone", "why": str(error)[:200]}
        if body.spec.parameters > LARGEST:
            return {"state": "too large here", "parameters": body.spec.parameters}
        layers, misplaced = placed(body)
        learn.fine_tune(1)
        before = {key: value.clone() for key, value in learn.model.state_dict().items()}
        report = learn.inspect()
        touched = _touched(learn.model, before)
        trace = tracing.traced(learn._session, lambda _: None, {"layers"})
        told = np.exp(trace.said - np.logaddexp.reduce(trace.said, axis=1, keepdims=True))
        sources = {record.id: str(record.source) for record in data.records}
        said = hs.load(Path(place) / "run").predict([sources[each] for each in trace.ids], posterior="none")
        apart = max(abs(one.probs[of] - told[row, at]) for row, one in enumerate(said) for at, of in enumerate(trace.names))
    answers = {finding.name: finding.verdict for finding in report.findings}
    reasons = {finding.name: finding.headline[:160] for finding in report.findings if finding.verdict == "unknown"}
    failing = [f"{finding.name}: {check.name}" for finding in report.findings for check in finding.checks if not check.passed]
    return {
        "state": "answered",
        "parameters": body.spec.parameters,
        "size": body.spec.size,
        "answers": answers,
        "reasons": reasons,
        "failing": failing,
        "layers": layers,
        "misplaced": misplaced,
        "said": float(apart),
        "touched": touched,
    }


def placed(body: Wrapped) -> tuple[int, list[str]]:
    """How many layers give maps, and those whose maps lie otherwise than the image does."""
    size = body.spec.size
    torch.manual_seed(1)
    x = 0.1 * torch.randn(1, 3, size, size)
    quarter, right = size // 4, Counter[str]()
    with torch.inference_mode(), as_eval(body):
        plain = seen(body, x)[1]
        for low, late in ((False, False), (True, False), (False, True)):
            changed = x.clone()
            part = [slice(size - quarter, None) if far else slice(0, quarter) for far in (low, late)]
            changed[:, :, part[0], part[1]] += torch.randn(3, quarter, quarter)
            for name, maps in seen(body, changed)[1].items():
                moved = (maps - plain[name]).abs().mean((0, 1))
                halves = [_heavier(moved.sum(1)), _heavier(moved.sum(0))]
                right[name] += halves == [low, late]
    return len(plain), [name for name in plain if right[name] < 2]


def _heavier(line: torch.Tensor) -> bool:
    """Whether more of it lies in its second half."""
    half = len(line) // 2
    return float(line[-half:].sum()) > float(line[:half].sum())


def _touched(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether a weight is another, or a hook was left."""
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return hooks or any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())


# ---------------------------------------------------------------------------------------------------------------- report


def report_evidence(rows: Sequence[Row]) -> str:
    """How many of each state."""
    states = Counter(str(row["state"]) for row in rows)
    wrong = sum(bool(row.get("wrong")) for row in rows)
    return markdown(["architectures", *states, "wrong"], [[len(rows), *states.values(), wrong]]) if rows else ""


def report_questions(rows: Sequence[Row]) -> str:
    """How often each question was answered, and what does not hold."""
    states = Counter(str(row["state"]) for row in rows)
    answered = [row for row in rows if row["state"] == "answered"]
    names = list(dict.fromkeys(name for row in answered for name in row["answers"]))
    lines = [
        [name, sum(row["answers"][name] != "unknown" for row in answered), sum(name in row["reasons"] for row in answered)]
        for name in names
    ]
    failing = Counter(each for row in answered for each in row["failing"])
    ends = [
        f"{len(rows)} architectures: " + ", ".join(f"{count} {state}" for state, count in states.items()),
        f"said otherwise than by predict (more than .001): {[row['case'] for row in answered if row['said'] > 1e-3]}",
        f"layers that lie otherwise: {[(row['case'], row['misplaced']) for row in answered if row['misplaced']]}",
        f"touched: {[row['case'] for row in answered if row['touched']]}",
        f"checks that failed, and say so on the page: {dict(failing)}",
        f"failed: {[(row['case'], row['why']) for row in rows if row['state'] == 'failed']}",
    ]
    return markdown(["question", "answered", "not, with the reason"], lines) + "\n" + "\n".join(ends) if rows else ""


JOBS: dict[str, tuple[Callable[[str], Row], Callable[[Sequence[Row]], str]]] = {
    "evidence": (evident, report_evidence),
    "questions": (questioned, report_questions),
}


def main() -> None:
    """Runs what is missing, then shows the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("JOB", "NAME"), help="one row, told and not kept")
    asked = parser.parse_args()
    stoppable()
    if asked.one:
        job, name = asked.one
        print(json.dumps(tried(JOBS[job][0], name)))
        return
    table = Table("architectures", asked.results)
    for job in [] if asked.report else asked.jobs:
        for name in smallest()[: asked.most]:
            if table.kept(job, name, 0) is None:
                table.tried(job, name, 0, run=partial(apart, job, name), split="random weights")
    for job in asked.jobs:
        print(JOBS[job][1]([row for row in table.rows() if row["entrant"] == job]), end="\n\n")


if __name__ == "__main__":
    main()
