"""Speculative sampling: whether drafted tokens are taken, and a draw from what the draft leaves of the target.

`redraw` reads both rows of probabilities once and makes the noise once. A token that the draft leaves something of is
scored by that, any other by the target, and the former come first in the keys whose maximum is the token: so the
target's own score decides exactly where nothing at all is left, and no pass has to find that out beforehand.
Bound by memory for the few rows that a step verifies; `accept` is a launch over a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import rejection as operation
from neokernels.counter_random import Purpose, uniform
from neokernels.cuda.sampling import counter_random
from neokernels.cuda.sampling.best_token import (
    KNOBS,
    NOTHING,
    SOURCES,
    TokenKernel,
    best_tokens,
    keyed,
    makes_sense,
    schedule,
)
from neokernels.cuda.sampling.counter_random import gumbel_noise, state_of
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work

_TOKEN, _ACCEPTANCE = tl.constexpr(int(Purpose.TOKEN)), tl.constexpr(int(Purpose.ACCEPTANCE))
_LEFT = tl.constexpr(1 << 62)
"""Above every key of `keyed`, as far as those are apart."""


@triton.jit(do_not_specialize=("count",))
def _accept_kernel(
    target_ptr,
    draft_ptr,
    tokens_ptr,
    where_ptr,
    seeds_ptr,
    positions_ptr,
    taken_ptr,
    count,
    target_stride,
    draft_stride,
    BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    drafted = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = drafted < count
    token = tl.load(tokens_ptr + drafted, inside, other=0)
    row = tl.load(where_ptr + drafted, inside, other=0)
    seeds = tl.load(seeds_ptr + drafted, inside, other=0)
    state = state_of(seeds, tl.load(positions_ptr + drafted, inside, other=0), _ACCEPTANCE)
    chance = counter_random.uniform(state, token * 0)
    by_draft = tl.load(draft_ptr + drafted.to(tl.int64) * draft_stride + token, inside, other=0.0)
    by_target = tl.load(target_ptr + row * target_stride + token, inside, other=0.0)
    tl.store(taken_ptr + drafted, chance * by_draft < by_target, inside)
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def _redraw_kernel(
    target_ptr,
    draft_ptr,
    which_ptr,
    seeds_ptr,
    positions_ptr,
    keys_ptr,
    vocabulary,
    target_stride,
    draft_stride,
    splits,
    BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = split * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocabulary
    target = tl.load(target_ptr + row * target_stride + token, inside, other=0.0)
    which = tl.load(which_ptr + row)
    drafted = tl.where(which < 0, 0, vocabulary)
    draft = tl.load(draft_ptr + which * draft_stride + token, token < drafted, other=0.0)
    left = target - draft
    state = state_of(tl.load(seeds_ptr + row), tl.load(positions_ptr + row), _TOKEN)
    scores = tl.log(tl.where(left > 0, left, target)) + gumbel_noise(state, token)
    keys = keyed(scores, token) + tl.where(left > 0, _LEFT, -_LEFT)
    tl.store(keys_ptr + row * splits + split, tl.max(tl.where(inside, keys, NOTHING)))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@dataclass(frozen=True)
class Drafted(Problem):
    batch_fields: ClassVar = {"tokens": 64}

    tokens: int
    vocabulary: int


@dataclass(frozen=True)
class Redrawn(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    vocabulary: int


def accept(
    target: Tensor,
    draft: Tensor,
    tokens: Tensor,
    where: Tensor,
    seeds: Tensor,
    positions: Tensor,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.rejection.accept_reference`."""
    count, vocabulary = draft.shape
    taken = torch.empty(count, dtype=torch.bool, device=target.device)
    target, draft = target.contiguous(), draft.contiguous()
    if count:
        config = schedules.config(ACCEPT, Drafted(count, vocabulary))
        _accept_kernel[(triton.cdiv(count, config.number("BLOCK")),)](
            target,
            draft,
            tokens.contiguous(),
            where.contiguous(),
            seeds.contiguous(),
            positions.contiguous(),
            taken,
            count,
            target.stride(0),
            draft.stride(0),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return taken


def redraw(
    target: Tensor, draft: Tensor, which: Tensor, seeds: Tensor, positions: Tensor, *, schedules: Schedules
) -> Tensor:
    """As `neokernels.rejection.redraw_reference`."""
    rows, vocabulary = target.shape
    if not rows:
        return torch.empty(0, dtype=torch.int64, device=target.device)
    config = schedules.config(REDRAW, Redrawn(rows, vocabulary))
    target, draft = target.contiguous(), draft.contiguous()
    splits = triton.cdiv(vocabulary, config.number("BLOCK"))
    keys = torch.empty(rows, splits, dtype=torch.int64, device=target.device)
    _redraw_kernel[rows, splits](
        target,
        draft,
        which.contiguous(),
        seeds.contiguous(),
        positions.contiguous(),
        keys,
        vocabulary,
        target.stride(0),
        draft.stride(0),
        splits,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return best_tokens(keys, config)


def _probabilities(draw: Draw, rows: int, vocabulary: int) -> Tensor:
    return draw.normal(rows, vocabulary, dtype=torch.float32, scale=2.0).softmax(-1)


class Accept(TunableKernel[Drafted]):
    name = "accept"
    problem_type = Drafted
    sources = (_accept_kernel, *counter_random.SOURCES)
    knobs = (Knob("BLOCK", (32, 128)), Knob("num_warps", (1, 4)), Knob("launch_pdl", (False, True)))
    examples = (Drafted(256, 151936),)

    def problems(self, model: ModelShape) -> Iterator[Drafted]:
        for requests in model.decode_batches:
            yield Drafted(4 * requests, model.vocabulary)

    def heuristic(self, problem: Drafted, device: Device) -> Config:
        return Config(BLOCK=32, num_warps=1, launch_pdl=False)

    def makes_sense(self, problem: Drafted, config: Config, device: Device) -> bool:
        return config.number("BLOCK") == 32 * config.number("num_warps")

    def inputs(self, problem: Drafted, draw: Draw) -> Inputs:
        drafted, vocabulary = problem.tokens, problem.vocabulary
        target, draft = (_probabilities(draw, drafted, vocabulary) for _ in range(2))
        tokens = draw.integers(0, vocabulary, drafted)
        where = draw.permutation(drafted)
        return target, draft, tokens, where, draw.integers(0, 2**62, drafted), draw.integers(0, 2**17, drafted)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (accept(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (operation.accept_reference(*inputs),)

    def exact(self, inputs: Inputs) -> Outputs:
        target, draft, tokens, where, seeds, positions = inputs
        chance = uniform(seeds, positions, torch.zeros(1, dtype=torch.int64, device=seeds.device), Purpose.ACCEPTANCE)
        by_draft, by_target = draft.gather(-1, tokens[:, None]), target[where].gather(-1, tokens[:, None])
        return ((chance.double() * by_draft.double() < by_target.double()).squeeze(-1),)

    def work(self, problem: Drafted) -> Work:
        return Work(nbytes=problem.tokens * (4 + 4 + 4 * 8 + 1))


class Redraw(TokenKernel[Redrawn]):
    name = "redraw"
    problem_type = Redrawn
    sources = (_redraw_kernel, *SOURCES, *counter_random.SOURCES)
    dependent = True
    knobs = KNOBS
    examples = (Redrawn(1, 151936), Redrawn(64, 128256))

    def problems(self, model: ModelShape) -> Iterator[Redrawn]:
        for rows in model.decode_batches:
            yield Redrawn(rows, model.vocabulary)

    def heuristic(self, problem: Redrawn, device: Device) -> Config:
        return schedule(problem.rows, problem.vocabulary, device)

    def expects(self, problem: Redrawn, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4.b32",)

    def makes_sense(self, problem: Redrawn, config: Config, device: Device) -> bool:
        return makes_sense(config)

    def inputs(self, problem: Redrawn, draw: Draw) -> Inputs:
        rows = problem.rows
        target, draft = (_probabilities(draw, rows, problem.vocabulary) for _ in range(2))
        which = draw.permutation(rows)
        which = torch.where(which % 3 == 1, -1, which)
        return target, draft, which, draw.integers(0, 2**62, rows), draw.integers(0, 2**17, rows)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (redraw(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (operation.redraw_reference(*inputs),)

    def scores(self, inputs: Inputs) -> Tensor:
        return _scores(inputs)

    def work(self, problem: Redrawn) -> Work:
        return Work(nbytes=problem.rows * (2 * 4 * problem.vocabulary + 4 * 8))


def _scores(inputs: Inputs) -> Tensor:
    """What the arg-max is of, [R, V] float64, from the same uniform numbers."""
    target, draft, which, seeds, positions = inputs
    tokens = torch.arange(target.shape[-1], device=target.device)
    drawn = uniform(seeds, positions, tokens, Purpose.TOKEN).double()
    left = (target.double() - draft.double()[which] * (which >= 0)[:, None]).clamp(min=0)
    rest = torch.where((left > 0).any(-1, keepdim=True), left, target.double())
    return rest.log() - torch.log(-torch.log1p(-drawn))


ACCEPT, REDRAW = Accept(), Redraw()
