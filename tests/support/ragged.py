"""Steps of attention with requests of given lengths, for tests of its kernels."""

from __future__ import annotations

from typing import Any

import torch
from neokernels.cuda.attention.problem import AttentionKernel
from neokernels.tuning.draw import Draw
from neokernels.tuning.space import Inputs

Lens = list[tuple[int, int]]
"""(query tokens, context tokens) of each request."""


class Ragged(AttentionKernel):
    """A base before one kernel of attention: requests have these lengths, and outside their contexts caches are NaN."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens

    def lengths(self, problem: Any) -> Lens:
        return self._lens

    def inputs(self, problem: Any, draw: Draw) -> Inputs:
        inputs = super().inputs(problem, draw)
        layout = inputs[3]
        for cache in inputs[1:3]:
            unread = torch.ones(cache.shape[:2], dtype=torch.bool)
            for table, context_len in zip(layout.block_tables.tolist(), layout.context_lens, strict=True):
                for token in range(context_len):
                    unread[table[token // layout.block_tokens], token % layout.block_tokens] = False
            cache.view(torch.uint8)[unread.to(cache.device)] = 255
        return inputs
