"""Rows in the order of their experts, and the tiles that products take of them."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.experts.expert_sort import (
    EXPERT_SORT,
    TILE_ROWS,
    Sorting,
    most_tiles,
    sort_by_expert,
    sort_by_expert_reference,
)
from neokernels.device import DATASHEET_DEVICES
from neokernels.moe import NO_EXPERT
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config


@pytest.mark.parametrize(("rows", "experts", "per_row"), [(1, 1, 1), (1, 7, 3), (5, 4, 1), (50, 5, 4), (300, 6, 2)])
def test_order_and_tiles_are_those_of_the_definition(check, rows, experts, per_row):
    check(EXPERT_SORT, Sorting(rows, experts, per_row))


@pytest.mark.parametrize("block", [128, 256])
def test_ids_in_several_blocks(check, block):
    check(EXPERT_SORT, Sorting(190, 5, 2), Config(BLOCK=block, num_warps=1, launch_pdl=False))


@pytest.mark.parametrize("going", ["all to one", "none", "some"])
def test_rows_that_go_nowhere_and_experts_without_rows(device, going):
    experts = 6
    ids = torch.full((40, 2), {"all to one": 4, "none": NO_EXPERT, "some": NO_EXPERT}[going], device=device)
    if going == "some":
        ids[3:30:2, 1] = torch.randint(0, experts, (14,), device=device)
    touched = torch.tensor(10, device=device)
    ours = sort_by_expert(ids, experts, touched, schedules=Schedules(DATASHEET_DEVICES[0]))
    expected = sort_by_expert_reference(ids, experts)
    live = int((ids != NO_EXPERT).sum())
    assert ours.order[:live].equal(expected.order[:live])
    assert ours.maps[..., 0].equal(expected.maps[..., 0])
    real = expected.maps[..., 0] != NO_EXPERT
    assert ours.maps[..., :3][real].equal(expected.maps[..., :3][real])
    assert int(touched) == 10 + len(ids[ids != NO_EXPERT].unique())


@pytest.mark.parametrize("rows", TILE_ROWS)
@pytest.mark.parametrize(("pairs", "experts"), [(1, 5), (4, 5), (100, 5), (129, 1)])
def test_no_routing_needs_more_tiles(pairs, experts, rows):
    """The worst: every expert that can has one row, and one has the rest."""
    lonely = min(pairs, experts) - 1
    assert most_tiles(pairs, experts, rows) >= lonely + -(-(pairs - lonely) // rows)
