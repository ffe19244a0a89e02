"""What became of every turn: sent, completed, counted, failed, left out, tried again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from bench.core.spec import Spec
from bench.metrics.columns import Flags, TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.latency import origin
from bench.metrics.steady_state import NoWindow, Window


def requests_section(
    turns: TurnColumns, counted: Flags, window: Window | NoWindow, spec: Spec, context: RunContext
) -> dict[str, Any]:
    """The times of the turns `counted` stand in `latency`; the rest is left out, by reason."""
    left_out = Counter({"warm-up": turns.warmup_turns, **context.not_sent})
    left_out["cancelled"] = int((~turns.ok & ~turns.failed).sum())
    if isinstance(window, Window):
        open_loop = spec.load.open_loop
        asked, how = origin(turns, open_loop), "due" if open_loop else "sent"
        left_out[f"{how} in the ramp"] = int((turns.ok & (asked < window.start_ns)).sum())
        left_out[f"{how} in the drain"] = int((turns.ok & (asked >= window.end_ns)).sum())
    else:
        left_out["no steady window"] = int(turns.ok.sum())
    return {
        "sessions": turns.sessions,
        "sent": len(turns),
        "completed": int(turns.ok.sum()),
        "counted": int(counted.sum()),
        "failed": dict(Counter(_kind_of_failure(turns.error[row]) for row in np.flatnonzero(turns.failed))),
        "left_out": {reason: n for reason, n in left_out.items() if n},
        "retries": int(turns.retries.sum()),
        "notes": dict(Counter(word for notes in turns.notes if notes for word in notes.split())),
        "tokens": {
            "prompt": int(turns.prompt_tokens.sum()),
            "prompt_by_engine": prompt_tokens_by_engine(turns)[1],
            "output": int(turns.output_tokens.sum()),
            "thinking": int(turns.thinking_tokens.sum()),
            "cached": None if np.isnan(turns.cached_tokens).any() else int(turns.cached_tokens.sum()),
        },
    }


def prompt_tokens_by_engine(turns: TurnColumns) -> tuple[int, int | None]:
    """Prompt tokens of the turns whose engine counted them: by us, and by it, which is None where it counted none."""
    counted = ~np.isnan(turns.engine_prompt_tokens)
    if not counted.any():
        return 0, None
    return int(turns.prompt_tokens[counted].sum()), int(turns.engine_prompt_tokens[counted].sum())


def _kind_of_failure(error: str | None) -> str:
    """What a failure is counted by: the part before the figures of the one request."""
    return (error or "no reason given").partition(": ")[0]
