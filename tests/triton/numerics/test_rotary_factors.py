"""Cosines and sines of positions."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.rotary_factors import ROTARY_FACTORS, Rotation, rotary_factors
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config


@pytest.mark.parametrize(("tokens", "rotary_dim"), [(1, 2), (3, 12), (9, 128)])
def test_factors_are_those_of_the_reference(check, tokens, rotary_dim, dtype):
    check(ROTARY_FACTORS, Rotation(tokens, rotary_dim, dtype))


@pytest.mark.parametrize("tokens", [1, 2, 8])
def test_every_schedule_gives_the_same(check, tokens):
    check(ROTARY_FACTORS, Rotation(5, 20, "float32"), Config(TOKENS=tokens, num_warps=2))


def test_nothing_comes_of_no_tokens(device):
    none, frequencies = torch.empty(0, dtype=torch.int64, device=device), torch.ones(4, device=device)
    cos, sin = rotary_factors(none, frequencies, torch.float32, schedules=Schedules(DATASHEET_DEVICES[0]))
    assert cos.shape == sin.shape == (0, 8)
