"""Rows in the order of their experts, and which expert's rows each tile of a grouped product takes; all on the device.

One program an expert, in one launch: it counts the ids of all experts, from that knows where its own begin, and goes
over the ids again to write down those that are its own, in their order. Nothing is added by atomics, so the order is
always the same. Every program reads every id, from the second-level cache: 8 bytes × pairs × experts, twice. A decode
step is bound by the latency of a launch; 8192 rows of 8 experts of 128 are 134 MB from that cache, some percent of the
products that follow.

Maps are made for every height of tiles at once, so that each product may take its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.device import Device
from neokernels.moe import NO_EXPERT
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work

TILE_ROWS = (16, 32, 64, 128)
"""Heights of tiles that maps are made for."""
_FIELDS = 4
"""Of a tile in a map: its expert, the first of its rows, their number, and one to fill 16 bytes."""
_SMALLEST = tl.constexpr(TILE_ROWS[0])
_HEIGHTS = tl.constexpr(len(TILE_ROWS))
_FILL = tl.constexpr(64)
_NO_EXPERT = tl.constexpr(NO_EXPERT)


@dataclass(frozen=True, slots=True)
class ByExpert:
    """Pairs of a row and one of its experts, numbered row · k + place, in the order of their experts."""

    order: Tensor
    """[T·k] int32: the pairs. Those that go nowhere are not among them: what stands at the end is undefined."""
    maps: Tensor
    """[len(TILE_ROWS), most tiles, 4] int32: for each height the tiles (expert, first place in `order`, rows, _) in the
    order of experts, then tiles of `NO_EXPERT`."""


def most_tiles(pairs: int, experts: int, rows: int) -> int:
    """Every expert that has pairs may leave a tile all but empty."""
    touched = min(pairs, experts)
    return (pairs + touched * (rows - 1)) // rows


@triton.jit
def _write_map(map_ptr, counts, mine, first, end, most, EXPERTS: tl.constexpr, ROWS: tl.constexpr):
    """One expert's tiles of its places first to end, and its share of those that are left over."""
    tiles = (counts + ROWS - 1) // ROWS
    before = tl.sum(tl.where(tl.arange(0, counts.shape[0]) < mine, tiles, 0))
    fill = tl.arange(0, _FILL)
    for start in range(0, tl.cdiv(end - first, ROWS), _FILL):
        row = first + (start + fill) * ROWS
        tile_ptr = map_ptr + (before + start + fill) * 4
        tl.store(tile_ptr, tl.zeros_like(fill) + mine, row < end)
        tl.store(tile_ptr + 1, row, row < end)
        tl.store(tile_ptr + 2, tl.minimum(end - row, ROWS), row < end)
    for start in range(tl.sum(tiles) + mine * _FILL, most, EXPERTS * _FILL):
        tl.store(map_ptr + (start + fill) * 4, tl.zeros_like(fill) + _NO_EXPERT, start + fill < most)


@triton.jit(do_not_specialize=["pairs", "most"])
def _sort_kernel(
    ids_ptr,
    order_ptr,
    maps_ptr,
    touched_ptr,
    pairs,
    most,
    EXPERTS: tl.constexpr,
    EXPERTS_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    mine = tl.program_id(0)
    expert = tl.arange(0, EXPERTS_BLOCK)
    counts = tl.zeros([EXPERTS_BLOCK], tl.int32)
    for start in range(0, pairs, BLOCK):
        pair = start + tl.arange(0, BLOCK)
        ids = tl.load(ids_ptr + pair, pair < pairs, other=_NO_EXPERT).to(tl.int32)
        counts += tl.histogram(ids, EXPERTS_BLOCK, mask=ids >= 0)
    if mine == 0:
        tl.store(touched_ptr, tl.load(touched_ptr) + tl.sum((counts > 0).to(tl.int64)))

    first = tl.sum(tl.where(expert < mine, counts, 0))
    place = first
    for start in range(0, pairs, BLOCK):
        pair = start + tl.arange(0, BLOCK)
        ids = tl.load(ids_ptr + pair, pair < pairs, other=_NO_EXPERT).to(tl.int32)
        own = (ids == mine).to(tl.int32)
        tl.store(order_ptr + place + tl.cumsum(own, 0) - 1, pair, own != 0)
        place += tl.sum(own)

    for height in tl.static_range(_HEIGHTS):
        _write_map(maps_ptr + height * most * 4, counts, mine, first, place, most, EXPERTS, _SMALLEST << height)


@dataclass(frozen=True)
class Sorting(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    experts: int
    experts_per_token: int


def sort_by_expert(expert_ids: Tensor, experts: int, touched: Tensor, *, schedules: Schedules) -> ByExpert:
    """expert_ids [T, k] int64 with `NO_EXPERT` for none, T above 0; `touched` [] int64 gets those with rows added."""
    rows, per_row = expert_ids.shape
    pairs = rows * per_row
    config = schedules.config(EXPERT_SORT, Sorting(rows, experts, per_row))
    most = most_tiles(pairs, experts, TILE_ROWS[0])
    order = torch.empty(pairs, dtype=torch.int32, device=expert_ids.device)
    maps = torch.empty((len(TILE_ROWS), most, _FIELDS), dtype=torch.int32, device=expert_ids.device)
    _sort_kernel[(experts,)](
        expert_ids.contiguous(),
        order,
        maps,
        touched,
        pairs,
        most,
        EXPERTS=experts,
        EXPERTS_BLOCK=triton.next_power_of_2(experts),
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return ByExpert(order, maps)


def sort_by_expert_reference(expert_ids: Tensor, experts: int) -> ByExpert:
    """What `sort_by_expert` gives, with zeros where that is undefined."""
    flat = expert_ids.flatten()
    going = flat != NO_EXPERT
    pairs = flat.masked_fill(~going, experts).argsort(stable=True)
    order = torch.where(torch.arange(len(flat), device=flat.device) < going.sum(), pairs, 0).int()
    counts = torch.bincount(flat[going], minlength=experts).tolist()
    maps = torch.zeros((len(TILE_ROWS), most_tiles(len(flat), experts, TILE_ROWS[0]), _FIELDS), dtype=torch.int32)
    maps[..., 0] = NO_EXPERT
    for of_height, rows in zip(maps, TILE_ROWS, strict=True):
        tile = first = 0
        for expert, count in enumerate(counts):
            for start in range(0, count, rows):
                of_height[tile] = torch.tensor([expert, first + start, min(rows, count - start), 0])
                tile += 1
            first += count
    return ByExpert(order, maps.to(flat.device))


class ExpertSort(TunableKernel[Sorting]):
    """Ids are those of a router that chooses each expert as often."""

    name = "expert_sort"
    problem_type = Sorting
    sources = (_sort_kernel, _write_map)
    dependent = True
    knobs = (
        Knob("BLOCK", (128, 256, 512, 1024, 2048, 4096, 8192)),
        Knob("num_warps", (1, 2, 4, 8)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (Sorting(64, 128, 8), Sorting(8192, 256, 8))

    def problems(self, model: ModelShape) -> Iterator[Sorting]:
        if model.routed:
            for rows in model.rows:
                yield Sorting(rows, model.routed.experts, model.routed.experts_per_token)

    def heuristic(self, problem: Sorting, device: Device) -> Config:
        # Up to sixteen ids a thread: what a step over them takes is latency for the most part.
        block = max(128, min(4096, triton.next_power_of_2(problem.rows * problem.experts_per_token)))
        return Config(BLOCK=block, num_warps=max(1, min(8, block // 128)), launch_pdl=False)

    def makes_sense(self, problem: Sorting, config: Config, device: Device) -> bool:
        return 1 <= config.number("BLOCK") // (32 * config.number("num_warps")) <= 32

    def inputs(self, problem: Sorting, draw: Draw) -> Inputs:
        return expert_ids(draw, problem.rows, problem.experts, problem.experts_per_token), problem.experts

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        ids, experts = inputs
        touched = torch.zeros((), dtype=torch.int64, device=ids.device)
        by_expert = sort_by_expert(ids, experts, touched, schedules=schedules)
        return by_expert.order, *_columns(by_expert), touched

    def reference(self, inputs: Inputs) -> Outputs:
        ids, experts = inputs
        by_expert = sort_by_expert_reference(ids, experts)
        return by_expert.order, *_columns(by_expert), torch.tensor(len(ids.unique()), device=ids.device)

    def exact(self, inputs: Inputs) -> Outputs:
        return self.reference(inputs)

    def work(self, problem: Sorting) -> Work:
        pairs = problem.rows * problem.experts_per_token
        tiles = sum(most_tiles(pairs, problem.experts, rows) for rows in TILE_ROWS)
        return Work(nbytes=pairs * (torch.int64.itemsize + torch.int32.itemsize) + tiles * _FIELDS * 4)


def expert_ids(draw: Draw, rows: int, experts: int, per_row: int) -> Tensor:
    """[rows, per_row] int64: different experts for each row, each as likely as the others."""
    return draw.normal(rows, experts, dtype=torch.float32).topk(per_row).indices


def _columns(by_expert: ByExpert) -> tuple[Tensor, Tensor]:
    """The experts of all tiles, and what else is said of those that have one."""
    experts = by_expert.maps[..., 0]
    if experts.is_meta:
        return experts, experts
    return experts, by_expert.maps[..., 1:3][experts != NO_EXPERT]


EXPERT_SORT = ExpertSort()
