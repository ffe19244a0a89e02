"""What vLLM tells of itself at `/metrics`, in the text format of Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from bench.core.prometheus_text import samples

_PREFIX = "vllm:"
_CONFIG = "vllm:cache_config_info"
_NO_SETTING = ("engine",)
_GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_share",
}
_TOTALS = {
    "vllm:num_preemptions_total": "preemptions",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "output_tokens",
    "vllm:prefix_cache_queries_total": "prefix_queried_tokens",
    "vllm:prefix_cache_hits_total": "prefix_hit_tokens",
    "vllm:spec_decode_num_drafts_total": "drafts",
    "vllm:spec_decode_num_draft_tokens_total": "drafted_tokens",
    "vllm:spec_decode_num_accepted_tokens_total": "accepted_tokens",
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the server was started, or between two moments; None where it does not tell them."""

    preemptions: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefix_queried_tokens: int | None = None
    prefix_hit_tokens: int | None = None
    drafts: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None

    def since(self, before: Totals) -> Totals:
        """What was added after `before`."""
        pairs = {one.name: (getattr(self, one.name), getattr(before, one.name)) for one in fields(self)}
        return Totals(**{name: None if now is None else now - (then or 0) for name, (now, then) in pairs.items()})


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """Of all its engines together."""

    running: int = 0
    waiting: int = 0
    kv_cache_share: float = 0.0
    """Of the KV cache's blocks, those in use; the mean over its engines."""
    totals: Totals = field(default_factory=Totals)
    cache_config: dict[str, Any] = field(default_factory=dict)
    """What it resolved of its cache, by vLLM's own names."""


def parse_metrics(text: str) -> ServerMetrics | None:
    """None where the text has nothing of what is asked for here, as where vLLM was told to keep no statistics."""
    gauges: dict[str, list[float]] = {name: [] for name in _GAUGES.values()}
    totals: dict[str, float] = {}
    config: dict[str, Any] = {}
    for sample in samples(text, _PREFIX):
        if sample.name == _CONFIG:
            config = {key: _value(value) for key, value in sample.labels.items()}
        elif sample.name in _GAUGES:
            gauges[_GAUGES[sample.name]].append(sample.value)
        elif sample.name in _TOTALS:
            totals[_TOTALS[sample.name]] = totals.get(_TOTALS[sample.name], 0.0) + sample.value
    if not gauges["running"]:
        return None
    shares = gauges["kv_cache_share"]
    return ServerMetrics(
        running=int(sum(gauges["running"])),
        waiting=int(sum(gauges["waiting"])),
        kv_cache_share=sum(shares) / len(shares) if shares else 0.0,
        totals=Totals(**{name: int(value) for name, value in totals.items()}),
        cache_config={name: value for name, value in config.items() if name[0] != "_" and name not in _NO_SETTING},
    )


def _value(text: str) -> Any:
    """A label's value as what it was before it was made text."""
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
