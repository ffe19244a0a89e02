"""How many answers were correct, how fast correct answers came, and what one took."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.metrics.columns import Flags, Floats, TurnColumns
from bench.metrics.statistics import Confidence, ratio, share_of
from bench.metrics.steady_state import Window
from bench.metrics.throughput import TokenSlices, slice_edges, sum_by_slice


def correct_answers(turns: TurnColumns, window: Window) -> Floats | None:
    """Correct answers by the time of their last token, in each slice of the window; None where none was checked."""
    if np.isnan(turns.correct).all():
        return None
    right = turns.correct == 1
    return sum_by_slice(turns.last[right], np.ones(int(right.sum())), slice_edges(window))


def success_section(
    turns: TurnColumns, counted: Flags, correct: Floats, tokens: TokenSlices, confidence: Confidence
) -> dict[str, Any]:
    """The share is of the turns `counted` that were checked; rates are of the window, with `correct` answers a slice.

    A turn that failed was not checked: its failure stands under `requests`.
    """
    checked = counted & ~np.isnan(turns.correct)
    right = int((turns.correct[checked] == 1).sum())
    return {
        "checked": int(checked.sum()),
        "correct": right,
        "share": share_of(right, int(checked.sum()), confidence.level),
        "correct_answers_per_s": ratio(correct, tokens.seconds, confidence),
        "output_tokens_per_correct_answer": ratio(tokens.output, correct, confidence),
    }
