"""Tokens per second of the steady window, counted when they were emitted and not when their request ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.core.records import Headline
from bench.metrics.columns import Floats, Ints, TurnColumns
from bench.metrics.percentiles import Distribution
from bench.metrics.statistics import Confidence, absent, inverse, ratio, scaled
from bench.metrics.steady_state import Window

SLICES = 120
"""Equal slices of the window that a rate's interval is resampled from."""


@dataclass(frozen=True)
class TokenSlices:
    """Tokens in each of SLICES equal slices of the window, (SLICES,) each, also those of turns that failed later."""

    seconds: Floats
    output: Floats
    answer: Floats
    """Those of the output that are no thinking."""
    input: Floats
    """Prompt tokens, counted when their turn had its first token."""
    uncached_input: Floats | None
    """Those of them that were computed; None where the engine does not say what its cache held."""

    @property
    def total(self) -> Floats:
        return self.output + self.input


def slice_edges(window: Window) -> Floats:
    """The SLICES + 1 limits of the slices, nanoseconds since the run's start."""
    return np.linspace(window.start_ns, window.end_ns, SLICES + 1)


def token_slices(turns: TurnColumns, window: Window) -> TokenSlices:
    edges = slice_edges(window)
    counted = window.holds(turns.first)
    known = not np.isnan(turns.cached_tokens[counted]).any()
    computed = (turns.prompt_tokens - turns.cached_tokens)[counted]
    return TokenSlices(
        seconds=np.full(SLICES, window.seconds / SLICES),
        output=sum_by_slice(turns.chunk_t, turns.chunk_tokens, edges),
        answer=sum_by_slice(turns.chunk_t, _answer_tokens(turns), edges),
        input=sum_by_slice(turns.first[counted], turns.prompt_tokens[counted], edges),
        uncached_input=sum_by_slice(turns.first[counted], computed, edges) if known else None,
    )


def _answer_tokens(turns: TurnColumns) -> Ints:
    """Answer tokens of each chunk, (m,): a turn's thinking comes first."""
    running = np.cumsum(turns.chunk_tokens)
    before = np.concatenate([[0], running])[np.searchsorted(turns.chunk_turn, turns.chunk_turn)]
    emitted = running - before
    answered: Ints = np.clip(emitted - turns.thinking_tokens[turns.chunk_turn], 0, turns.chunk_tokens)
    return answered


def sum_by_slice(t: Floats, amounts: Floats | Ints, edges: Floats) -> Floats:
    """Sum of `amounts` at times `t` in each slice [edges[i], edges[i + 1])."""
    inside = (t >= edges[0]) & (t < edges[-1])
    slots = np.searchsorted(edges, t[inside], side="right") - 1
    return np.bincount(slots, weights=amounts[inside], minlength=len(edges) - 1).astype(np.float64)


def rates(tokens: TokenSlices, confidence: Confidence, *, accelerators: int) -> dict[str, Headline]:
    """Output, answer, total, input and uncached input tokens per second; output and total also per accelerator."""

    def rate(amounts: Floats) -> Headline:
        return ratio(amounts, tokens.seconds, confidence)

    output, total = rate(tokens.output), rate(tokens.total)
    none = absent("no accelerator was used", confidence.level)
    return {
        "output_tokens_per_s": output,
        "answer_tokens_per_s": rate(tokens.answer),
        "total_tokens_per_s": total,
        "input_tokens_per_s": rate(tokens.input),
        "uncached_input_tokens_per_s": (
            absent("the engine does not say which prompt tokens were cached", confidence.level)
            if tokens.uncached_input is None
            else rate(tokens.uncached_input)
        ),
        "output_tokens_per_s_per_accelerator": scaled(output, 1 / accelerators) if accelerators else none,
        "total_tokens_per_s_per_accelerator": scaled(total, 1 / accelerators) if accelerators else none,
    }


def interactivity(ms_per_token: Distribution) -> dict[str, Headline]:
    """Tokens per second that a request sees: 1000 over milliseconds a token at the same rank.

    Its p90 is what 90 % of requests reach or beat. Of `tpot_ms` it is the speed of decoding, of `e2e_ms_per_token` that
    of the whole request, waiting and thinking included.
    """
    return {name: inverse(headline, 1000.0) for name, headline in ms_per_token.headlines.items() if name != "mean"}
