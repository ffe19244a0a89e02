"""Attention whose bits for one query depend on that query and its context alone.

Every context is cut into tiles of keys at fixed positions, and a query meets them in order with the softmax kept as
running maximum, sum and output (Milakov & Gimelshein 2018, arXiv:1805.02867). Queries go together in fours, again by
position, so that a query always lies in the same place of a product of the same shape: whoever shares the step, however
its prompt was cut into chunks, and whether its beginning was computed now or found in a cache. A key that a query may
not see has a weight of exactly zero, so that a tile with nothing but such keys changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from neokernels.cached_rows import read_rows

if TYPE_CHECKING:
    from neokernels.paged_attention import PagedLayout

_QUERIES = 4
"""Consecutive positions in one product: a decode step pays for all of them, a prefill calls one for each."""
_KEYS = 256
"""Consecutive positions in one product: the shortest context pays for all of them."""


def paged_attention_in_tiles(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    scale: float,
    window: int | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """As `neokernels.paged_attention.paged_attention_reference`, in float32 whatever the dtype."""
    kv_heads = key_cache.shape[2]
    group = query.shape[1] // kv_heads
    output = query.new_empty((*query.shape[:2], value_cache.shape[-1]))
    first_logits = None if sinks is None else sinks.float().view(kv_heads, 1, group, 1)
    first_rows = accumulate(layout.query_lens, initial=0)
    for request, (row, query_len, context_len) in enumerate(
        zip(first_rows, layout.query_lens, layout.context_lens, strict=False)
    ):
        if query_len:
            run = _Run(layout, request, context_len - query_len, query_len, window)
            mine = slice(row, row + query_len)
            tiles = run.queries(query[mine].view(query_len, kv_heads, group, -1))
            softmax = [_RunningSoftmax.beside(tile, first_logits, value_cache.shape[-1]) for _, tile in tiles]
            for first_key in run.key_tiles():
                slots = run.slots(first_key)
                keys = read_rows(key_cache, slots, torch.float32).permute(1, 2, 0)
                values = read_rows(value_cache, slots, torch.float32).transpose(0, 1)
                for (position, tile), state in zip(tiles, softmax, strict=True):
                    if first_key < position + _QUERIES:
                        scores = tile.flatten(1, 2).bmm(keys).view(*tile.shape[:3], _KEYS) * scale
                        state.add(scores.masked_fill(~run.seen(position, first_key)[:, None], -torch.inf), values)
            attended = torch.cat([state.result() for state in softmax], dim=1)[:, run.before :][:, :query_len]
            output[mine] = attended.transpose(0, 1).flatten(1, 2).to(query.dtype)
    return output


@dataclass(frozen=True, slots=True)
class _Run:
    """The consecutive queries of one request."""

    layout: PagedLayout
    request: int
    start: int
    """Position of the first query."""
    query_len: int
    window: int | None

    @property
    def before(self) -> int:
        """Queries of the first tile that are not in this step."""
        return self.start % _QUERIES

    @property
    def end(self) -> int:
        return self.start + self.query_len

    def queries(self, query: Tensor) -> list[tuple[int, Tensor]]:
        """query [n, KV heads, group, D] as tiles [KV heads, _QUERIES, group, D] float32, each with its position."""
        first = self.start - self.before
        filled = pad(query.float(), (0, 0, 0, 0, 0, 0, self.before, -self.end % _QUERIES)).transpose(0, 1)
        return [(first + at, filled[:, at : at + _QUERIES].contiguous()) for at in range(0, filled.shape[1], _QUERIES)]

    def key_tiles(self) -> Iterator[int]:
        """Positions where tiles begin that some query sees."""
        first_seen = 0 if self.window is None else max(0, self.start + 1 - self.window)
        return iter(range(first_seen // _KEYS * _KEYS, self.end, _KEYS))

    def slots(self, first_key: int) -> Tensor:
        """[_KEYS] cache slots; past the end of the context its last one, so that no one else's data is read."""
        table = self.layout.block_tables[self.request]
        position = torch.arange(first_key, first_key + _KEYS, device=table.device).clamp_max(self.end - 1)
        block_tokens = self.layout.block_tokens
        return table[position // block_tokens].long() * block_tokens + position % block_tokens

    def seen(self, first_query: int, first_key: int) -> Tensor:
        """[_QUERIES, _KEYS] true where a query may look."""
        device = self.layout.block_tables.device
        queries = torch.arange(first_query, first_query + _QUERIES, device=device)[:, None]
        distance = queries - torch.arange(first_key, first_key + _KEYS, device=device)
        return distance >= 0 if self.window is None else (distance >= 0) & (distance < self.window)


@dataclass(slots=True)
class _RunningSoftmax:
    """What one tile of queries has seen so far; [KV heads, _QUERIES, group, 1 or value D] float32 each."""

    largest: Tensor
    total: Tensor
    weighted: Tensor

    @staticmethod
    def beside(queries: Tensor, first_logits: Tensor | None, value_dim: int) -> _RunningSoftmax:
        """Before the first key. A sink is a logit with no value."""
        none = queries.new_zeros((*queries.shape[:3], 1))
        if first_logits is None:
            return _RunningSoftmax(none - torch.inf, none, none.expand(*queries.shape[:3], value_dim))
        return _RunningSoftmax(none + first_logits, none + 1, none.expand(*queries.shape[:3], value_dim))

    def add(self, scores: Tensor, values: Tensor) -> None:
        """scores [KV heads, _QUERIES, group, _KEYS], −inf where a query may not look; values [KV heads, _KEYS, D]."""
        largest = torch.maximum(self.largest, scores.amax(-1, keepdim=True))
        # A query that has seen nothing yet has no maximum; anything finite leaves its zeros as they are.
        reference = largest.masked_fill(largest == -torch.inf, 0.0)
        kept, weights = (self.largest - reference).exp(), (scores - reference).exp()
        self.largest = largest
        self.total = self.total * kept + weights.sum(-1, keepdim=True)
        self.weighted = self.weighted * kept + weights.flatten(1, 2).bmm(values).view(*scores.shape[:3], -1)

    def result(self) -> Tensor:
        """[KV heads, _QUERIES, group, value D]."""
        return self.weighted / self.total
