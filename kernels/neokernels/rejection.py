"""Speculative sampling: which drafted tokens are taken, and what is drawn where the first of them is not.

A token drawn from q is taken with probability min(1, p(token) / q(token)); where it is not, one is drawn from
max(0, p − q), normalised. Either way the token is distributed as p. Leviathan, Kalman & Matias 2023 (arXiv:2211.17192)
§2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.counter_random import Purpose, gumbel_noise, uniform
from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation


def accept_reference(
    target: Tensor, draft: Tensor, tokens: Tensor, where: Tensor, seeds: Tensor, positions: Tensor
) -> Tensor:
    """Whether each of D drafted tokens is taken, [D] bool.

    target [L, V] float32 probabilities; draft [D, V] float32 probabilities that tokens [D] int64 were drawn from;
    where [D] int64: the row of the target that judges each; seeds, positions [D] int64, of the tokens.
    """
    token = tokens[:, None]
    first = torch.zeros(1, dtype=torch.int64, device=target.device)
    chance = uniform(seeds, positions, first, Purpose.ACCEPTANCE)
    return (chance * draft.gather(-1, token) < target[where].gather(-1, token)).squeeze(-1)


def redraw_reference(target: Tensor, draft: Tensor, which: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """A token for each of R rows in the place of a draft that was not taken, or where there was none, [R] int64.

    target [R, V] float32 probabilities; draft [D, V] as in `accept`; which [R] int64: the row of `draft` that was not
    taken, −1 for none; seeds, positions [R] int64.
    """
    rest = target - torch.where(which[:, None] < 0, 0.0, draft[which.clamp(min=0)])
    # Where rounding leaves nothing, p and q are the same, and so is what is left.
    rest = torch.where(rest.amax(-1, keepdim=True) > 0, rest.clamp_(min=0), target)
    every = torch.arange(target.shape[-1], device=target.device)
    return gumbel_noise(seeds, positions, every).add_(rest.log_()).argmax(-1)


accept = Operation(
    "accept",
    Implementation("triton", Launcher("sampling.rejection", "accept"), without_triton),
    Implementation("reference", accept_reference),
)
redraw = Operation(
    "redraw",
    Implementation("triton", Launcher("sampling.rejection", "redraw"), without_triton),
    Implementation("reference", redraw_reference),
)
