"""What each effort level came to, where a workload asks for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from bench.core.records import Basis
from bench.core.sessions import Effort
from bench.metrics import latency
from bench.metrics.columns import Flags, Floats, TurnColumns
from bench.metrics.percentiles import Sample, distribution
from bench.metrics.statistics import Confidence


def efforts_section(
    turns: TurnColumns,
    counted: Flags,
    ranks: Sequence[float],
    confidence: Confidence,
    *,
    open_loop: bool,
    ttfa_basis: Basis,
) -> dict[str, Any] | None:
    """Tokens and time to the first answer token of the turns `counted`, by effort; None for fewer than two levels."""
    asked = np.array(turns.effort, dtype=object)
    levels = [level for level in get_args(Effort) if (asked == level).any()]
    if len(levels) < 2:
        return None
    ttfa_ms = latency.ttfa_ms(turns, open_loop=open_loop)
    section = {}
    for level in levels:
        chosen = counted & (asked == level)

        def mean(values: Floats, chosen: Flags = chosen) -> Any:
            return distribution(Sample.of(values[chosen]), (), confidence).headlines["mean"]

        section[level] = {
            "requests": int(chosen.sum()),
            "thinking_tokens": mean(turns.thinking_tokens.astype(np.float64)),
            "answer_tokens": mean((turns.output_tokens - turns.thinking_tokens).astype(np.float64)),
            "ttfa_ms": distribution(Sample.of(ttfa_ms[chosen]), ranks, confidence, basis=ttfa_basis).headlines,
        }
    return section
