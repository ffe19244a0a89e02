"""What a client calls TTFT, TPOT, ITL, E2E and throughput, as choices that can be changed one at a time.

Read in vLLM 0.32's `benchmarks/serve.py` and `endpoint_request_func.py`, and in `metrics/types` of AIPerf 0.13.
AIPerf's "inter token latency" is what all others call TPOT and is compared with that; its "inter chunk latency" is our
ITL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from exchanges import Exchange

from bench.core.load_spec import ClosedLoadSpec, ConstantLoadSpec
from bench.core.records import TurnRow
from bench.core.units import NS_PER_MS, NS_PER_S
from bench.metrics.columns import TurnColumns
from bench.metrics.steady_state import NoWindow, steady_window
from bench.results.tables import SCHEMAS

TIMES = ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms")
STATISTICS = ("mean", "p50", "p90", "p99")
RATES = ("output_tokens_per_s", "requests_per_s")
COUNTS = ("prompt_tokens", "output_tokens")
METRICS = (*(f"{time} {statistic}" for time in TIMES for statistic in STATISTICS), *RATES, *COUNTS)

Load = ClosedLoadSpec | ConstantLoadSpec


@dataclass(frozen=True)
class Definition:
    """Which requests count, from when to when, and over what time."""

    from_due: bool = True
    """An open loop's clock begins when a request was due, not when it was sent."""
    steady_window: bool = True
    """Latencies are of requests sent in the steady window and rates of what happened in it, not in the whole run."""
    apart: bool = False
    """Tokens that came in one read have gaps of nothing between them, not none."""
    opening_is_token: bool = False
    """A chunk before the first token, as a chat's role, is taken for it."""
    closing_is_token: bool = False
    """A chunk after the last token, with the finish reason, ends the request and makes a gap."""
    own_seconds: bool = False
    """Rates are over the time that the client itself took, which begins before its first request was sent."""


OURS = Definition()
WHOLE_RUN = Definition(from_due=False, steady_window=False, apart=True)
"""What ours becomes once every request and every event counts, from its sending: the common ground of all."""
AIPERF = replace(WHOLE_RUN, own_seconds=True)
VLLM = replace(WHOLE_RUN, opening_is_token=True, closing_is_token=True, own_seconds=True)

CHANGES = {
    "from_due": "timed from sending, not from when it was due",
    "steady_window": "the whole run with ramp and drain, not the steady window",
    "apart": "events that came in one read told apart, with no time between them",
    "opening_is_token": "the empty role chunk taken for the first token",
    "closing_is_token": "the chunk with the finish reason taken for a token",
    "own_seconds": "divided by the client's own duration, not from first request to last token",
}
"""What each choice changes, from ours to that of others, in the order in which they are changed."""


def path(start: Definition, end: Definition) -> list[tuple[str, Definition]]:
    """From `start` to `end`, one choice at a time: which one, and the definition after it."""
    steps, reached = [], start
    for name in CHANGES:
        if getattr(reached, name) != getattr(end, name):
            reached = replace(reached, **{name: getattr(end, name)})
            steps.append((name, reached))
    return steps


def measure(
    exchanges: Sequence[Exchange], definition: Definition, load: Load, seconds: float | None = None
) -> dict[str, float]:
    """Every metric of one run under `definition`. `seconds` is the client's own duration, where that is asked for.

    Raises ValueError for a run that has no steady window where one is asked for.
    """
    edges, counted = _window(exchanges, load) if definition.steady_window else (None, list(exchanges))
    begins = [one.due_ns if definition.from_due and load.open_loop else one.sent_ns for one in counted]
    chunks = [_chunks(one, definition) for one in counted]
    first = np.array([times[0] for times in chunks])
    last = np.array([times[-1] for times in chunks])
    more = np.array([one.output_tokens - 1 for one in counted])
    samples = {
        "ttft_ms": first - begins,
        "tpot_ms": ((last - first) / np.maximum(more, 1))[more > 0],
        "itl_ms": np.concatenate([np.diff(times) for times in chunks]),
        "e2e_ms": last - begins,
    }
    measured = {
        f"{time} {statistic}": _statistic(sample, statistic) / NS_PER_MS
        for time, sample in samples.items()
        for statistic in STATISTICS
    }
    return {**measured, **_rates(exchanges, edges, definition, seconds), **_counts(exchanges)}


def _chunks(one: Exchange, definition: Definition) -> list[float]:
    before = [one.opened_ns] if definition.opening_is_token and one.opened_ns is not None else []
    after = [one.closed_ns] if definition.closing_is_token and one.closed_ns is not None else []
    tokens = np.repeat(one.token_ns, one.chunk_tokens).tolist() if definition.apart else one.token_ns
    return [*before, *tokens, *after]


def _statistic(sample: Any, name: str) -> float:
    return float(np.mean(sample) if name == "mean" else np.percentile(sample, float(name.removeprefix("p"))))


def _rates(
    exchanges: Sequence[Exchange], edges: tuple[float, float] | None, definition: Definition, seconds: float | None
) -> dict[str, float]:
    if edges is not None:
        begin, end = edges
        tokens = sum(
            count
            for one in exchanges
            for t_ns, count in zip(one.token_ns, one.chunk_tokens, strict=True)
            if begin <= t_ns < end
        )
        requests = sum(begin <= one.token_ns[-1] < end for one in exchanges)
        duration_s = (end - begin) / NS_PER_S
    else:
        tokens, requests = sum(one.output_tokens for one in exchanges), len(exchanges)
        last_ns = max(_chunks(one, definition)[-1] for one in exchanges)
        duration_s = (last_ns - min(one.sent_ns for one in exchanges)) / NS_PER_S
        if definition.own_seconds and seconds is not None:
            duration_s = seconds
    return {"output_tokens_per_s": tokens / duration_s, "requests_per_s": requests / duration_s}


def _counts(exchanges: Sequence[Exchange]) -> dict[str, float]:
    return {name: float(sum(getattr(one, name) for one in exchanges)) for name in COUNTS}


def _window(exchanges: Sequence[Exchange], load: Load) -> tuple[tuple[float, float], list[Exchange]]:
    """The steady window as our own records find it, and the requests that count."""
    start_ns = min(one.due_ns for one in exchanges)
    rows = [asdict(_row(number, one, start_ns)) for number, one in enumerate(exchanges)]
    columns = TurnColumns.of(pa.Table.from_pylist(rows, schema=SCHEMAS["turns"]), start_ns=0)
    window = steady_window(columns, load)
    if isinstance(window, NoWindow):
        raise ValueError(f"no steady window: {window.reason}")
    edges = (start_ns + window.start_ns, start_ns + window.end_ns)
    origins = [one.due_ns if load.open_loop else one.sent_ns for one in exchanges]
    return edges, [one for one, t_ns in zip(exchanges, origins, strict=True) if edges[0] <= t_ns < edges[1]]


def _row(number: int, one: Exchange, start_ns: float) -> TurnRow:
    chunks = [round(t_ns - start_ns) for t_ns in one.token_ns]
    return TurnRow(
        session_id=f"{number:06}",
        turn_index=0,
        warmup=False,
        foreground=True,
        prompt_tokens=one.prompt_tokens,
        shared_tokens=0,
        asked_output_tokens=one.output_tokens,
        asked_thinking_tokens=0,
        t_due_ns=round(one.due_ns - start_ns),
        t_send_ns=round(one.sent_ns - start_ns),
        t_first_ns=chunks[0],
        t_answer_ns=chunks[0],
        t_last_ns=chunks[-1],
        t_done_ns=chunks[-1],
        output_tokens=one.output_tokens,
        status="ok",
        chunk_t_ns=[chunks[0], *map(int, np.diff(chunks))],
        chunk_tokens=list(one.chunk_tokens),
    )
