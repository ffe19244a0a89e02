"""Causal attention of a ragged batch over a paged KV cache, with grouped queries.

A request's context lies scattered over blocks of the cache; its block table lists them in order. Decode (one query a
request), prefill and chunks of a prefill are the same operation with different query lengths and may share a step.

A window bounds how far back a query sees. A sink is a logit of each head that takes part in the softmax and has no
value: it lets a head attend to nothing.

Sources: attention, Vaswani et al. 2017 (arXiv:1706.03762) §3.2.1; grouped queries, Ainslie et al. 2023
(arXiv:2305.13245); paging, Kwon et al. 2023 (arXiv:2309.06180) §4; windows and sinks as in the gpt-oss model card
(arXiv:2508.10925) §2.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from neokernels.attention_in_tiles import paged_attention_in_tiles
from neokernels.cached_rows import read_rows
from neokernels.cpu import attention, library
from neokernels.cuda.requirements import without_kept_e4m3, without_triton
from neokernels.flashinfer_attention import flashinfer_attention, without_flashinfer
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, PerEngine, any_of, promises_nothing, unless_asked

_MASKED_QUERIES = 512
"""Most query rows of one mask: what bounds the memory of a long chunk over a long context."""
_SHORT_CONTEXT = 256
"""Contexts up to here are padded to one another freely; one call costs more than the padding."""


class DeviceLengths(NamedTuple):
    """A step's lengths where a kernel reads them."""

    query_starts: Tensor
    """[R + 1] int32: first query row of each request, and where the last one ends."""
    context_lens: Tensor
    """[R] int32."""


@dataclass(frozen=True)
class PagedLayout:
    """Where the queries and contexts of R requests lie in one step; the same for every layer of the step.

    Request r owns `query_lens[r]` consecutive query rows, the last of its context, in the order of the requests.
    In a CUDA graph the lengths of a replay stand in `on_device` alone; the host knows bounds for all replays: no query
    is longer than `longest_query`, and no context than `block_tables` has room for.
    """

    query_lens: tuple[int, ...]
    """Query tokens of each request; 0 for one that only fills a graph."""
    context_lens: tuple[int, ...]
    """Tokens each request's last query attends to, itself included."""
    block_tables: Tensor
    """[R, most blocks] int32 block numbers; what lies beyond a request's context is never read."""
    block_tokens: int
    device_lengths: DeviceLengths | None = None
    """The same on the device already, where whoever lays out a step has them there; in a CUDA graph the buffers that
    every replay fills anew."""
    _tiles: dict[tuple[int | None, bool], tuple[_Tile, ...]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def longest_query(self) -> int:
        return max(self.query_lens, default=0)

    @cached_property
    def on_device(self) -> DeviceLengths:
        """The lengths as tensors beside the block tables, made on first use where they were not given."""
        if self.device_lengths is not None:
            return self.device_lengths
        starts, device = tuple(accumulate(self.query_lens, initial=0)), self.block_tables.device
        return DeviceLengths(
            torch.tensor(starts, dtype=torch.int32, device=device),
            torch.tensor(self.context_lens, dtype=torch.int32, device=device),
        )

    def tiles(self, window: int | None, sinks: bool) -> tuple[_Tile, ...]:
        """The step cut into dense pieces, made on first use and shared by the layers that attend alike."""
        made = self._tiles.get((window, sinks))
        if made is None:
            made = self._tiles[window, sinks] = tuple(_tiles(self, window, sinks))
        return made


def paged_attention_reference(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    scale: float,
    window: int | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """softmax(scale · q Kᵀ + causal) V for every query token against its own request's context.

    query [T, query heads, D]; caches [blocks, block tokens, KV heads, D], which hold the step's own keys and values
    already; those of values may have another D. Query head h reads KV head h // (query heads / KV heads). With a
    `window` a query sees that many tokens at most, itself included. sinks [query heads] or None. Returns
    [T, query heads, D of the values].
    """
    tiles = layout.tiles(window, sinks is not None)
    if len(tiles) == 1:
        return _attend(query, key_cache, value_cache, tiles[0], scale, sinks)
    output = query.new_empty((*query.shape[:2], value_cache.shape[-1]))
    for tile in tiles:
        attended = _attend(query.index_select(0, tile.rows), key_cache, value_cache, tile, scale, sinks)
        output.index_copy_(0, tile.rows, attended)
    return output


paged_attention = Operation(
    "paged_attention",
    Implementation("cpu", attention.paged_attention, library.refuses_cache, source="c"),
    Implementation(
        "triton", Launcher("attention.paged_attention", "paged_attention"), any_of(without_triton, without_kept_e4m3)
    ),
    Implementation(
        "flashinfer",
        PerEngine(flashinfer_attention),
        any_of(without_flashinfer, promises_nothing),
        graphs="never",
        source="library",
    ),
    Implementation("reference", paged_attention_reference, promises_nothing, graphs="never"),
    Implementation("fixed_tiles", paged_attention_in_tiles, unless_asked, graphs="never"),
)


@dataclass(frozen=True, slots=True)
class _Tile:
    """S runs of n query tokens over L context tokens, computed as one dense batch."""

    shape: tuple[int, int]
    """S, n."""
    rows: Tensor
    """[S·n] query rows, run by run."""
    slots: Tensor
    """[S·L] cache slots. A run that sees fewer than L tokens repeats its own last slot: no one else's data is read."""
    mask: Tensor | None
    """[S, 1, n, L] true where a query may look; None when every query may look everywhere, or `causal` says it all."""
    causal: bool
    """Query i sees context tokens 0..i: a prompt from its beginning, where no mask is needed."""


def _attend(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, tile: _Tile, scale: float, sinks: Tensor | None
) -> Tensor:
    """One tile. query [S·n, query heads, D]; caches [blocks, block tokens, KV heads, D]."""
    grouped = query.shape[1] != key_cache.shape[2]
    query = query.view(*tile.shape, *query.shape[1:])
    keys = read_rows(key_cache, tile.slots, query.dtype).view(tile.shape[0], -1, *key_cache.shape[2:])
    values = read_rows(value_cache, tile.slots, query.dtype).view(tile.shape[0], -1, *value_cache.shape[2:])
    if sinks is not None:
        # One more key, which a column of its own reaches with the logit of each head, and whose value is zero.
        query = torch.cat((query, (sinks / scale).to(query.dtype)[:, None].expand(*query.shape[:-1], 1)), -1)
        keys, values = pad(keys, (0, 1, 0, 0, 0, 1)), pad(values, (0, 0, 0, 0, 0, 1))
        keys[:, -1, :, -1] = 1
    attended = scaled_dot_product_attention(
        query.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=tile.mask,
        is_causal=tile.causal,
        scale=scale,
        enable_gqa=grouped,
    )
    return attended.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive query tokens of one request."""

    request: int
    first_row: int
    query_len: int
    first_seen: int
    """Position of the first token that any of them attends to."""
    context_len: int
    """Tokens of the request up to the last of them."""

    @property
    def seen(self) -> int:
        return self.context_len - self.first_seen


def _tiles(layout: PagedLayout, window: int | None, sinks: bool) -> Iterator[_Tile]:
    """Each prefill run alone, decodes with those of like length: a tile's padding stays below its data, or is short."""
    groups: dict[tuple[int, int], list[_Run]] = {}
    for run in _runs(layout, window, sinks):
        like_length = max(run.seen, _SHORT_CONTEXT).bit_length()
        key = (-1, like_length) if run.query_len == 1 else (run.request, run.first_row)
        groups.setdefault(key, []).append(run)
    for runs in groups.values():
        yield _tile(layout, runs, window, sinks)


def _runs(layout: PagedLayout, window: int | None, sinks: bool) -> Iterator[_Run]:
    """The requests, with long chunks cut so that no mask has more than `_MASKED_QUERIES` rows."""
    rows = accumulate(layout.query_lens, initial=0)
    for request, (row, query_len, context_len) in enumerate(
        zip(rows, layout.query_lens, layout.context_lens, strict=False)
    ):
        unmasked = query_len == context_len <= (window or context_len) and not sinks
        most = max(1, query_len) if unmasked else _MASKED_QUERIES
        for first in range(0, query_len, most):
            count = min(most, query_len - first)
            position = context_len - query_len + first
            first_seen = 0 if window is None else max(0, position + 1 - window)
            yield _Run(request, row + first, count, first_seen, position + count)


def _tile(layout: PagedLayout, runs: list[_Run], window: int | None, sinks: bool) -> _Tile:
    device = layout.block_tables.device
    query_len = runs[0].query_len
    query_offsets = torch.arange(query_len, device=device)
    request, first_row, first_seen, context_len = torch.tensor(
        [(run.request, run.first_row, run.first_seen, run.context_len) for run in runs], device=device
    )[:, :, None].unbind(1)
    longest = max(run.seen for run in runs)
    columns = first_seen + torch.arange(longest, device=device)
    token = torch.minimum(columns, context_len - 1)
    block = layout.block_tables[request.squeeze(1)].gather(1, token // layout.block_tokens)
    slots = block.long() * layout.block_tokens + token % layout.block_tokens
    causal = 1 < query_len == longest <= (window or longest) and not sinks
    mask = None
    if not causal and (query_len > 1 or any(run.seen < longest for run in runs)):
        distance = (context_len - query_len + query_offsets)[:, :, None] - columns[:, None]
        mask = (distance >= 0 if window is None else (distance >= 0) & (distance < window))[:, None]
        if sinks:
            mask = pad(mask, (0, 1), value=True)
    return _Tile(
        shape=(len(runs), query_len),
        rows=(first_row + query_offsets).flatten(),
        slots=slots.flatten(),
        mask=mask,
        causal=causal,
    )
