"""Routers: the experts and weights of the reference."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.experts.grouped_routing import ROUTE_GROUPED, route_grouped
from neokernels.cuda.experts.routing import ROUTE_SOFTMAX, Routing, route_softmax
from neokernels.device import DATASHEET_DEVICES
from neokernels.grouped_routing import route_grouped_reference
from neokernels.moe import route_softmax_reference
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

SCHEDULES = Schedules(DATASHEET_DEVICES[0])


@pytest.mark.parametrize(("rows", "experts", "chosen"), [(1, 1, 1), (3, 5, 1), (7, 33, 3), (4, 128, 8), (2, 6, 6)])
def test_softmax_router_is_the_reference(check, rows, experts, chosen, dtype):
    check(ROUTE_SOFTMAX, Routing(rows, experts, chosen, dtype))


@pytest.mark.parametrize("rows_per_program", [1, 4, 16])
def test_every_schedule_gives_the_same(check, rows_per_program):
    check(ROUTE_SOFTMAX, Routing(11, 20, 3, "float32"), Config(ROWS=rows_per_program, num_warps=1, launch_pdl=False))


@pytest.mark.parametrize(
    ("rows", "experts", "chosen", "groups"), [(1, 2, 1, 1), (5, 24, 4, 4), (3, 21, 5, 3), (4, 256, 8, 8)]
)
def test_router_of_groups_is_the_reference(check, rows, experts, chosen, groups):
    check(ROUTE_GROUPED, Routing(rows, experts, chosen, "float32", groups))


@pytest.mark.parametrize(("kernel", "groups"), [(ROUTE_SOFTMAX, 1), (ROUTE_GROUPED, 4)])
def test_nothing_comes_of_no_rows(check, kernel, groups):
    check(kernel, Routing(0, 16, 2, "float32", groups))


def test_weights_that_are_not_made_to_add_up(device):
    logits, bias = torch.randn(6, 12, device=device), torch.randn(12, device=device)
    for ours, reference in (
        (route_softmax(logits, 3, False, schedules=SCHEDULES), route_softmax_reference(logits, 3, False)),
        (
            route_grouped(logits, bias, 3, 3, 2, False, 1.5, schedules=SCHEDULES),
            route_grouped_reference(logits, bias, 3, 3, 2, False, 1.5),
        ),
    ):
        assert ours[0].equal(reference[0])
        torch.testing.assert_close(ours[1], reference[1])


def test_equal_logits_go_to_the_lower_experts(device):
    logits = torch.zeros(2, 8, device=device)
    ids, weights = route_softmax(logits, 3, True, schedules=SCHEDULES)
    assert ids.tolist() == [[0, 1, 2]] * 2
    assert weights.tolist() == [[pytest.approx(1 / 3)] * 3] * 2
    ids, _ = route_grouped(logits, logits[0], 3, 4, 2, True, 1.0, schedules=SCHEDULES)
    assert ids.tolist() == [[0, 1, 2]] * 2


def test_a_row_of_nan_has_experts_that_exist_and_no_weight_that_counts(device):
    logits = torch.randn(3, 5, device=device)
    logits[1] = torch.nan
    bias = torch.zeros(6, device=device)
    six = torch.cat((logits, logits[:, :1]), 1)
    for ids, weights in (
        route_softmax(logits, 2, True, schedules=SCHEDULES),
        route_grouped(six, bias, 2, 3, 1, True, 1.0, schedules=SCHEDULES),
    ):
        assert bool(((ids >= 0) & (ids < 5 + 1)).all())
        assert bool(weights[1].isnan().all())
        assert not bool(weights[[0, 2]].isnan().any())
