"""Which path and which arithmetic a call takes on a GPU, and why.

The choice follows a model of time, not measurements: no GPU has run it. docs/gpu.md derives it. It
affects only the time, never a code. CRAFT_KERNELS_PATH (gram, streaming, fused) and
CRAFT_KERNELS_PRECISION (see precision.py) override it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from craft_kernels.residual_quantize.forced_path import forced_path
from craft_kernels.residual_quantize.precision import PRECISIONS
from craft_kernels.triton_target import ceil_div, next_power_of_2

GRAM_MAX_K = 16384  # so that a token's scores take 64 registers of each of 256 threads


class Device(NamedTuple):
    """Rates from the data sheets, dense, in TFLOP/s and TB/s."""

    float32: float
    tf32: float
    bf16: float
    bandwidth: float
    units: int  # multiprocessors


DEVICES = {
    ("cuda", 80): Device(19.5, 156, 312, 2.0, 108),  # A100
    ("cuda", 90): Device(67, 495, 990, 3.35, 132),  # H100
    ("cuda", 100): Device(80, 1100, 2250, 8.0, 148),  # B200
    ("hip", "gfx942"): Device(163, 653, 1307, 5.3, 304),  # MI300X
}
_OTHER = Device(20, 40, 80, 0.5, 48)
_LAUNCH = 4e-6  # seconds
_REACHED = 0.5  # the share of the peak that a product reaches


class Tiles(NamedTuple):
    """How the screening product is divided into tiles."""

    BLOCK_N: int
    BLOCK_K: int
    BLOCK_D: int
    num_warps: int
    num_stages: int


_TILES = {
    ("cuda", "tf32x3"): Tiles(64, 64, 32, 8, 3),
    ("cuda", "bf16x3"): Tiles(64, 64, 32, 8, 3),
    ("cuda", "ieee"): Tiles(64, 64, 32, 8, 3),
    ("cuda", "tf32"): Tiles(64, 128, 32, 4, 3),
    ("cuda", "bf16"): Tiles(64, 128, 64, 4, 3),
    ("hip", "bf16x3"): Tiles(64, 64, 32, 4, 2),
    ("hip", "ieee"): Tiles(64, 64, 32, 8, 2),
    ("hip", "tf32"): Tiles(64, 64, 32, 4, 2),
    ("hip", "bf16"): Tiles(64, 128, 64, 4, 2),
}


# By backend and greatest D. A larger D spills registers: at D = 256, every tiling tried did.
_FUSED_TILES = {
    "cuda": {64: Tiles(32, 64, 64, 8, 2), 128: Tiles(16, 64, 128, 8, 2)},
    "hip": {64: Tiles(32, 32, 64, 8, 1)},
    "interpreter": {128: Tiles(64, 2048, 128, 1, 1)},
}


class Plan(NamedTuple):
    """The path and the arithmetic of a call."""

    path: str
    precision: str  # of the streaming path's product
    reason: str


def choose(
    target: tuple[str, object],  # ("cuda", 90), ("hip", "gfx942"), ("interpreter", 0)
    N: int,
    K: int,
    D: int,
    L: int,
    gram_allowed: bool,  # the codebook is shared and frozen, and its gram_bytes hold the matrix
) -> Plan:
    precision = os.environ.get("CRAFT_KERNELS_PRECISION") or _default_precision(target)
    if precision not in PRECISIONS:
        raise ValueError(
            f"CRAFT_KERNELS_PRECISION must be one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    forced = forced_path()
    gram_possible = gram_allowed and K <= GRAM_MAX_K
    if forced == "gram" and not gram_possible:
        raise ValueError(
            "CRAFT_KERNELS_PATH is gram, but that path needs a FrozenCodebook shared by all "
            f"levels, with K <= {GRAM_MAX_K} and room for its Gram matrix ({4 * K * K} bytes) "
            "within gram_bytes; unset it, or make such a codebook"
        )
    fused = fused_tiles(target, D)
    if forced == "fused" and fused is None:
        most = max(_FUSED_TILES[target[0]])
        raise ValueError(
            f"CRAFT_KERNELS_PATH is fused, but that path needs D <= {most} here, got D = {D}; "
            "unset it"
        )
    if forced:
        return Plan(forced, precision, "CRAFT_KERNELS_PATH says so")
    device = DEVICES.get(target, _OTHER)
    seconds = {"streaming": streaming_seconds(device, N, K, D, L, precision)}
    if gram_possible:
        seconds["gram"] = gram_seconds(device, N, K, D, L)
    # Only these have been checked with the compilers; see the compile tests.
    if fused is not None and precision == _default_precision(target) != "ieee":
        seconds["fused"] = fused_seconds(target, N, K, L, precision, fused)
    said = ", ".join(f"{path} {s * 1e6:.0f} us" for path, s in sorted(seconds.items()))
    return Plan(min(seconds, key=seconds.__getitem__), precision, f"modelled: {said}")


def gram_seconds(device: Device, N: int, K: int, D: int, L: int) -> float:
    """The product in float32, writing and reading its scores, and a Gram row per later level."""
    product = 2 * N * K * D / (_REACHED * device.float32 * 1e12)
    walk = 4 * N * K * (2 + L - 1) / (device.bandwidth * 1e12)
    return product + walk + 2 * _LAUNCH


def streaming_seconds(device: Device, N: int, K: int, D: int, L: int, precision: str) -> float:
    """Per level, the product, or reading the codebook from memory if that takes longer."""
    product = 2 * N * K * D / _flops(device, precision)
    memory = (2 if precision == "bf16" else 4) * K * D / (device.bandwidth * 1e12)
    return L * (max(product, memory) + 2 * _LAUNCH)


def fused_seconds(
    target: tuple[str, object], N: int, K: int, L: int, precision: str, tiles: Tiles
) -> float:
    """One launch, in which each multiprocessor takes a block of tokens through all levels, so that
    few tokens leave most of them idle. From Hopper on, the blocks are too small for the newest
    matrix instructions; the older ones are assumed to be half as fast."""
    backend, arch = target
    device = DEVICES.get(target, _OTHER)
    rate = _flops(device, precision) / device.units
    if backend == "cuda" and isinstance(arch, int) and arch >= 90:
        rate /= 2
    waves = ceil_div(ceil_div(N, tiles.BLOCK_N), device.units)
    return waves * L * 2 * tiles.BLOCK_N * K * tiles.BLOCK_D / rate + _LAUNCH


def _flops(device: Device, precision: str) -> float:
    """Operations per second of a product in this precision, counting split products as one."""
    rate, products = {
        "ieee": (device.float32, 1),
        "tf32": (device.tf32, 1),
        "tf32x3": (device.tf32, 3),
        "bf16": (device.bf16, 1),
        "bf16x3": (device.bf16, 3),
    }[precision]
    return _REACHED * rate * 1e12 / products


def tiles(target: tuple[str, object], precision: str, D: int) -> Tiles:
    backend = target[0]
    if backend == "interpreter":  # which pays per program, not per element
        return Tiles(256, 2048, min(256, max(16, next_power_of_2(D))), 1, 1)
    found = _TILES[backend, precision]
    # tl.dot takes no less than 16.
    return found._replace(BLOCK_D=min(found.BLOCK_D, max(16, next_power_of_2(D))))


def fused_tiles(target: tuple[str, object], D: int) -> Tiles | None:
    """None where D is too large for the fused path."""
    backend = target[0]
    for most, found in _FUSED_TILES[backend].items():
        if most >= D:
            return found._replace(BLOCK_D=min(found.BLOCK_D, max(16, next_power_of_2(D))))
    return None


def settle_warps(target: tuple[str, object], precision: str) -> int:
    """Warps of a program that settles a token's code: enough that the compiler does not spill."""
    return 8 if target == ("cuda", 80) and precision == "bf16" else 4


def _default_precision(target: tuple[str, object]) -> str:
    backend, arch = target
    if backend == "cuda":
        return "tf32x3" if isinstance(arch, int) and arch >= 80 else "ieee"
    if backend == "hip":
        return "bf16x3" if str(arch).startswith("gfx9") else "ieee"
    return "ieee"
