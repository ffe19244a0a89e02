"""A server's metrics over the part of a run that is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.core.records import Counters
from bench.engine.vllm_server.metrics import ServerMetrics, Totals


class Samples:
    """Metrics from `begin`, which may come again and starts afresh, to `end`."""

    def __init__(self) -> None:
        self.count = 0
        self.running_peak = 0
        self.waiting_peak = 0
        self.kv_cache_share_peak = 0.0
        self._began: ServerMetrics | None = None
        self._newest: ServerMetrics | None = None
        self._over = False

    def begin(self, metrics: ServerMetrics | None) -> None:
        self.count = self.running_peak = self.waiting_peak = 0
        self.kv_cache_share_peak = 0.0
        self._began = metrics
        self._newest = metrics or self._newest

    def add(self, metrics: ServerMetrics) -> None:
        if self._over:
            return
        self._newest = metrics
        self.count += 1
        self.running_peak = max(self.running_peak, metrics.running)
        self.waiting_peak = max(self.waiting_peak, metrics.waiting)
        self.kv_cache_share_peak = max(self.kv_cache_share_peak, metrics.kv_cache_share)

    def end(self, metrics: ServerMetrics | None) -> None:
        """The last metrics, or the newest there were."""
        if not self._over:
            self._newest = metrics or self._newest
        self._over = True

    @property
    def totals(self) -> Totals | None:
        """What was done since `begin`; None where that is not known."""
        if self._began is None or self._newest is None:
            return None
        return self._newest.totals.since(self._began.totals)

    @property
    def cache_config(self) -> dict[str, Any]:
        return self._newest.cache_config if self._newest else {}

    def counters(self, asked: Counters) -> Counters:
        """`asked`, what the client counts, with what only the server knows."""
        if self._newest is None:
            return asked
        blocks = self.cache_config.get("num_gpu_blocks") or 0
        return replace(
            asked,
            running=self._newest.running,
            waiting=self._newest.waiting,
            kv_blocks_used=round(self._newest.kv_cache_share * blocks),
            kv_blocks_total=blocks,
            preemptions=(self.totals and self.totals.preemptions) or 0,
        )
