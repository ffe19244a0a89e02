"""Causal attention of a ragged batch over a paged KV cache, with grouped queries.

A request's context lies scattered over blocks of the cache; its block table lists them in order. Decode (one query a
request), prefill and chunks of a prefill are the same operation with different query lengths and may share a step.

Sources: attention, Vaswani et al. 2017 (arXiv:1706.03762) §3.2.1; grouped queries, Ainslie et al. 2023
(arXiv:2305.13245); paging, Kwon et al. 2023 (arXiv:2309.06180) §4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from neokernels.registry import Implementation, Operation


@dataclass(frozen=True)
class PagedLayout:
    """Where the queries and contexts of R requests lie in one step; the same for every layer of the step.

    Request r owns `query_lens[r]` consecutive query rows, the last of its context, in the order of the requests.
    """

    query_lens: tuple[int, ...]
    """Query tokens of each request, at least 1."""
    context_lens: tuple[int, ...]
    """Tokens each request's last query attends to, itself included."""
    block_tables: Tensor
    """[R, most blocks] int32 block numbers; what lies beyond a request's context is never read."""
    block_tokens: int

    @cached_property
    def tiles(self) -> tuple[_Tile, ...]:
        """The step cut into dense pieces, made on first use and shared by the layers."""
        return tuple(_tiles(self))


@dataclass(frozen=True, slots=True)
class _Tile:
    """Requests that are computed as one dense batch: S requests of n query tokens over L context tokens."""

    query_len: int
    rows: Tensor | None
    """[S·n] query rows, request by request; None when the tile is the whole step."""
    slots: Tensor
    """[S·L] cache slots. A request shorter than L repeats its own last slot, so no one else's data is read."""
    requests: int
    mask: Tensor | None
    """[S, 1, n, L] true where a query may look; None when every query may look everywhere."""
    causal: bool
    """Query i sees context tokens 0..i: a prompt from its beginning, where SDPA needs no mask."""


def paged_attention_reference(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, scale: float
) -> Tensor:
    """softmax(scale · q Kᵀ + causal) V for every query token against its own request's context.

    query [T, query heads, D]; caches [blocks, block tokens, KV heads, D], which hold the step's own keys and values
    already. Query head h reads KV head h // (query heads / KV heads). Returns [T, query heads, D].
    """
    keys, values = key_cache.flatten(0, 1), value_cache.flatten(0, 1)
    output = query if len(layout.tiles) == 1 else torch.empty_like(query)
    for tile in layout.tiles:
        rows = query if tile.rows is None else query.index_select(0, tile.rows)
        attended = scaled_dot_product_attention(
            rows.view(tile.requests, tile.query_len, *query.shape[1:]).transpose(1, 2),
            keys.index_select(0, tile.slots).view(tile.requests, -1, *keys.shape[1:]).transpose(1, 2),
            values.index_select(0, tile.slots).view(tile.requests, -1, *values.shape[1:]).transpose(1, 2),
            attn_mask=tile.mask,
            is_causal=tile.causal,
            scale=scale,
            enable_gqa=query.shape[1] != key_cache.shape[2],
        )
        flat = attended.transpose(1, 2).flatten(0, 1)
        output = flat if tile.rows is None else output.index_copy_(0, tile.rows, flat)
    return output


paged_attention = Operation("paged_attention", Implementation("reference", paged_attention_reference))


def _tiles(layout: PagedLayout) -> Iterator[_Tile]:
    starts = list(accumulate(layout.query_lens, initial=0))
    groups = _group(layout)
    for members in groups:
        query_len = layout.query_lens[members[0]]
        rows = None
        if len(groups) > 1:
            rows = torch.tensor([starts[r] + i for r in members for i in range(query_len)])
        yield _tile(layout, members, query_len, rows)


def _group(layout: PagedLayout) -> list[list[int]]:
    """Requests that share a tile: a prefill alone, decodes with those of like length, so that padding stays small."""
    groups: dict[tuple[int, int], list[int]] = {}
    for request, (query_len, context_len) in enumerate(zip(layout.query_lens, layout.context_lens, strict=True)):
        key = (1, max(context_len, 256).bit_length()) if query_len == 1 else (0, request)
        groups.setdefault(key, []).append(request)
    return list(groups.values())


def _tile(layout: PagedLayout, members: list[int], query_len: int, rows: Tensor | None) -> _Tile:
    device = layout.block_tables.device
    lens = [layout.context_lens[r] for r in members]
    longest = max(lens)
    context_len = torch.tensor(lens, device=device)[:, None]
    columns = torch.arange(longest, device=device)
    token = torch.minimum(columns, context_len - 1)
    block = layout.block_tables[torch.tensor(members, device=device)].gather(1, token // layout.block_tokens)
    slots = block.long() * layout.block_tokens + token % layout.block_tokens
    causal = query_len == longest > 1
    mask = None
    if not causal and (query_len > 1 or min(lens) < longest):
        last_seen = context_len - query_len + torch.arange(query_len, device=device)
        mask = (columns <= last_seen[:, :, None])[:, None]
    return _Tile(
        query_len=query_len,
        rows=None if rows is None else rows.to(device),
        slots=slots.flatten(),
        requests=len(members),
        mask=mask,
        causal=causal,
    )
