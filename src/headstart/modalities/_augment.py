"""Random changes of training images: drawn as plain numbers from (seed, epoch, item), applied to a whole batch at once."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8

from headstart.errors import unknown_name
from headstart.modalities._geometry import Geometry, to_input
from headstart.seeds import derive

_LUMA = (0.299, 0.587, 0.114)
_N_DRAWS = 24
CPU_CHUNK = 2
"""Images changed at a time on a CPU: few enough to stay in its cache from one operation to the next."""
EDGE = 1e-3
"""Darkest and brightest values are moved this far from 0 and 1 before their logit is taken."""


@dataclass(frozen=True, slots=True)
class Preset:
    """How far each change may go. A probability of 0 switches it off; `exact` ones move pixels without interpolating."""

    exact: bool = False
    window: bool = False
    """Whether the square cut along the long side is taken at a random place; else at the centre."""
    flip: float = 0.0
    dihedral: bool = False
    p_affine: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0
    warp: float = 0.0
    p_light: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    min_area: float = 1.0
    """The smallest share of the window that the random crop keeps; 1 takes the centre of `size` pixels."""
    p_saturation: float = 0.0
    saturation: float = 0.0
    p_grey: float = 0.0
    p_erase: float = 0.0
    max_erase: float = 0.2


PRESETS = MappingProxyType(
    {
        "none": Preset(exact=True),
        "flip": Preset(exact=True, flip=0.5),
        "dihedral": Preset(exact=True, dihedral=True),
        "light": Preset(
            window=True, flip=0.5, p_affine=0.75, degrees=10.0, zoom=1.1, warp=0.2, p_light=0.75, brightness=0.2, contrast=0.2,
            min_area=0.75,
        ),
        "strong": Preset(
            window=True, flip=0.5, p_affine=0.75, degrees=20.0, zoom=1.2, warp=0.25, p_light=0.8, brightness=0.4, contrast=0.4,
            min_area=0.35, p_saturation=0.75, saturation=0.5, p_grey=0.1, p_erase=0.25, max_erase=0.2,
        ),
    }
)  # fmt: skip
"""`light` draws what fastai's `aug_transforms(size=size, min_scale=.75)` draws."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What happens to each image of a batch, as numbers."""

    position: Float[np.ndarray, " batch"]
    """Where along the long side the window is cut, 0 to 1."""
    symmetry: Integer[np.ndarray, " batch"]
    """Bit 0 mirrors left-right, bit 1 up-down, bit 2 transposes (first). Part of `homography`; used alone by exact presets."""
    homography: Float[np.ndarray, "batch 3 3"]
    """From output to window coordinates, both from -1 to 1, x before y."""
    brightness: Float[np.ndarray, " batch"]
    """Added in the logit domain."""
    contrast: Float[np.ndarray, " batch"]
    """Factor in the logit domain."""
    saturation: Float[np.ndarray, " batch"]
    """1 keeps the colours, 0 makes grey."""
    erase: Float[np.ndarray, "batch 4"]
    """Left, top, right, bottom of a blanked box in output coordinates from 0 to 1; empty where nothing is erased."""


def draw(preset: str, seed: int, epoch: int, items: Integer[np.ndarray, " batch"]) -> Draws:
    """The changes of these items in this epoch: a pure function of (seed, epoch, item), whatever the batch.

    Raises:
        UnknownName: with the nearest preset.
    """
    rule = find_preset(preset)
    u = _uniform(derive(seed, "augment", epoch), np.asarray(items))

    def between(column: int, low: float, high: float) -> np.ndarray:
        return low + (high - low) * u[:, column]

    def when(column: int, p: float, value: np.ndarray, otherwise: float) -> np.ndarray:
        return np.where(u[:, column] < p, value, otherwise)

    n = len(u)
    symmetry = (u[:, 1] * 8).astype(np.int64) if rule.dihedral else (u[:, 1] < rule.flip).astype(np.int64)
    light = -np.log1p(-rule.contrast)
    half = 0.5 * rule.brightness
    change = between(3, 0.5 - half, 0.5 + half)
    grey = u[:, 7] < rule.p_grey
    return Draws(
        position=u[:, 0].copy() if rule.window else np.full(n, 0.5),
        symmetry=symmetry,
        homography=_homography(rule, u, symmetry),
        brightness=when(2, rule.p_light, np.log(change / (1 - change)), 0.0),
        contrast=when(4, rule.p_light, np.exp(between(5, -light, light)), 1.0),
        saturation=np.where(grey, 0.0, when(6, rule.p_saturation, between(8, 1 - rule.saturation, 1 + rule.saturation), 1.0)),
        erase=_erase(rule, u),
    )


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        UnknownName: with the nearest one.
    """
    if name not in PRESETS:
        raise unknown_name("augmentation", name, PRESETS)
    return PRESETS[name]


def _uniform(key: int, items: Integer[np.ndarray, " batch"]) -> Float[np.ndarray, "batch draws"]:
    """Numbers in [0, 1) for each item: SplitMix64 streams, so that an item's numbers depend on nothing but key and item."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        start = _mix(np.uint64(key) + _mix(items.astype(np.uint64) * golden + np.uint64(1)))
        counters = np.arange(1, _N_DRAWS + 1, dtype=np.uint64) * golden
        return (_mix(start[:, None] + counters) >> np.uint64(11)) * 2.0**-53


def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _homography(
    rule: Preset, u: Float[np.ndarray, "batch draws"], symmetry: Integer[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch 3 3"]:
    """Output to window coordinates: crop o zoom o rotation o symmetry o perspective."""
    n = len(u)
    result = np.tile(np.eye(3), (n, 1, 1))
    if rule.warp:
        on = u[:, 9] < rule.p_affine
        result = _warp(np.where(on[:, None], (2 * u[:, 10:12] - 1) * rule.warp, 0.0))
    result = _symmetry_matrix(symmetry) @ result
    if rule.degrees:
        angle = np.where(u[:, 12] < rule.p_affine, (2 * u[:, 13] - 1) * np.deg2rad(rule.degrees), 0.0)
        turn = np.tile(np.eye(3), (n, 1, 1))
        turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
        turn[:, 1, 0] = np.sin(angle)
        turn[:, 0, 1] = -turn[:, 1, 0]
        result = turn @ result
    if rule.zoom > 1:
        factor = np.where(u[:, 14] < rule.p_affine, 1 + (rule.zoom - 1) * u[:, 15], 1.0)
        result = _box(1 / factor, u[:, 16:18]) @ result
    if rule.min_area < 1:
        result = _box(np.sqrt(rule.min_area + (1 - rule.min_area) * u[:, 18]), u[:, 19:21]) @ result
    return result


def _symmetry_matrix(symmetry: Integer[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3 3"]:
    """Where each output point of one of the 8 symmetries of the square comes from."""
    matrix = np.zeros((len(symmetry), 3, 3))
    matrix[:, 2, 2] = 1
    sign_x = np.where(symmetry & 1, -1.0, 1.0)
    sign_y = np.where(symmetry & 2, -1.0, 1.0)
    transposed = (symmetry & 4) > 0
    rows = np.arange(len(symmetry))
    matrix[rows, transposed.astype(int), 0] = sign_x
    matrix[rows, 1 - transposed.astype(int), 1] = sign_y
    return matrix


def _box(side: Float[np.ndarray, " batch"], place: Float[np.ndarray, "batch 2"]) -> Float[np.ndarray, "batch 3 3"]:
    """Keeps a square of `side` times the whole, placed (0 to 1) within it."""
    matrix = np.zeros((len(side), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = side
    matrix[:, :2, 2] = (1 - side)[:, None] * (2 * place - 1)
    matrix[:, 2, 2] = 1
    return matrix


def _warp(magnitude: Float[np.ndarray, "batch 2"]) -> Float[np.ndarray, "batch 3 3"]:
    """The perspective that takes the corners of the square to those pushed out and in by `magnitude` (x, y), as fastai's Warp."""
    x, y = magnitude[:, 0], magnitude[:, 1]
    corners = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    targets = np.stack([np.stack(pair, 1) for pair in ((-1 - y, -1 - x), (-1 + y, 1 + x), (1 + y, -1 + x), (1 - y, 1 - x))], 1)
    n = len(x)
    system = np.zeros((n, 8, 8))
    for k, (a, b) in enumerate(corners):
        tx, ty = targets[:, k, 0], targets[:, k, 1]
        system[:, 2 * k, :3] = (a, b, 1)
        system[:, 2 * k + 1, 3:6] = (a, b, 1)
        system[:, 2 * k, 6:] = np.stack([-tx * a, -tx * b], 1)
        system[:, 2 * k + 1, 6:] = np.stack([-ty * a, -ty * b], 1)
    solved = np.linalg.solve(system, targets.reshape(n, 8, 1))[..., 0]
    return np.concatenate([solved, np.ones((n, 1))], 1).reshape(n, 3, 3)


def _erase(rule: Preset, u: Float[np.ndarray, "batch draws"]) -> Float[np.ndarray, "batch 4"]:
    if not rule.p_erase:
        return np.zeros((len(u), 4))
    area = 0.02 + (rule.max_erase - 0.02) * u[:, 22]
    ratio = np.exp((2 * u[:, 23] - 1) * np.log(3.0))
    width, height = np.minimum(np.sqrt(area * ratio), 1.0), np.minimum(np.sqrt(area / ratio), 1.0)
    left, top = u[:, 16] * (1 - width), u[:, 17] * (1 - height)
    return np.where((u[:, 21] < rule.p_erase)[:, None], np.stack([left, top, left + width, top + height], 1), 0.0)


def augment(
    windows: UInt8[Any, "batch short short 3"], draws: Draws, geometry: Geometry, preset: str
) -> Float[Any, "batch 3 size size"]:
    """Changed, normalised inputs in channels_last memory, computed on the device of `windows`."""
    import torch

    rule = find_preset(preset)
    change = _exact if rule.exact else _approximate
    shape = (len(windows), 3, geometry.size, geometry.size)
    out = torch.empty(shape, dtype=torch.float32, device=windows.device, memory_format=torch.channels_last)
    step = CPU_CHUNK if windows.device.type == "cpu" else max(1, len(windows))
    for first in range(0, len(windows), step):
        part = slice(first, first + step)
        change(windows[part], _part(draws, part), geometry, rule, out[part])
    return out


def _part(draws: Draws, part: slice) -> Draws:
    return Draws(*(getattr(draws, name)[part] for name in Draws.__slots__))


def _columns(device: Any, *numbers: np.ndarray | tuple[float, ...]) -> list[Any]:
    """Numbers per image or per channel as float32 tensors on the device."""
    import torch

    return [torch.from_numpy(np.asarray(each, np.float32)).to(device) for each in numbers]


def _exact(windows: Any, draws: Draws, geometry: Geometry, rule: Preset, out: Any) -> None:
    """The centre in one of the 8 symmetries, without touching a value."""
    start = (windows.shape[1] - geometry.size) // 2
    middle = to_input(windows[:, start : start + geometry.size, start : start + geometry.size], geometry)
    for image, turned, symmetry in zip(middle, out, draws.symmetry.tolist(), strict=True):
        image = image.transpose(1, 2) if symmetry & 4 else image
        axes = [axis for axis, bit in ((2, 1), (1, 2)) if symmetry & bit]
        turned.copy_(image.flip(axes) if axes else image)


def _approximate(windows: Any, draws: Draws, geometry: Geometry, rule: Preset, out: Any) -> None:
    """Resampled, recoloured, normalised, erased."""
    import torch

    device = windows.device
    values = _resample(windows, draws.homography, geometry.size)
    if rule.p_light:
        brightness, contrast = _columns(device, draws.brightness[:, None, None, None], draws.contrast[:, None, None, None])
        values.logit_(EDGE).add_(brightness).mul_(contrast).sigmoid_()
    if rule.p_saturation or rule.p_grey:
        (saturation,) = _columns(device, draws.saturation[:, None, None, None])
        grey = sum(weight * values[:, i : i + 1] for i, weight in enumerate(_LUMA))
        values.sub_(grey).mul_(saturation).add_(grey).clamp_(0, 1)
    mean, std = np.array(geometry.mean), np.array(geometry.std)
    offset, factor = _columns(device, (-mean / std)[:, None, None], (1 / std)[:, None, None])
    torch.addcmul(offset, values, factor, out=out)
    if rule.p_erase:
        for image, box in zip(out, np.rint(draws.erase * geometry.size).astype(int).tolist(), strict=True):
            left, top, right, bottom = box
            image[:, top:bottom, left:right] = 0  # the mean of the images the backbone was trained on


def _resample(windows: Any, homography: np.ndarray, size: int) -> Any:
    """Bilinear samples of each window at the points its homography names, reflected at the border; scale 0-1."""
    from torch.nn.functional import grid_sample

    grid = _grid(windows.device, homography, size)
    return grid_sample(windows.permute(0, 3, 1, 2).mul(1 / 255), grid, "bilinear", "reflection", align_corners=False)


def _grid(device: Any, homography: np.ndarray, size: int) -> Float[Any, "batch size size 2"]:
    """For each place of a square of this side the point of the window that the homography names, from -1 to 1."""
    import torch

    axis = (torch.arange(size, device=device, dtype=torch.float32) * 2 + 1) / size - 1
    (matrix,) = _columns(device, homography)
    x, y = axis.view(1, 1, size), axis.view(1, size, 1)
    grid = torch.empty((len(homography), size, size, 2), device=device)
    scale = torch.addcmul(
        matrix[:, 2, 1, None, None] * y + matrix[:, 2, 2, None, None], matrix[:, 2, 0, None, None], x
    ).reciprocal_()
    for i in range(2):
        row = torch.addcmul(matrix[:, i, 1, None, None] * y + matrix[:, i, 2, None, None], matrix[:, i, 0, None, None], x)
        torch.mul(row, scale, out=grid[..., i])
    return grid


def moved(targets: Shaped[Any, "batch rows columns"], draws: Draws, side: int) -> Shaped[Any, "batch side side"]:
    """What lies over the windows, changed as they are, each place with the value of the nearest one that was there."""
    from torch.nn.functional import grid_sample

    grid = _grid(targets.device, draws.homography, side)
    found = grid_sample(targets[:, None].float(), grid, "nearest", "reflection", align_corners=False)
    return found[:, 0].to(targets.dtype)
