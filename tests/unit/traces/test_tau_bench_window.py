"""The published trajectories of tau-bench import with the turns and the results of tools that were counted in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.core.sessions import Session
from bench.workload.traces.format import Reading
from bench.workload.traces.tau_bench import sessions

TRACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces"
RANKS = {"p1": 1, "p5": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9}
pytestmark = pytest.mark.data


def test_the_published_trajectories() -> None:
    published = json.loads((TRACES / "distributions.json").read_text())["taubench_airline"]
    found: list[Session] = list(sessions(TRACES / "taubench_gpt4o_airline.jsonl.gz", Reading(count_tokens=len)))
    turns = [len(session.turns) for session in found]
    assert len(found) == published["sessions"]
    assert np.mean(turns) == published["llm_turns"]["mean"]
    assert [round(float(np.percentile(turns, rank)), 4) for rank in RANKS.values()] == [
        published["llm_turns"][name] for name in RANKS
    ]
    results = [segment.tokens for session in found for segment in session.turns[-1].prompt if segment.role == "tool"]
    counted = published["tool_result_chars"]
    # 24 results, of 1,169 characters, came after the agent's last words and were never part of a prompt.
    assert sum(results) + 1169 == pytest.approx(counted["n"] * counted["mean"], abs=0.05)
