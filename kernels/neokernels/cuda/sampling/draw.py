"""One token for each row, drawn by the largest logit / temperature + noise: one pass, and no softmax.

A program scores a part of the vocabulary, and `best_token` takes the best of what the programs found. The logits are
read once; for few rows two launches are all the time that takes. For hundreds the bound is not memory but arithmetic: a
number of noise costs about a hundred instructions, for products of 64 bits and two logarithms, where memory would bear
thirty.

min-p alone asks for the row's largest logit, which one more pass finds. What top-k and top-p keep is drawn from in
`filtered_draw`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import sampling as operation
from neokernels.counter_random import Purpose, uniform
from neokernels.cuda.sampling import filtered_draw
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
from neokernels.cuda.sampling.candidates import largest_of, part_maxima
from neokernels.cuda.sampling.counter_random import SOURCES as RANDOM_SOURCES
from neokernels.cuda.sampling.counter_random import gumbel_noise, state_of
from neokernels.cuda.sampling.filtered_draw import scaled
from neokernels.device import Device
from neokernels.logit_filters import Filters, keep_likely
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, Work

_SEARCHED = 2048
"""How many candidates a program of `filtered_draw` looks at together."""


@triton.jit
def _draw_kernel(
    logits_ptr,
    temperatures_ptr,
    seeds_ptr,
    positions_ptr,
    maxima_ptr,
    min_p_ptr,
    keys_ptr,
    vocabulary,
    stride,
    splits,
    PURPOSE: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = split * BLOCK + tl.arange(0, BLOCK)
    keeps = token < vocabulary
    temperature = tl.load(temperatures_ptr + row)
    values = scaled(tl.load(logits_ptr + row * stride + token, keeps, other=0.0), temperature)
    if min_p_ptr is not None:
        likeliest = scaled(largest_of(maxima_ptr, row, splits, SPLITS), temperature)
        keeps &= values >= likeliest + tl.log(tl.load(min_p_ptr + row))
    state = state_of(tl.load(seeds_ptr + row), tl.load(positions_ptr + row), PURPOSE)
    keys = tl.where(keeps, keyed(values + gumbel_noise(state, token), token), NOTHING)
    tl.store(keys_ptr + row * splits + split, tl.max(keys))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@dataclass(frozen=True)
class Draws(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    vocabulary: int
    top_k: bool = False
    top_p: bool = False
    min_p: bool = False

    @property
    def searches(self) -> bool:
        """Whether a threshold has to be searched for."""
        return self.top_k or self.top_p


def sample(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    positions: Tensor,
    filters: Filters = Filters(),
    purpose: Purpose = Purpose.TOKEN,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.sampling.sample_reference`; `filters.most_k` is not looked at."""
    rows, vocabulary = logits.shape
    if not rows:
        return torch.empty(0, dtype=torch.int64, device=logits.device)
    asked = [each is not None for each in (filters.top_k, filters.top_p, filters.min_p)]
    config = schedules.config(SAMPLE, Draws(rows, vocabulary, *asked))
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    temperatures, seeds, positions = temperatures.contiguous(), seeds.contiguous(), positions.contiguous()
    filters = _contiguous(filters)
    if filters.top_k is not None or filters.top_p is not None:
        return filtered_draw.filtered_draw(logits, temperatures, seeds, positions, filters, purpose, config)
    splits = triton.cdiv(vocabulary, config.number("BLOCK"))
    keys = torch.empty(rows, splits, dtype=torch.int64, device=logits.device)
    _draw_kernel[rows, splits](
        logits,
        temperatures,
        seeds,
        positions,
        None if filters.min_p is None else part_maxima(logits, config),
        filters.min_p,
        keys,
        vocabulary,
        logits.stride(0),
        splits,
        PURPOSE=int(purpose),
        SPLITS=triton.next_power_of_2(splits),
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return best_tokens(keys, config)


def _contiguous(filters: Filters) -> Filters:
    columns = (filters.top_k, filters.top_p, filters.min_p)
    top_k, top_p, min_p = (None if column is None else column.contiguous() for column in columns)
    return Filters(top_k, filters.most_k, top_p, min_p)


class Sample(TokenKernel[Draws]):
    name = "sample"
    problem_type = Draws
    sources = (_draw_kernel, *SOURCES, *RANDOM_SOURCES, *filtered_draw.SOURCES)
    dependent = True
    knobs = (*KNOBS, Knob("searched", (1024, _SEARCHED, 4096)))
    examples = (
        Draws(1, 151936),
        Draws(64, 128256),
        Draws(1, 201088, top_k=True, top_p=True),
        Draws(256, 151936, top_p=True, min_p=True),
    )

    def problems(self, model: ModelShape) -> Iterator[Draws]:
        for rows in model.decode_batches:
            yield Draws(rows, model.vocabulary)
            yield Draws(rows, model.vocabulary, top_p=True)
            yield Draws(rows, model.vocabulary, top_k=True, top_p=True)

    def heuristic(self, problem: Draws, device: Device) -> Config:
        return schedule(problem.rows, problem.vocabulary, device).changed(searched=_SEARCHED)

    def expects(self, problem: Draws, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4.b32",)

    def makes_sense(self, problem: Draws, config: Config, device: Device) -> bool:
        return makes_sense(config) and (problem.searches or config["searched"] == _SEARCHED)

    def inputs(self, problem: Draws, draw: Draw) -> Inputs:
        rows = problem.rows
        temperatures = draw.normal(rows, dtype=torch.float32).abs() + 0.3
        filters = Filters(
            top_k=draw.integers(1, 60, rows) if problem.top_k else None,
            most_k=59 if problem.top_k else 0,
            top_p=draw.normal(rows, dtype=torch.float32).sigmoid() if problem.top_p else None,
            min_p=draw.normal(rows, dtype=torch.float32).sigmoid() / 10 if problem.min_p else None,
        )
        # Products have tails such that probability falls with a power of the rank, as a trained model's does.
        logits, tails = (draw.normal(rows, problem.vocabulary, dtype=torch.float32) for _ in range(2))
        return 2 * logits * tails, temperatures, draw.integers(0, 2**62, rows), draw.integers(0, 2**17, rows), filters

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (sample(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (operation.sample_reference(*inputs),)

    def scores(self, inputs: Inputs) -> Tensor:
        return _scores(inputs)

    def work(self, problem: Draws) -> Work:
        return Work(nbytes=problem.rows * (4 * problem.vocabulary + 4 + 8 + 8 + 8))


def _scores(inputs: Inputs) -> Tensor:
    """What the arg-max is of, [R, V] float64, from the same uniform numbers."""
    logits, temperatures, seeds, positions, filters = inputs
    tokens = torch.arange(logits.shape[-1], device=logits.device)
    drawn = uniform(seeds, positions, tokens, Purpose.TOKEN).double()
    kept = keep_likely(logits.double() / temperatures.double()[:, None], filters)
    return kept - torch.log(-torch.log1p(-drawn))


SAMPLE = Sample()
