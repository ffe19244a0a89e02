"""Which graph a step runs in, decided from its shape alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.core.axes import GraphMode
from bench.native.batch import HostBatch
from bench.native.graphs.modes import GraphSettings
from bench.native.graphs.sizes import graph_sizes

StepMode = Literal["eager", "full", "piecewise"]


@dataclass(frozen=True, slots=True)
class BatchKey:
    """The shape of a step."""

    tokens: int
    requests: int
    uniform_query_len: int | None = None
    """Tokens of each request, where all have equally many."""

    @staticmethod
    def of(batch: HostBatch) -> BatchKey:
        first = int(batch.query_lens[0])
        uniform = bool((batch.query_lens == first).all())
        return BatchKey(len(batch.token_ids), len(batch.query_lens), first if uniform else None)


@dataclass(frozen=True, slots=True)
class Decision:
    mode: StepMode
    key: BatchKey
    """The shape it is padded to; its own when it runs eagerly."""
    reason: str | None = None
    """Why it runs eagerly; None when it does not."""

    @property
    def graph_key(self) -> str:
        """`eager`, `full/64x64q1` (tokens x requests, tokens a request), `full/64x17` or `piecewise/128`."""
        if self.mode != "full":
            return self.mode if self.mode == "eager" else f"piecewise/{self.key.tokens}"
        query_len = self.key.uniform_query_len
        return f"full/{self.key.tokens}x{self.key.requests}" + ("" if query_len is None else f"q{query_len}")


_MIXED_MODES: dict[GraphMode, StepMode] = {
    "full": "full",
    "piecewise": "piecewise",
    "full_and_piecewise": "piecewise",
}
"""How graphs hold steps of any shape, in the modes in which they do."""


class Dispatcher:
    """The sizes there are graphs for, and the rule that picks one of them."""

    def __init__(self, mode: GraphMode, settings: GraphSettings, query_lens: Sequence[int]) -> None:
        """`query_lens`: tokens a request in the decode steps that have whole graphs of their own."""
        self._mixed_mode = _MIXED_MODES.get(mode)
        self._max_running = settings.max_running
        self._most_logit_rows = settings.max_running * (1 + settings.drafted_tokens)
        largest = min(settings.max_tokens, settings.step_tokens)
        self.decode_sizes = {
            query_len: graph_sizes(settings.sizes, min(largest, settings.max_running * query_len), query_len)
            for query_len in query_lens
        }
        """Tokens of the graphs of decode steps, by the tokens of each request."""
        self.mixed_sizes = graph_sizes(settings.sizes, largest) if self._mixed_mode else ()
        """Tokens of the graphs of any step."""

    def graphs(self) -> list[Decision]:
        """Every graph there is to capture, the largest first: the memory it took then serves the smaller ones."""
        decode = [self._decode(size, query_len) for query_len, sizes in self.decode_sizes.items() for size in sizes]
        mixed = [self._mixed(size, self._mixed_mode) for size in self.mixed_sizes] if self._mixed_mode else []
        return sorted(decode + mixed, key=lambda graph: graph.key.tokens, reverse=True)

    def logit_rows(self, key: BatchKey) -> int:
        """Rows that get logits in a graph of shape `key`; a projection this small costs its weights, not its rows."""
        return min(key.tokens, self._most_logit_rows)

    def dispatch(self, key: BatchKey, logit_rows: int) -> Decision:
        """Where a step of shape `key` with so many rows of logits runs."""
        decode_sizes = self.decode_sizes.get(key.uniform_query_len or 0, ())
        if (size := _next(decode_sizes, key.tokens)) and key.uniform_query_len:
            graph = self._decode(size, key.uniform_query_len)
        elif (size := _next(self.mixed_sizes, key.tokens)) and self._mixed_mode:
            graph = self._mixed(size, self._mixed_mode)
        elif decode_sizes or self.mixed_sizes:
            return Decision("eager", key, "more tokens than the largest graph")
        else:
            return Decision("eager", key, "not a decode step" if self.decode_sizes else "graphs are off")
        if logit_rows > self.logit_rows(graph.key):
            return Decision("eager", key, "more rows of logits than the graph gives")
        return graph

    def _decode(self, size: int, query_len: int) -> Decision:
        return Decision("full", BatchKey(size, size // query_len, query_len))

    def _mixed(self, size: int, mode: StepMode) -> Decision:
        # One request more than can run: padding tokens have to belong to one.
        return Decision(mode, BatchKey(size, self._max_running + 1))


def _next(sizes: Sequence[int], tokens: int) -> int | None:
    """The smallest of the ascending `sizes` that `tokens` fit."""
    place = bisect_left(sizes, tokens)
    return sizes[place] if place < len(sizes) else None
