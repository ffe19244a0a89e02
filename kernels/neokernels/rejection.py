"""Speculative sampling: which drafted tokens stand, and what stands where the first of them does not.

A token drafted from q stands with probability min(1, p(token) / q(token)); where it falls, the token is drawn from
max(0, p − q), normalised. Either way it is distributed as p. Leviathan, Kalman & Matias 2023 (arXiv:2211.17192) §2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.counter_random import Purpose, gumbel_noise, uniform
from neokernels.registry import Implementation, Operation


def reject_reference(
    target: Tensor, draft: Tensor, tokens: Tensor, where: Tensor, seeds: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Judge D drafted tokens by the target's distributions at L rows: `chosen` [L] int64 and `stands` [L] bool.

    `chosen` is the token to take at a row whose drafted token falls, or that has none; such a row does not stand.

    target [L, V] float32 probabilities, changed in place; draft [D, V] float32 probabilities that tokens [D] int64
    were drawn from; where [D] int64, the row of each of them; seeds, positions [L] int64.
    """
    first = torch.zeros(1, dtype=torch.int64, device=target.device)
    chance = uniform(seeds[where], positions[where], first, Purpose.ACCEPTANCE).squeeze(-1)
    token = tokens[:, None]
    taken = chance * draft.gather(-1, token).squeeze(-1) < target[where].gather(-1, token).squeeze(-1)
    target.index_add_(0, where, draft, alpha=-1).clamp_(min=0)
    # Where rounding leaves nothing to draw from, p and q are the same, and the drafted token is a draw from p.
    taken |= target[where].amax(-1) == 0
    stands = torch.zeros(len(target), dtype=torch.bool, device=target.device).index_copy_(0, where, taken)
    every = torch.arange(target.shape[-1], device=target.device)
    return gumbel_noise(seeds, positions, every).add_(target.log_()).argmax(-1), stands


reject = Operation("reject", Implementation("reference", reject_reference))
