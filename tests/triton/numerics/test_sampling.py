"""Draws: the noise of the reference, from exactly the tokens that the reference keeps."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from neokernels.counter_random import Purpose, uniform
from neokernels.cuda.sampling import counter_random
from neokernels.cuda.sampling.draw import SAMPLE, Draws, sample
from neokernels.device import DATASHEET_DEVICES
from neokernels.logit_filters import Filters, keep_likely
from neokernels.sampling import sample_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config

SMALL = Fixed(DATASHEET_DEVICES[0], Config(BLOCK=512, num_warps=4, searched=2048))
FILTERS = [(k, p, m) for k in (False, True) for p in (False, True) for m in (False, True)]


@triton.jit
def _uniform_kernel(seeds_ptr, positions_ptr, out_ptr, PURPOSE: tl.constexpr, COUNT: tl.constexpr):
    row = tl.program_id(0)
    state = counter_random.state_of(tl.load(seeds_ptr + row), tl.load(positions_ptr + row), PURPOSE)
    index = tl.arange(0, COUNT)
    tl.store(out_ptr + row * COUNT + index, counter_random.uniform(state, index))


@pytest.mark.parametrize("purpose", list(Purpose))
def test_uniform_numbers_are_those_of_the_reference_to_the_last_bit(device, purpose):
    seeds = torch.tensor([0, 1, 2**63 - 1, -(2**63), -1, 1234567890123456789], device=device)
    positions = torch.tensor([0, 1, 2**40, 131_071, 2**62, 7], device=device)
    out = torch.empty(6, 1024, device=device)
    _uniform_kernel[(6,)](seeds, positions, out, PURPOSE=int(purpose), COUNT=1024)
    assert out.equal(uniform(seeds, positions, torch.arange(1024, device=device), purpose))


@pytest.mark.parametrize(("top_k", "top_p", "min_p"), FILTERS)
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 1), (3, 100), (2, 1300)])
def test_the_best_score_of_what_is_kept_wins(check, rows, vocabulary, top_k, top_p, min_p):
    check(SAMPLE, Draws(rows, vocabulary, top_k, top_p, min_p))


@pytest.mark.parametrize(("block", "warps", "searched"), [(512, 4, 2048), (1024, 2, 4096), (2048, 8, 2048)])
@pytest.mark.parametrize(("top_k", "top_p", "min_p"), [(False, False, True), (True, True, False)])
def test_every_schedule_draws_the_same(check, block, warps, searched, top_k, top_p, min_p):
    check(SAMPLE, Draws(2, 2500, top_k, top_p, min_p), Config(BLOCK=block, num_warps=warps, searched=searched))


def test_nothing_comes_of_no_rows(check):
    check(SAMPLE, Draws(0, 96, top_p=True))


@pytest.mark.parametrize("purpose", list(Purpose))
def test_draws_of_every_purpose_are_those_of_the_reference(device, purpose):
    inputs = SAMPLE.inputs(Draws(5, 700, top_k=True), Draw(device, 3))
    for filters in (Filters(), inputs[4]):
        drawn = sample(*inputs[:4], filters, purpose, schedules=SMALL)
        assert drawn.equal(sample_reference(*inputs[:4], filters, purpose))


def drawn_by(seeds, logits, temperature, filters):
    """What one row with these filters is given by each of some seeds."""
    first = torch.zeros_like(seeds)
    top_k, top_p, min_p = (None if t is None else t[first] for t in (filters.top_k, filters.top_p, filters.min_p))
    temperatures = torch.full(seeds.shape, temperature, device=seeds.device)
    logits = logits.expand(len(seeds), -1)
    # How large k may be is not asked for.
    return sample(logits, temperatures, seeds, first, Filters(top_k, 0, top_p, min_p), schedules=SMALL)


def seeds_that_draw(tokens, logits, temperature):
    """For each of some tokens a seed that draws it where nothing is dropped."""
    seeds = torch.arange(300, device=logits.device)
    even = torch.full((300,), temperature, device=logits.device)
    drawn = sample_reference(logits.expand(300, -1), even, seeds, seeds * 0)
    return torch.stack([(drawn == token).nonzero()[0, 0] for token in tokens])


@pytest.mark.parametrize("most_candidates", [16384, 16])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(4, None, None), (5, None, None), (None, 0.45, None), (6, 0.6, None), (6, 0.9, 0.9), (10_000, 0.3, None)],
)
def test_exactly_the_tokens_that_the_reference_keeps_are_drawn(
    device, monkeypatch, top_k, top_p, min_p, most_candidates
):
    """A seed that draws a token among all draws it among those that are kept, if it is one; two tokens are equal."""
    monkeypatch.setattr("neokernels.cuda.sampling.candidates.MOST", most_candidates)
    logits = -8.0 - torch.rand(600, generator=torch.Generator().manual_seed(4))
    likely = [3, 550, 77, 300, 511, 512, 0, 599]
    logits[likely] = torch.tensor([0.0, -0.05, -0.1, -0.15, -0.2, -0.2, -0.25, -0.3])
    logits = (logits * 2)[None].to(device)
    columns = zip((top_k, top_p, min_p), (torch.int64, torch.float32, torch.float32), strict=True)
    top_k, top_p, min_p = (
        None if value is None else torch.tensor([value], dtype=dtype, device=device) for value, dtype in columns
    )
    filters = Filters(top_k, 10_000, top_p, min_p)
    kept = (keep_likely(logits / 2.0, filters) > -torch.inf)[0].nonzero().flatten().tolist()
    assert len(kept) < len(likely)
    drawn = drawn_by(seeds_that_draw(likely, logits, 2.0), logits, 2.0, filters)
    assert sorted(set(drawn.tolist())) == kept


def test_draws_follow_the_softmax(device):
    """300 fixed draws of four tokens: a wrong distribution would give a χ² of 3 degrees of freedom above 21.1."""
    logits = torch.tensor([[1.0, 0.0, -0.5, 0.7]], device=device)
    counts = torch.bincount(drawn_by(torch.arange(300, device=device), logits, 0.8, Filters()), minlength=4).double()
    expected = (logits[0].double() / 0.8).softmax(-1) * 300
    assert float(((counts - expected).square() / expected).sum()) < 21.1


def test_a_row_is_drawn_the_same_alone_and_in_company(device):
    inputs = SAMPLE.inputs(Draws(6, 1100, top_k=True, top_p=True), Draw(device, 8))
    together = sample(*inputs, schedules=SMALL)
    for row in (0, 3, 5):
        one = slice(row, row + 1)
        filters = Filters(inputs[4].top_k[one], 0, inputs[4].top_p[one])
        assert sample(*(t[one] for t in inputs[:4]), filters, schedules=SMALL).equal(together[one])


def test_only_what_is_possible_is_drawn_and_rows_without_numbers_stay_in_the_vocabulary(device):
    logits = torch.full((5, 700), -torch.inf, device=device)
    logits[0, 650] = -3.0
    logits[2] = torch.nan
    logits[3, 3] = torch.inf
    logits[4, [5, 6]] = torch.tensor([80.0, -80.0], device=device)
    rows, even = torch.arange(5, device=device), torch.ones(5, device=device)
    for filters in (
        Filters(),
        Filters(min_p=even * 0.1),
        Filters(top_p=even * 0.9),
        Filters(top_k=rows * 0 + 2),
        Filters(top_k=rows * 0 + 1, top_p=even * 1e-6, min_p=even),
    ):
        drawn = sample(logits, even, rows, rows, filters, schedules=SMALL).tolist()
        assert (drawn[0], drawn[4]) == (650, 5)
        assert all(0 <= token < 700 for token in drawn)


def test_what_is_given_row_by_row_may_lie_apart(device):
    logits, temperatures, seeds, positions, filters = SAMPLE.inputs(Draws(3, 400, True, True, True), Draw(device, 9))
    expected = sample(logits, temperatures, seeds, positions, filters, schedules=SMALL)

    def apart(values):
        return torch.stack([values, torch.zeros_like(values)], -1)[..., 0]

    spread = Filters(apart(filters.top_k), 0, apart(filters.top_p), apart(filters.min_p))
    columns = (apart(logits), apart(temperatures), apart(seeds), apart(positions))
    assert sample(*columns, spread, schedules=SMALL).equal(expected)
