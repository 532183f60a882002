"""Devices by name, a run's threads and allocator given back, and a precision chosen by what was measured."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from headstart import model as models
from headstart.backbones import tiny
from headstart.core import Phase
from headstart.engine import device, threads
from headstart.engine import report as reports
from headstart.errors import BadSetting, UnknownName
from headstart.heads import linear
from headstart.tasks import single_label
from headstart.train import precision

CPU = torch.device("cpu")


def losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def example(count: int = 8) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(tiny.build(), linear.make(32, 3, 0)).train()
    return model, torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % 3


def test_auto_is_a_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto") == CPU == device.choose("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.choose("auto").type == "cuda" and device.choose("cuda:1") == torch.device("cuda:1")
    with pytest.raises(BadSetting, match="numbered 0 to 1"):
        device.choose("cuda:2")


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BadSetting, match=r"is a build without CUDA\. Use"):
        device.choose("cuda")
    with pytest.raises(UnknownName, match='Did you mean "cuda"'):
        device.choose("cuad")
    with pytest.raises(UnknownName):
        device.choose("cuda:first")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadSetting, match="no Apple GPU"):
        device.choose("mps")


@pytest.mark.parametrize(("asked", "count"), [("3", 3), ("2,1", 2), ("0", None), ("all", None), (None, None)])
def test_threads_are_set_for_the_run_and_given_back_after_an_error(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, count: int | None
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False) if asked is None else monkeypatch.setenv("OMP_NUM_THREADS", asked)
    torch.set_num_threads(1)
    try:
        with pytest.raises(ZeroDivisionError), device.tuned_run(CPU):
            assert torch.get_num_threads() == (count or threads.physical_cores())
            raise ZeroDivisionError
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_large_tensors_cost_no_page_faults_within_a_run() -> None:
    import resource

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            torch.ones(64 << 18)  # 64 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    if device._glibc() is None:
        pytest.skip("another C library")
    with device.tuned_run(CPU):
        inside = min(
            faults() for _ in range(6)
        )  # the first ones grow the heap to what the run needs, other threads may fault too
    assert inside < 2000 < faults()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident size as Linux tells it")
def test_memory_is_given_back_after_the_run() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if device._glibc() is None:
        pytest.skip("another C library")
    with device.tuned_run(CPU):
        held = torch.ones(256 << 18)
        most = resident()
        del held
        assert resident() > most - (50 << 20)  # kept for the next tensor
    assert resident() < most - (200 << 20)


def test_other_systems_have_no_allocator_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.sys, "platform", "win32")
    assert device._glibc() is None
    with device.tuned_run(CPU):
        assert torch.get_num_threads() >= 1
    assert threads.physical_cores() >= 1


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16, whatever this one has."""
    monkeypatch.setattr("headstart.engine.device._processor_has_bfloat16", lambda: True)


def test_a_processor_without_bfloat16_is_not_asked_how_fast_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.engine.device._processor_has_bfloat16", lambda: False)
    monkeypatch.setattr("headstart.engine.device._timed_gradient", None)  # a call would be an error
    model, phase = models.build(tiny.build(), 3), Phase("all", 1, 1e-3)
    assert precision.choose(model, single_label.SingleLabel(("a", "b", "c")), iter(()), phase, CPU) == "float32"


def test_what_is_far_slower_the_first_time_is_not_timed_again(both: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def slow(model: Any, inputs: Any, targets: Any, loss: Any, name: str) -> tuple[float, torch.Tensor]:
        asked.append(name)
        return {"float32": 1.0, "bfloat16": 10.0}[name], torch.ones(3).double() * len(asked)

    monkeypatch.setattr("headstart.engine.device._timed_gradient", slow)
    found = device.probe_precision(*example(), losses)
    assert asked == ["float32"] * 4 + ["bfloat16"] * 2  # two halves, twice; two halves, once
    assert found["precision"] == "float32"


@pytest.mark.usefixtures("both")
def test_the_probe_leaves_no_trace() -> None:
    model, x, y = example()
    next(model.parameters()).grad = torch.full_like(next(model.parameters()), 7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = device.probe_precision(model, x, y, losses, rounds=1)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    gradients = [parameter.grad for parameter in model.parameters()]
    assert gradients[0] is not None and (gradients[0] == 7).all() and not any(g is not None for g in gradients[1:])
    assert found == json.loads(json.dumps(found)) and model.training
    assert set(found["measured"]) == {"float32", "bfloat16"}
    assert found["measured"]["float32"]["gradient_error"] == 0 < found["measured"]["bfloat16"]["gradient_error"]


def test_the_error_is_a_share_of_the_variance_that_other_images_cause() -> None:
    draws = torch.Generator().manual_seed(0)
    exact = [torch.randn(100_000, generator=draws).double() for _ in range(2)]  # the variance of their mean is 1/2 a number
    wrong = [gradient + 0.3 for gradient in exact]  # off by 0.09 a number
    assert device._error(wrong, exact) == pytest.approx(0.09 / 0.5, rel=0.02)
    assert device._error(exact, exact) == 0


def test_one_image_tells_no_variance_so_float32_stays() -> None:
    model, x, y = example()
    assert set(device.probe_precision(model, x[:1], y[:1], losses)["measured"]) == {"float32"}


def test_the_probe_s_gradient_is_float32_s_and_ignores_what_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = example()
    model[0].requires_grad_(False)
    seconds, gradient = device._timed_gradient(model, x, y, losses, "float32")
    model.zero_grad()
    losses(model(x), y).mean().backward()
    wanted = torch.cat([parameter.grad.flatten() for parameter in model[1].parameters()]).double()
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert seconds > 0


@pytest.mark.parametrize(
    ("seconds", "error", "wanted"),
    [(0.5, 0.05, "bfloat16"), (0.5, 0.15, "float32"), (0.95, 0.01, "float32"), (2.0, 0.0, "float32")],
)
def test_another_precision_must_be_faster_and_add_little_noise(seconds: float, error: float, wanted: str) -> None:
    measured = {
        "float32": {"seconds_per_image": 1.0, "gradient_error": 0.0},
        "bfloat16": {"seconds_per_image": seconds, "gradient_error": error},
    }
    assert device._choice(measured) == wanted


def test_autocast_by_name() -> None:
    layer = linear.make(4, 4, 0)
    with device.autocast("bfloat16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with device.autocast("float32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    with pytest.raises(UnknownName, match='Did you mean "bfloat16"'):
        device.autocast("bfloat61", CPU)


def test_the_report_is_plain_json_and_true_here() -> None:
    report = reports.report()
    assert report == json.loads(json.dumps(report))
    assert report["torch"] == torch.__version__ and 1 <= report["cores"] <= report["logical_cores"]
    assert report["cpu"] and report["cpu"] in device.fingerprint(CPU)
