"""What vLLM counts of itself, as it tells those who log its statistics."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.core.records import Counters


class EngineCounts:
    """One of vLLM's engine cores, of which there are several with data parallelism.

    Speaks what vLLM asks of a StatLogger. Nothing here may raise: vLLM would take that for the end of every request.
    So what a version of vLLM does not tell stays 0.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self.running = 0
        self.waiting = 0
        self.most_running = 0
        self.most_waiting = 0
        self.kv_usage = 0.0
        self.most_kv_usage = 0.0
        self.totals: Counter[str] = Counter()
        self.graphs: Counter[str] = Counter()
        """Steps by the kind of graph that ran."""

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
        """After each iteration; either part may be None."""
        if iteration_stats is not None:
            self._count_iteration(iteration_stats)
        if scheduler_stats is not None:
            self._count_step(scheduler_stats)

    def log(self) -> None:
        """Nothing is printed."""

    def log_engine_initialized(self) -> None:
        """Nothing is printed."""

    def record_sleep_state(self, *_: Any, **__: Any) -> None:
        """It never sleeps."""

    @property
    def blocks(self) -> int:
        """Of its KV cache, but for the one that vLLM keeps empty; known once it has started."""
        cores: int = self._config.parallel_config.data_parallel_size
        blocks: int = self._config.cache_config.num_gpu_blocks or 0
        return max(0, blocks // cores - 1)

    def reset(self) -> None:
        """Begin to count: what was before is no part of what it did."""
        self.totals.clear()
        self.graphs.clear()
        self.most_running = self.most_waiting = 0
        self.most_kv_usage = 0.0

    def _count_iteration(self, stats: Any) -> None:
        prompts = getattr(stats, "prompt_token_stats", None)
        self.totals["prompt_tokens"] += getattr(prompts, "total", 0)
        self.totals["computed_prompt_tokens"] += getattr(prompts, "computed", 0)
        self.totals["output_tokens"] += getattr(stats, "num_generation_tokens", 0)
        self.totals["preemptions"] += getattr(stats, "num_preempted_reqs", 0)

    def _count_step(self, stats: Any) -> None:
        self.running = getattr(stats, "num_running_reqs", 0)
        self.waiting = getattr(stats, "num_waiting_reqs", 0) + getattr(stats, "num_skipped_waiting_reqs", 0)
        self.kv_usage = getattr(stats, "kv_cache_usage", 0.0)
        self.most_running = max(self.most_running, self.running)
        self.most_waiting = max(self.most_waiting, self.waiting)
        self.most_kv_usage = max(self.most_kv_usage, self.kv_usage)
        self.totals["iterations"] += 1
        prefix = getattr(stats, "prefix_cache_stats", None)
        self.totals["prefix_queries"] += getattr(prefix, "queries", 0)
        self.totals["prefix_hits"] += getattr(prefix, "hits", 0)
        drafts = getattr(stats, "spec_decoding_stats", None)
        self.totals["drafts"] += getattr(drafts, "num_drafts", 0)
        self.totals["drafted"] += getattr(drafts, "num_draft_tokens", 0)
        self.totals["accepted"] += getattr(drafts, "num_accepted_tokens", 0)
        graph = getattr(stats, "cudagraph_stats", None)
        if graph is not None:
            self.graphs[str(graph.runtime_mode)] += 1
            self.totals["unpadded_tokens"] += graph.num_unpadded_tokens
            self.totals["padding_tokens"] += graph.num_paddings


class AllCounts:
    """Every engine core of one vLLM together."""

    def __init__(self) -> None:
        self._engines: list[EngineCounts] = []

    def stat_logger(self, config: Any, engine_index: int = 0) -> EngineCounts:
        """What vLLM calls for each core it has."""
        del engine_index
        self._engines.append(EngineCounts(config))
        return self._engines[-1]

    def reset(self) -> None:
        for engine in self._engines:
            engine.reset()

    def counters(self) -> Counters:
        totals = self._totals()
        return Counters(
            running=sum(engine.running for engine in self._engines),
            waiting=sum(engine.waiting for engine in self._engines),
            prompt_tokens=totals["prompt_tokens"],
            output_tokens=totals["output_tokens"],
            kv_blocks_used=sum(round(engine.kv_usage * engine.blocks) for engine in self._engines),
            kv_blocks_total=sum(engine.blocks for engine in self._engines),
            preemptions=totals["preemptions"],
        )

    def did(self) -> dict[str, Any]:
        """For the record: sums over the cores, and the fullest of them."""
        totals = self._totals()
        graphs: Counter[str] = sum((engine.graphs for engine in self._engines), Counter())
        return {
            "scheduler": {
                "iterations": totals["iterations"],
                "preemptions": totals["preemptions"],
                "most_running": max((engine.most_running for engine in self._engines), default=0),
                "most_waiting": max((engine.most_waiting for engine in self._engines), default=0),
            },
            "tokens": {name: totals[name] for name in ("prompt_tokens", "computed_prompt_tokens", "output_tokens")},
            "kv_cache": {"most_used_share": max((engine.most_kv_usage for engine in self._engines), default=0.0)},
            "prefix_cache": {
                "queried_tokens": totals["prefix_queries"],
                "hit_tokens": totals["prefix_hits"],
                "hit_share": _share(totals["prefix_hits"], totals["prefix_queries"]),
            },
            "speculation": speculation_use(totals["drafts"], totals["drafted"], totals["accepted"]),
            "graphs": _graph_use(graphs, totals),
        }

    def _totals(self) -> Counter[str]:
        return sum((engine.totals for engine in self._engines), Counter())


def speculation_use(drafts: int, drafted_tokens: int, accepted_tokens: int) -> dict[str, Any] | None:
    """None where nothing was drafted. `acceptance_length`: tokens a verified draft gives."""
    if not drafts:
        return None
    return {
        "drafts": drafts,
        "drafted_tokens": drafted_tokens,
        "accepted_tokens": accepted_tokens,
        "acceptance_rate": _share(accepted_tokens, drafted_tokens),
        # The token the model says itself comes with those it accepted.
        "acceptance_length": 1 + accepted_tokens / drafts,
    }


def _graph_use(graphs: Counter[str], totals: Counter[str]) -> dict[str, Any]:
    """As the native engine tells its own; vLLM calls a step that no graph ran one of mode NONE."""
    steps = sum(graphs.values())
    ran = {"eager" if mode == "NONE" else mode.lower(): count for mode, count in graphs.items()}
    tokens = totals["unpadded_tokens"] + totals["padding_tokens"]
    return {
        "steps": steps,
        "share_of_steps": {mode: count / steps for mode, count in ran.items()},
        "padding_share": _share(totals["padding_tokens"], tokens) or 0.0,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
