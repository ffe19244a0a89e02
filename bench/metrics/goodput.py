"""What was served within the service level: requests and tokens of requests that met every bound."""

from __future__ import annotations

import numpy as np

from bench.core.records import Headline
from bench.core.spec import SloSpec
from bench.metrics import latency
from bench.metrics.columns import Flags, TurnColumns
from bench.metrics.statistics import Confidence, ratio, share_of
from bench.metrics.steady_state import Window
from bench.metrics.throughput import TokenSlices, slice_edges, sum_by_slice


def good_turns(turns: TurnColumns, slo: SloSpec, *, open_loop: bool) -> Flags:
    """Which turns completed and met every bound of `slo`, (n,).

    A turn that never began to answer misses a bound on the first answer token; one of a single token has no time per
    output token and cannot miss a bound on it. Without bounds every completed turn is good.
    """
    good = turns.ok.copy()
    if slo.ttft_ms is not None:
        good &= latency.ttft_ms(turns, open_loop=open_loop) <= slo.ttft_ms
    if slo.ttfa_ms is not None:
        good &= latency.ttfa_ms(turns, open_loop=open_loop) <= slo.ttfa_ms
    if slo.tpot_ms is not None:
        good &= ~(latency.tpot_ms(turns) > slo.tpot_ms)
    if slo.e2e_ms is not None:
        good &= latency.e2e_ms(turns, open_loop=open_loop) <= slo.e2e_ms
    return good


def good_share(turns: TurnColumns, good: Flags, window: Window, level: float, *, open_loop: bool) -> Headline:
    """Good requests over all of the window that were not cancelled: one that failed is never good."""
    judged = (turns.ok | turns.failed) & window.holds(latency.origin(turns, open_loop))
    return share_of(int((good & judged).sum()), int(judged.sum()), level)


def meets(share: Headline, slo: SloSpec) -> bool | None:
    """Whether so many requests were good as `slo` asks; None where it has no bound or nothing was sent."""
    return share.value >= slo.share if slo.binds and share.value is not None else None


def goodput(
    turns: TurnColumns, good: Flags, tokens: TokenSlices, window: Window, confidence: Confidence
) -> dict[str, Headline]:
    """Good requests by the time of their last token, and output tokens emitted in the window by good requests.

    `good_token_share` is the latter over all output tokens emitted in the window, so it never exceeds 1.
    """
    edges = slice_edges(window)
    requests = sum_by_slice(turns.last[good], np.ones(int(good.sum())), edges)
    emitted = good[turns.chunk_turn]
    good_tokens = sum_by_slice(turns.chunk_t[emitted], turns.chunk_tokens[emitted], edges)
    return {
        "goodput_requests_per_s": ratio(requests, tokens.seconds, confidence),
        "goodput_tokens_per_s": ratio(good_tokens, tokens.seconds, confidence),
        "good_token_share": ratio(good_tokens, tokens.output, confidence),
    }
