"""DeepSeek-V3's router: experts lie in groups, and a row chooses groups first, then experts among theirs.

s = sigmoid(logits), c = s + b;  a group counts the sum of its two largest c;  of the g best groups the k largest c are
chosen, and w = s of the chosen, divided by their sum where it normalises, times the scaling.

The bias b steers the choice alone: it was trained to even out the load. Source: DeepSeek-V3 (arXiv:2412.19437) §2.1.2,
whose K_r/M best experts of a group are two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, promises_nothing, unless_asked
from neokernels.row_tiles import one_by_one

_SMALLEST_SUM = 1e-20


def route_grouped_reference(
    logits: Tensor,
    bias: Tensor,
    experts_per_token: int,
    groups: int,
    groups_per_token: int,
    normalise: bool,
    scaling: float,
    sigmoid: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> tuple[Tensor, Tensor]:
    """logits [T, E], bias [E] float32; E in `groups` equal groups of two or more.

    `sigmoid` is how that goes over the rows. Returns the chosen ids [T, k] int64 and their weights [T, k] float32.
    """
    scores = sigmoid(logits.float())
    choice = (scores + bias).view(len(scores), groups, scores.shape[1] // groups)
    best = choice.topk(2).values.sum(-1).topk(groups_per_token).indices
    left_out = choice.new_ones(choice.shape[:-1]).scatter(-1, best, 0).bool()
    expert_ids = choice.masked_fill(left_out[..., None], -float("inf")).flatten(-2).topk(experts_per_token).indices
    weights = scores.gather(-1, expert_ids)
    if normalise:
        weights = weights / (weights.sum(-1, keepdim=True) + _SMALLEST_SUM)
    return expert_ids, weights * scaling


_triton: Launcher[[Tensor, Tensor, int, int, int, bool, float], tuple[Tensor, Tensor]] = Launcher(
    "experts.grouped_routing", "route_grouped"
)

route_grouped: Operation[[Tensor, Tensor, int, int, int, bool, float], tuple[Tensor, Tensor]] = Operation(
    "route_grouped",
    Implementation("triton", _triton, without_triton),
    Implementation("reference", route_grouped_reference, promises_nothing),
    Implementation(
        "one_by_one", partial(route_grouped_reference, sigmoid=partial(one_by_one, torch.sigmoid)), unless_asked
    ),
)
