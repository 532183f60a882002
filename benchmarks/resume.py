"""Processes killed at random instants and resumed: are the final weights and rows those of an undisturbed run, to the bit?

    python benchmarks/resume.py [--kills 200] [--epochs 4] [--seed 0]

Each try is a whole `headstart train` on generated images with the smallest backbone, killed without warning (SIGKILL; on Windows
TerminateProcess) at an instant drawn evenly over the time an undisturbed run takes, then `headstart resume` until it is finished,
which is itself killed once in every third try. Checkpoints are written after every step, so that many kills hit the writing.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import facts, headstart
from PIL import Image


def make_images(root: Path, count: int = 20) -> Path:
    """Two classes of noise with and without a bright square."""
    for kind in ("plain", "square"):
        (root / kind).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 90, (40, 48, 3), dtype=np.uint8)
            if kind == "square":
                pixels[10:28, 14:32] += 120
            Image.fromarray(pixels).save(root / kind / f"{kind}{number}.png")
    return root


def result(run: Path) -> str:
    """A name for the weights and the table of a finished run, without its times."""
    digest = hashlib.blake2b((run / "bundle" / "model.safetensors").read_bytes())
    for line in (run / "history.jsonl").read_text().splitlines():
        digest.update(repr(sorted(item for item in json.loads(line).items() if item[0] != "seconds")).encode())
    return digest.hexdigest()


def killed_after(command: list[str], seconds: float, place: Path) -> bool:
    """Runs the command for so long at most; whether it had to be killed."""
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, words = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {words[-1500:]}")
    return False


def one_try(train: list[str], wanted: str, instants: list[float], place: Path) -> str:
    """ "equal", or what went wrong."""
    run = place / "run"
    if not killed_after([*train, "--run", str(run)], instants[0], place):
        return "equal" if result(run) == wanted else "undisturbed and different"
    if not (run / "plan.json").is_file():
        return "equal"  # killed before there was a run: nothing to resume, and nothing unreadable
    try:
        for instant in [*instants[1:], 600.0]:
            if not killed_after(headstart("resume", str(run)), instant, place):
                break
        return "equal" if result(run) == wanted else "different"
    except (RuntimeError, OSError, ValueError) as error:
        return str(error)


def main() -> None:
    """Prints the count of equal results; the exit code is 1 unless all are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, told = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory() as folder:
        data = make_images(Path(folder) / "images")
        train = headstart("train", str(data), "--backbone", "tiny", "--epochs", str(asked.epochs), "--batch-size", "8")
        train += ["--checkpoint-seconds", "0"]
        started = time.perf_counter()
        killed_after([*train, "--run", f"{folder}/straight"], 600.0, Path(folder))
        whole, wanted = time.perf_counter() - started, result(Path(folder) / "straight")
        for number in range(asked.kills):
            place = Path(folder) / str(number)
            place.mkdir()
            instants = [draw.uniform(0, whole) for _ in range(2 if number % 3 == 0 else 1)]
            told.append(one_try(train, wanted, instants, place))
            if told[-1] != "equal":
                print(f"try {number}, killed after {instants}: {told[-1]}", flush=True)
    equal = told.count("equal")
    print(
        json.dumps({"benchmark": "resume", "kills": asked.kills, "equal": equal, "seconds_of_a_run": round(whole, 2), **facts()})
    )
    sys.exit(equal != asked.kills)


if __name__ == "__main__":
    main()
