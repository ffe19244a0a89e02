"""Products x Wᵀ as problems, and the tiles that many rows are multiplied in.

Large tiles read each number fewer times; too large ones leave multiprocessors idle in the last wave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import triton

from neokernels.cuda.projections.tiles import COPY_BYTES, describable
from neokernels.device import Device
from neokernels.tuning.space import Config, Knob, Problem, named_dtype

FEW_ROWS = 64
"""Up to here `small_matmul` is meant to serve."""
_RESERVED_SHARED = 3072
"""Bytes for barriers, and what the driver keeps."""


@dataclass(frozen=True)
class Product(Problem):
    batch_fields: ClassVar = {"rows": 128}

    rows: int
    outputs: int
    inputs: int
    dtype: str
    """Of the result, and of what is multiplied unless that is quantised."""
    bias: bool


KNOBS = (
    Knob("BLOCK_M", (64, 128, 256)),
    Knob("BLOCK_N", (64, 128, 256)),
    Knob("BLOCK_K", (32, 64, 128)),
    Knob("GROUP_M", (1, 4, 8, 16)),
    Knob("HALVES", (False, True)),
    Knob("DESCRIPTORS", (False, True)),
    Knob("WARP_SPECIALISE", (False, True)),
    Knob("programs", (1, 2)),
    Knob("num_warps", (4, 8)),
    Knob("num_stages", (2, 3, 4, 5, 6)),
    Knob("launch_pdl", (False, True)),
)
_TILES = ((128, 256, 1.0), (128, 128, 0.85), (64, 128, 0.75), (64, 64, 0.55))
"""(rows, columns, the share of the tensor cores' rate that tiles of this size are taken to reach)."""


def schedule(problem: Product, device: Device, itemsize: int) -> Config:
    """The tile that fills the waves best, with as many copies in flight as shared memory holds; `itemsize`: of what is
    multiplied."""
    programs = 1
    if itemsize == 4:  # products of float32 are not for tensor cores: sums in registers set the size
        programs = 2  # of four warps, which alone would wait for shared memory
        fill = triton.cdiv(problem.rows, 64) * triton.cdiv(problem.outputs, 64) >= programs * device.multiprocessors
        block_m, block_n, block_k, stages = (64, 64, 16, 3) if fill else (32, 32, 32, 4)
    else:
        block_m, block_n = _fullest(problem, device, itemsize)
        block_k = (128 if device.capability >= 90 else 64) // itemsize
        if problem.inputs * itemsize % COPY_BYTES:  # rows that begin anywhere are read number by number
            block_k = 32
        stored = block_m * block_n * named_dtype(problem.dtype).itemsize // 2
        room = device.shared_bytes - _RESERVED_SHARED - stored
        stages = max(2, min(5, room // ((block_m + block_n) * block_k * itemsize)))
    return Config(
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=block_k,
        GROUP_M=8,
        HALVES=True,
        DESCRIPTORS=has_descriptors(problem, device, itemsize),
        WARP_SPECIALISE=False,
        programs=programs,
        num_warps=8 if block_m * block_n >= 128 * 128 else 4,
        num_stages=stages,
        launch_pdl=False,
    )


def _fullest(problem: Product, device: Device, itemsize: int) -> tuple[int, int]:
    def rate(tile: tuple[int, int, float]) -> float:
        block_m, block_n, share = tile
        tiles = triton.cdiv(problem.rows, block_m) * triton.cdiv(problem.outputs, block_n)
        waves: int = triton.cdiv(tiles, device.multiprocessors)
        return share / (waves * block_m * block_n)

    has_room = 90 <= device.capability < 120 and not sums_twice(device, itemsize)
    most = 128 * (256 if has_room else 128)
    block_m, block_n, _ = max((tile for tile in _TILES if tile[0] * tile[1] <= most), key=rate)
    return block_m, block_n


def sums_twice(device: Device, itemsize: int) -> bool:
    """Whether registers hold sums of all K and sums that are to join them (`arithmetic`)."""
    return itemsize == 1 and device.capability // 10 == 9


def has_descriptors(problem: Product, device: Device, itemsize: int) -> bool:
    return describable(device, problem.inputs * itemsize, problem.outputs * named_dtype(problem.dtype).itemsize)


def makes_sense(problem: Product, config: Config, device: Device, itemsize: int) -> bool:
    """Whether tiles fit registers, shared memory and the problem."""
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    if config["DESCRIPTORS"] and not has_descriptors(problem, device, itemsize):
        return False
    if config["WARP_SPECIALISE"] and not config["DESCRIPTORS"]:
        return False
    sums = block_m * block_n / (32 * config.number("num_warps")) * (2 if sums_twice(device, itemsize) else 1)
    held = (block_m + block_n) * block_k * itemsize * (config.number("num_stages") - 1)
    return sums < 256 and block_k * itemsize <= 128 and held * config.number("programs") <= device.shared_bytes


def instructions(problem: Product, config: Config, device: Device) -> tuple[str, ...]:
    """What tiles of 64 rows or more are multiplied and copied with."""
    copies = ("cp.async.bulk.tensor",) if config["DESCRIPTORS"] else ()
    return (() if problem.dtype == "float32" else device.wide_products) + copies
