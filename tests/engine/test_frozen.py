"""The frozen forward agrees with torch, moves nothing, counts, caches, falls back, and keeps to itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from headstart.backbones import bundled, from_module, from_timm, tiny
from headstart.backbones._wrapped import Wrapped
from headstart.engine import frozen, openvino
from headstart.engine.frozen import choose_frozen, torch_features
from headstart.heads import linear
from headstart.modalities import image
from headstart.modalities.image import Images

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(openvino.version() is None, reason="openvino is not installed")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels(count: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def geometry(side: int = 32, mean: float = 0.4) -> Images:
    return Images(side, side, (mean, 0.5, 0.6), (0.2, 0.3, 0.4))


def by_hand(backbone: Wrapped, chosen: Images, batch: np.ndarray) -> np.ndarray:
    """Written from the definition: bytes to 0-1, less the mean, by the deviation, channels first."""
    values = (batch / 255.0 - np.array(chosen.mean)) / np.array(chosen.std)
    with torch.no_grad():
        return backbone.features(torch.tensor(values.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()


@needs_openvino
def test_openvino_gives_torch_s_features_from_bytes() -> None:
    backbone, batch = tiny.build(), pixels(21)
    chosen = choose_frozen(backbone, geometry(), batch, CPU)
    assert chosen.name == "openvino f32" and chosen.notes == ()
    assert chosen.agreement["cosine"] > 0.9999 and chosen.agreement["rows"] == 8
    np.testing.assert_allclose(chosen.features(batch), by_hand(backbone, geometry(), batch), rtol=1e-4, atol=1e-5)


def test_torch_s_features_from_bytes() -> None:
    backbone, batch = tiny.build(), pixels(70)
    found = torch_features(backbone, geometry(), CPU)(batch)
    np.testing.assert_allclose(found, by_hand(backbone, geometry(), batch), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_agreement_over_architectures(name: str) -> None:
    backbone = from_timm.build(name, False, seed=2)
    chosen = choose_frozen(backbone, geometry(160), pixels(2, 160))
    assert chosen.name == "openvino f32"
    np.testing.assert_allclose(
        chosen.features(pixels(2, 160)), torch_features(backbone, geometry(160), CPU)(pixels(2, 160)), rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
@needs_openvino
def test_the_bundled_default_agrees() -> None:
    backbone = bundled.build()
    chosen = choose_frozen(backbone, image.of(backbone.spec, 64), pixels(3, 64))
    assert chosen.name == "openvino f32" and chosen.agreement["largest_difference"] < 1e-4


def test_the_same_pixels_give_the_same_numbers_in_any_batch_and_order() -> None:
    batch = pixels(19)
    order = np.random.default_rng(0).permutation(19)
    chosen = choose_frozen(tiny.build(), geometry(), batch)
    together = chosen.features(batch)
    np.testing.assert_allclose(np.concatenate([chosen.features(one[None]) for one in batch]), together, rtol=0, atol=1e-6)
    np.testing.assert_allclose(chosen.features(batch[order]), together[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(chosen.features(batch[::2]), together[::2], rtol=0, atol=1e-6)  # a view with steps


def test_the_head_says_the_same_of_the_engine_s_features_as_of_torch_s() -> None:
    backbone, head, batch = tiny.build(), linear.make(32, 3, 0), pixels(5)
    chosen = choose_frozen(backbone, geometry(), batch)
    assert chosen.forwards == 0  # the comparison is not counted
    with torch.no_grad():
        found, wanted = (
            head(torch.from_numpy(rows)) for rows in (chosen.run(batch), torch_features(backbone, geometry(), CPU)(batch))
        )
    assert float((found - wanted).abs().max()) < 1e-4


def test_every_image_is_counted_and_an_empty_batch_is_fine() -> None:
    chosen = choose_frozen(tiny.build(), geometry(), pixels(4))
    assert chosen.forwards == 0
    chosen.features(pixels(5))
    assert chosen.features(pixels(0)).shape == (0, 32)
    assert chosen.forwards == 5


def test_nothing_of_the_backbone_moves() -> None:
    backbone = tiny.build()
    backbone.train()
    backbone.net.blocks[1].eval()
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    chosen = choose_frozen(backbone, geometry(), pixels(4))
    chosen.features(pixels(4))
    torch_features(backbone, geometry(), CPU)(pixels(4))
    assert all(torch.equal(state[name], value) for name, value in backbone.state_dict().items())
    assert modes == [module.training for module in backbone.modules()]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in backbone.parameters())
    threads = torch.get_num_threads()
    choose_frozen(backbone, geometry(), pixels(1))
    assert torch.get_num_threads() == threads


@needs_openvino
def test_features_are_those_of_evaluation_while_training() -> None:
    backbone = tiny.build()
    calm = choose_frozen(backbone, geometry(), pixels(6)).features(pixels(6))
    backbone.train()
    np.testing.assert_array_equal(choose_frozen(backbone, geometry(), pixels(6)).features(pixels(6)), calm)


# ------------------------------------------------------------------------------------------------------------- cache


def cached(backbone: Wrapped, chosen: Images) -> bool:
    return choose_frozen(backbone, chosen, pixels(2, chosen.size)).agreement["cached"]


@needs_openvino
def test_the_second_time_nothing_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pixels(3)
    first = choose_frozen(tiny.build(), geometry(), batch).features(batch)

    def refuse(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino, "_converted", refuse)
    chosen = choose_frozen(tiny.build(), geometry(), batch)
    assert chosen.agreement["cached"] is True
    np.testing.assert_array_equal(chosen.features(batch), first)  # also: not compiled in another precision


@pytest.mark.slow
@needs_openvino
def test_other_weights_statistics_sizes_and_norms_are_other_entries() -> None:
    assert not cached(tiny.build(), geometry())
    assert cached(tiny.build(), geometry())
    assert not cached(tiny.build(seed=1), geometry())
    assert not cached(tiny.build(), geometry(mean=0.41))
    assert not cached(tiny.build(), geometry(side=40))
    moved = tiny.build()
    moved.net.get_buffer("blocks.2.1.running_mean").add_(1.0)
    assert not cached(moved, geometry())


@needs_openvino
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_damaged_or_wrong_entry_is_made_again(own_cache: Path, content: bytes | None) -> None:
    assert not cached(tiny.build(), geometry())
    (file,) = (own_cache / "headstart" / "engines").glob("*.blob")
    if content is None:  # the network of other weights: found out by its features
        assert not cached(tiny.build(seed=5), geometry())
        (other,) = set(file.parent.glob("*.blob")) - {file}
        content = other.read_bytes()
    file.write_bytes(content)
    chosen = choose_frozen(tiny.build(), geometry(), pixels(4))
    assert chosen.name == "openvino f32" and chosen.agreement["cached"] is False
    np.testing.assert_allclose(chosen.features(pixels(4)), by_hand(tiny.build(), geometry(), pixels(4)), rtol=1e-4, atol=1e-5)
    assert cached(tiny.build(), geometry())


@needs_openvino
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    assert choose_frozen(tiny.build(), geometry(), pixels(2)).name == "openvino f32"


# ---------------------------------------------------------------------------------------------------------- fallback


class Bessel(nn.Module):
    """Uses an operation that no converter knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x).flatten(1)[:, :4] + 2


class Constant(nn.Module):
    """Leaves torch on its way, so that a trace takes its result for a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.detach().numpy()[:, :, 0, 0] + 10 * np.arange(3, dtype=np.float32)).float() - 9


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "reason"), [(Bessel(), "cannot take this network"), (Constant(), "differ from torch's|cannot take")]
)
def test_what_openvino_cannot_do_torch_does_and_says_so(module: nn.Module, reason: str) -> None:
    backbone = from_module.build(module, size=32)
    chosen = choose_frozen(backbone, geometry(), pixels(8))
    assert chosen.name == chosen.agreement["engine"] == "torch f32"
    assert len(chosen.notes) == 1 and (openvino.version() is None or any(part in chosen.notes[0] for part in reason.split("|")))
    np.testing.assert_allclose(chosen.features(pixels(8)), by_hand(backbone, geometry(), pixels(8)), rtol=1e-4, atol=1e-5)


def test_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "version", lambda: None)
    chosen = choose_frozen(tiny.build(), geometry(), pixels(2))
    assert chosen.name == "torch f32" and chosen.agreement["cosine"] == 1.0


def test_the_comparison_is_by_row_and_knows_rows_of_zeros() -> None:
    wanted = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0]], np.float32)
    assert frozen._compare(wanted, wanted)["cosine"] == 1.0
    turned = np.array([[1.0, 0.0], [0.0, 0.0], [4.0, 3.0]], np.float32)
    assert frozen._compare(turned, wanted) == {"rows": 3, "cosine": pytest.approx(24 / 25), "largest_difference": 1.0}
    assert frozen._compare(wanted + np.array([[0, 0], [1, 0], [0, 0]], np.float32), wanted)["cosine"] == 0.0


# ----------------------------------------------------------------------------------------------------------- privacy

WATCHED = """
import json, os, sys
import torch  # its CUDA builds ask ldconfig for libraries when they are imported, which is not ours to stop
seen = []
def watch(event, args):
    if event.startswith(("subprocess.", "socket.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn")):
        seen.append([event, repr(args)[:200]])
sys.addaudithook(watch)
import numpy as np
from headstart.backbones import tiny
from headstart.engine import device, report
from headstart.engine.frozen import choose_frozen
from headstart.modalities import image
backbone = tiny.build()
pixels = np.zeros((4, 32, 32, 3), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None] * 50
with device.tuned_run(device.choose("cpu")):
    chosen = choose_frozen(backbone, image.of(backbone.spec), pixels)
    chosen.features(pixels)
report.report()
sockets = []
if sys.platform.startswith("linux"):
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets += ["fd"] if os.readlink("/proc/self/fd/" + name).startswith("socket:") else []
        except OSError:
            pass
print(json.dumps({"engine": chosen.name, "cached": chosen.agreement.get("cached"), "seen": seen, "sockets": sockets,
                  "telemetry": "openvino_telemetry" in sys.modules, "timm": "timm" in sys.modules,
                  "dynamo": "torch._dynamo" in sys.modules}))
"""


@pytest.mark.slow
@needs_openvino
def test_no_process_no_socket_and_nothing_at_home_but_our_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    unset = ("HEADSTART_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home / "local")}
    told = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", WATCHED], env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout.splitlines()[-1]))
    assert [one["cached"] for one in told] == [False, True]
    for one in told:
        assert one["engine"] == "openvino f32" and one["seen"] == [] and one["sockets"] == []
        assert not one["telemetry"] and not one["timm"] and not one["dynamo"]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files and all("headstart" in path.relative_to(home).parts and "engines" in path.parts for path in files), files
    assert list(tmp_path.iterdir()) == [home]


def test_timm_s_own_bundle_name_stays_free_of_engines() -> None:
    """The frozen forward is no part of a state dict: nothing of it is saved with the model."""
    backbone = tiny.build()
    before = set(backbone.state_dict())
    choose_frozen(backbone, geometry(), pixels(2))
    assert set(backbone.state_dict()) == before and timm.is_model("test_resnet")


PRESSED = """
import gc, signal, threading
import numpy as np
from headstart.backbones import tiny
from headstart.modalities.image import Images
from headstart.engine.frozen import choose_frozen

engine = choose_frozen(tiny.build(), Images(32, 32, (0.5,) * 3, (0.5,) * 3), np.zeros((2, 32, 32, 3), np.uint8))
assert engine.name.startswith("openvino")
held = [engine]
del engine

def drop():
    held.clear()
    gc.collect()

thread = threading.Thread(target=drop)
thread.start()
thread.join()
presses = []
signal.signal(signal.SIGINT, lambda *_: presses.append(1))
signal.raise_signal(signal.SIGINT)
print(len(presses))
"""


@pytest.mark.slow
@needs_openvino
def test_a_press_of_ctrl_c_survives_an_engine_that_was_given_up_by_another_thread(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PRESSED], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-500:]
