"""What is drawn from the published compositions is what they say, as far as chance allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.core.records import Session
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Reading
from bench.workload.traces.servegen import sessions
from bench.workload.traces.servegen_composition import composition

TRACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces"
REASONING = TRACES / "servegen_reason_deepseek-r1.jsonl.gz"
LARGE = TRACES / "servegen_language_m-large.jsonl.gz"
pytestmark = pytest.mark.data


def test_half_a_day_of_reasoning_requests() -> None:
    found = [item for item in sessions(REASONING, Reading()) if isinstance(item, Session)]
    composed = composition(REASONING)
    assert len(found) == pytest.approx(composed.rates().sum() * 600, rel=0.005)
    times = np.array([session.arrival_s for session in found])
    assert np.all(np.diff(times) >= 0)
    by_window = np.histogram(times, bins=72, range=(0, 43_200))[0]
    assert np.corrcoef(by_window, composed.rates())[0, 1] > 0.99
    turns = [session.turns[0] for session in found[::7]]
    lengths = np.array([(turn.prompt_tokens, turn.output_tokens, turn.thinking_tokens) for turn in turns])
    ranks = np.linspace(0.05, 0.95, 19)
    for column, name in ((0, "input_tokens"), (1, "output_tokens")):
        at_or_below = [np.mean(lengths[:, column] <= q) for q in composed.field_quantiles(name, list(ranks))]
        above_below = [np.mean(lengths[:, column] < q) for q in composed.field_quantiles(name, list(ranks))]
        assert np.all(np.array(at_or_below) > ranks - 0.01)
        assert np.all(np.array(above_below) < ranks + 0.01)
    assert np.mean(lengths[:, 2] / lengths[:, 1]) == pytest.approx(composed.field_mean("reason_ratio"), abs=0.005)


def test_fields_of_one_client_are_independent() -> None:
    busiest = max(composition(REASONING).clients, key=lambda client: sum(window.rate for window in client.windows))
    name = f"client-{busiest.id}/"
    of_it = [
        session.turns[0]
        for session in sessions(REASONING, Reading())
        if isinstance(session, Session) and session.id.startswith(name) and (session.arrival_s or 0) < 21_600
    ]
    assert len(of_it) > 10_000
    correlation = stats.spearmanr([t.prompt_tokens for t in of_it], [t.output_tokens for t in of_it])
    assert abs(correlation.statistic) < 0.03


def test_clients_without_histograms_are_a_third_of_the_rate() -> None:
    first = next(iter(sessions(LARGE, Reading())))
    assert first == LeftOut("of clients without length histograms, 31.2% of the rate", 2_125_388)
