"""The most likely token: the first of equals, as the reference finds it."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.sampling.argmax import ARGMAX, VocabularyRows, argmax
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config

SMALL = Fixed(DATASHEET_DEVICES[0], Config(BLOCK=512, num_warps=2))


@pytest.mark.parametrize(("rows", "vocabulary"), [(0, 100), (1, 1), (3, 100), (2, 1024), (5, 3001)])
def test_the_largest_is_found(check, rows, vocabulary, dtype):
    check(ARGMAX, VocabularyRows(rows, vocabulary, dtype))


@pytest.mark.parametrize(("block", "warps"), [(512, 4), (1024, 2), (2048, 8)])
def test_every_schedule_finds_it(check, block, warps):
    check(ARGMAX, VocabularyRows(3, 2500, "float32"), Config(BLOCK=block, num_warps=warps))


def test_of_equals_the_first_is_taken_whatever_part_it_is_in(device):
    values = torch.zeros(4, 1500, device=device)
    values[0, [700, 5, 1400]] = 1.0
    values[1, 0] = -0.0  # equal to all the others
    values[2, :1200] = -torch.inf
    values[3] = -torch.inf
    assert argmax(values, schedules=SMALL).tolist() == [5, 0, 1200, 0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_no_number_is_the_largest_as_in_torch(device, sign):
    values = torch.randn(2, 1500, generator=torch.Generator().manual_seed(1)).to(device)
    values[0, [900, 800]] = torch.copysign(torch.tensor(torch.nan), torch.tensor(sign)).to(device)
    values[1, 3] = torch.inf
    assert argmax(values, schedules=SMALL).tolist() == values.argmax(-1).tolist() == [800, 3]


def test_rows_may_be_far_apart(device):
    values = torch.randn(4, 3000, generator=torch.Generator().manual_seed(2)).to(device)
    for part in (values[:, :1000], values[::2], values[:, ::3]):
        assert argmax(part, schedules=SMALL).equal(part.argmax(-1))
