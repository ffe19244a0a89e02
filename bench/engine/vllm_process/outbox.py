"""What one iteration of vLLM gives to many requests, sent in one message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bench.core.records import FinishReason, TokenLogprob
from bench.engine.vllm_process.counters import AllCounts
from bench.engine.vllm_process.messages import Did, Report, Update

_DID_EVERY_NS = 1_000_000_000


class Outbox:
    """vLLM wakes every request that an iteration gave something to at once; all they bring leaves after the last."""

    def __init__(self, send: Callable[[Report], None], counts: AllCounts) -> None:
        self._send = send
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._arrived_ns: int | None = None
        self._told_did_ns = time.monotonic_ns()
        self._tokens: list[tuple[int, tuple[int, ...], tuple[TokenLogprob, ...] | None]] = []
        self._ended: list[tuple[int, FinishReason, str | None, int | None]] = []

    def tokens(self, id: int, token_ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...] | None) -> None:
        self._expect_flush()
        self._tokens.append((id, token_ids, logprobs))

    def end(self, id: int, reason: FinishReason, error: str | None = None, cached_tokens: int | None = None) -> None:
        self._expect_flush()
        self._ended.append((id, reason, error, cached_tokens))

    def tell_did(self) -> None:
        self._told_did_ns = time.monotonic_ns()
        self._send(Did(self._counts.did()))

    def _expect_flush(self) -> None:
        if self._arrived_ns is None:
            self._arrived_ns = time.monotonic_ns()
            self._loop.call_soon(self._flush)  # after the requests that are awake already

    def _flush(self) -> None:
        assert self._arrived_ns is not None
        self._send(Update(self._arrived_ns, self._tokens, self._ended, self._counts.counters()))
        self._tokens, self._ended = [], []
        if self._arrived_ns - self._told_did_ns > _DID_EVERY_NS:
            self.tell_did()
        self._arrived_ns = None
