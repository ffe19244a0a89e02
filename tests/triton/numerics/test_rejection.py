"""Judging drafts: the reference's own comparison, and draws from what a draft leaves."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.sampling.rejection import ACCEPT, REDRAW, Drafted, Redrawn, redraw
from neokernels.device import DATASHEET_DEVICES
from neokernels.rejection import redraw_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config

SMALL = Fixed(DATASHEET_DEVICES[0], Config(BLOCK=512, num_warps=4))


@pytest.mark.parametrize(("tokens", "vocabulary"), [(0, 10), (1, 1), (5, 100), (140, 33)])
def test_what_the_reference_takes_is_taken(check, tokens, vocabulary):
    check(ACCEPT, Drafted(tokens, vocabulary))


def test_every_schedule_takes_the_same(check):
    check(ACCEPT, Drafted(140, 33), Config(BLOCK=128, num_warps=4))


@pytest.mark.parametrize(("rows", "vocabulary"), [(0, 10), (1, 1), (4, 100), (3, 1300)])
def test_the_best_score_of_what_is_left_wins(check, rows, vocabulary):
    check(REDRAW, Redrawn(rows, vocabulary))


@pytest.mark.parametrize(("block", "warps"), [(512, 2), (1024, 4), (2048, 8)])
def test_every_schedule_draws_the_same(check, block, warps):
    check(REDRAW, Redrawn(3, 2500), Config(BLOCK=block, num_warps=warps))


def test_where_nothing_is_left_the_target_is_drawn_from(device):
    target, _, _, seeds, positions = REDRAW.inputs(Redrawn(4, 1200), Draw(device, 5))
    target[:, 40:] = 0.0
    draft, which = target.clone(), torch.arange(4, device=device)
    draft[3, 33] *= 0.5  # of the last row that token is left, and no other
    tokens = redraw(target, draft, which, seeds, positions, schedules=SMALL)
    assert tokens.equal(redraw_reference(target, draft, which, seeds, positions))
    assert tokens[3] == 33
    assert int(tokens.max()) < 40


def test_where_there_was_no_draft_none_is_looked_at(device):
    target, _, _, seeds, positions = REDRAW.inputs(Redrawn(3, 700), Draw(device, 6))
    none = torch.full((3,), -1, device=device)
    tokens = redraw(target, target[:0], none, seeds, positions, schedules=SMALL)
    assert tokens.equal(redraw_reference(target, target, none, seeds, positions))
