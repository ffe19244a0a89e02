"""What a server tells of itself under /metrics: the engine as it is asked, and the requests over HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from bench.core.records import Counters
from bench.native.server.prometheus import Counts, Histogram, counter, gauge

_FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_GENERATION_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """Totals since the server began."""

    def __init__(self, model: str, version: str) -> None:
        self._about = {"model": model, "version": version}
        self.requests = Counts(
            "neobench_http_requests_total", "Requests by route and status of the response.", ("route", "status")
        )
        self.generations = Counts(
            "neobench_generations_total",
            "Generations by how the engine ended them; a stop string has them cancelled.",
            ("finish",),
        )
        self.prompt_tokens = Counts("neobench_prompt_tokens_total", "Tokens of prompts the engine was given.")
        self.cached_tokens = Counts(
            "neobench_cached_prompt_tokens_total", "Tokens of prompts that the prefix cache held."
        )
        self.first_token = Histogram(
            "neobench_time_to_first_token_seconds", "From the engine's being asked to its first token.", _FIRST_TOKEN_S
        )
        self.generation = Histogram(
            "neobench_generation_seconds", "From the engine's being asked to the end.", _GENERATION_S
        )

    def as_text(self, engine: Counters, *, ready: bool) -> str:
        """The page, with the engine's counters as they are now."""
        kept: Iterable[Counts | Histogram] = (
            self.requests,
            self.generations,
            self.prompt_tokens,
            self.cached_tokens,
            self.first_token,
            self.generation,
        )
        now = (
            gauge("neobench_info", "What serves which model.", 1, self._about),
            gauge("neobench_ready", "1 while requests are let in.", int(ready)),
            gauge("neobench_generations_running", "Generations that take part in steps.", engine.running),
            gauge("neobench_generations_waiting", "Generations that wait for the engine.", engine.waiting),
            gauge("neobench_kv_blocks", "Blocks of the KV cache.", engine.kv_blocks_total),
            gauge("neobench_kv_blocks_used", "Blocks of the KV cache that hold something.", engine.kv_blocks_used),
            counter("neobench_generated_tokens_total", "Tokens that the engine generated.", engine.output_tokens),
            counter("neobench_preemptions_total", "Generations put back for want of blocks.", engine.preemptions),
        )
        return "".join(line for family in (*now, *(one.lines() for one in kept)) for line in family)
