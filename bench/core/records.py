"""The frozen records that pass between rooms while a case runs.

`Chunk` and `Finish` are what the engine answers; `TurnRow`, `StepRow`, `PowerRow` and `HealthRow` are rows of the
result's tables. Times in `_ns` are on the run's clock. What is asked is in `bench.core.sessions`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bench.core.sessions import DelayClass, Effort

TokenKind = Literal["thinking", "answer"]
FinishReason = Literal["stop", "length", "cancelled", "failed"]
TurnStatus = Literal["ok", "failed", "cancelled"]
Basis = Literal["measured", "quoted", "published", "projected", "declared", "assumed"]


LEAST_LOGPROB = -9999.0
"""What is told of a token that cannot come, where −∞ has no place: OpenAI's API says it of one that hardly can."""


class TokenLogprob(NamedTuple):
    """What was likely at one place of an output. Natural logarithms, after bias and penalties, before temperature."""

    token: int | str
    """The token that was chosen: its id, or its text where the engine tells no ids."""
    logprob: float
    top: tuple[tuple[int | str, float], ...]
    """The most likely tokens, as many as were asked, from likely to unlikely."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one kind that arrived together."""

    t_ns: int
    """Stamped on arrival at the driver's process."""
    t_engine_ns: int | None
    """The engine's own stamp, where it has one on the same clock."""
    n_tokens: int
    kind: TokenKind
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of each of its tokens, where they were asked."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a turn. Nothing arrives after it."""

    t_ns: int
    reason: FinishReason
    cached_tokens: int | None = None
    """Prompt tokens served from a prefix cache; None when the engine cannot say."""
    error: str | None = None
    """Its kind before the first `: `, then the figures of this one turn."""
    prompt_tokens: int | None = None
    """Tokens the engine counted in the prompt; None where it does not say, or the driver counted them."""
    retries: int = 0
    notes: tuple[str, ...] = ()
    """What was odd and is no failure, as `no_usage`: words without spaces."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds an engine took to become ready, by phase; None where the engine cannot tell a phase apart."""

    total_s: float
    load_s: float | None = None
    compile_s: float | None = None
    capture_s: float | None = None
    accuracy_s: float | None = None
    """Holding the engine to a reference of its model."""
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Running totals of an engine, for the live display and the record."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0
    preemptions: int = 0


@dataclass(frozen=True, slots=True)
class StepRow:
    """One engine step."""

    t_ns: int
    duration_ns: int
    prefill_tokens: int
    decode_tokens: int
    """Tokens of requests whose prompt is computed, drafts included."""
    requests: int
    context_tokens: int
    """Tokens in the cache after the step, over its requests: what attention reads at least once."""
    kv_bytes: int
    """Bytes of the KV cache attention had to read at least: each layer's view of each request's context once."""
    attention_flops: int
    logit_rows: int
    drafted_tokens: int
    accepted_tokens: int
    """Drafted tokens the model agreed with."""
    discarded_tokens: int
    """Tokens of requests that had ended when the step ran."""
    padding_tokens: int
    graph_key: str
    """The CUDA graph that ran, or `eager`."""
    device_ns: int | None
    """Time the device was busy, where it can be measured apart from the host's."""
    host_ns: int
    """The part of the step in which there was something to do and the device waited for the host."""
    experts_touched: int | None = None
    """Distinct experts that some token was sent to, over all layers; None where the engine does not count them."""


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One reading of one sensor. Either figure may be missing, never zero in its place."""

    t_ns: int
    scope: str
    """A rung of the ladder: gpu, module, node, rack, facility. Beside it, and never added to a rung: `memory` of
    GPUs alone, `cpu` for processor packages, `dram` for their memory, `psys` for what contains the packages."""
    device: str
    watts: float | None
    joules_counter: float | None
    """A monotonic energy counter in joules, already unwrapped."""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """One observation of how a device fares: a clock, a temperature, whether a throttle reason holds."""

    t_ns: int
    device: str
    name: str
    """What was observed, with its unit: `sm_clock_mhz`, `temperature_c`, `throttle_sw_power_cap` (0 or 1)."""
    value: float | None


@dataclass(slots=True)
class TurnRow:
    """Everything that was seen of one turn; the driver fills it while the turn runs and freezes it by writing it."""

    session_id: str
    turn_index: int
    warmup: bool
    foreground: bool
    prompt_tokens: int
    shared_tokens: int
    """Prompt tokens whose segments an earlier turn of this run already sent, the most a prefix cache may hit."""
    asked_output_tokens: int
    asked_thinking_tokens: int
    t_due_ns: int
    t_send_ns: int = 0
    hold_ns: int = 0
    """Time held back by a concurrency cap after being due."""
    t_first_ns: int | None = None
    t_answer_ns: int | None = None
    t_last_ns: int | None = None
    t_done_ns: int | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0
    cached_tokens: int | None = None
    status: TurnStatus = "cancelled"
    finish: FinishReason | None = None
    error: str | None = None
    delay_class: DelayClass = "none"
    """What was waited for before the turn was due."""
    delay_ns: int = 0
    """How long, as scaled and capped."""
    effort: Effort | None = None
    engine_prompt_tokens: int | None = None
    """Tokens the engine counted in the prompt."""
    retries: int = 0
    correct: bool | None = None
    """Whether the answer passed the turn's check; None where it has none or did not complete."""
    notes: str | None = None
    """What was odd and is no failure, words joined by spaces."""
    chunk_t_ns: list[int] = field(default_factory=list)
    """Arrival of each token chunk: the first on the run's clock, the rest as differences to the one before."""
    chunk_tokens: list[int] = field(default_factory=list)
    chunk_t_engine_ns: list[int] = field(default_factory=list)
    """The engine's own stamps, coded like `chunk_t_ns`; empty where the engine has none."""


@dataclass(slots=True)
class Progress:
    """What the client has done so far, for the live display and the record; it grows while the case runs."""

    turns_planned: int = 0
    turns_done: int = 0
    turns_failed: int = 0
    sessions_alive: int = 0
    sessions_done: int = 0
    output_tokens: int = 0
    not_sent: Counter[str] = field(default_factory=Counter)
    """Turns that were never sent, by reason."""
    cut_sessions: set[str] = field(default_factory=set)
    """Sessions that began and were not sent whole because the time to send was over."""


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How busy the client was while it measured; the busiest process where there are several."""

    processes: int
    cpu_share: float
    """CPU time over time, of one core."""
    lag_p50_ms: float
    """How late the event loop ran what was due."""
    lag_p99_ms: float
    lag_max_ms: float


@dataclass(frozen=True, slots=True)
class Headline:
    """A number with its uncertainty. Where no interval is supported `low` and `high` are None and `method` says why."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int
    basis: Basis
