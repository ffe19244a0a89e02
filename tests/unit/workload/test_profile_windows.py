"""The tables of the profiles are those of the windows they were measured in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_fields import SHIPPED, at
from profile_fit import cumulative
from scipy.stats import ks_2samp

from bench.core.spec import TraceSpec
from bench.workload.profile import Profile, load_profile
from bench.workload.quantiles import QuantileTable
from bench.workload.traces.servegen_composition import composition
from bench.workload.workload import build_workload

TRACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces"
pytestmark = pytest.mark.data

PUBLISHED = [
    ("azure2023_conv", "input", "chat", "start_tokens"),
    ("azure2023_conv", "output", "chat", "output_tokens"),
    ("azure2023_code", "input", "code_completion", "input_tokens"),
    ("azure2023_code", "output", "code_completion", "output_tokens"),
    ("mooncake_conversation", "turns_per_inferred_chain", "chat", "turns"),
    ("mooncake_conversation", "inter_turn_gap_s(arrival to arrival)", "chat", "human_delay_s"),
    ("servegen_reason_deepseek-r1", "input_tokens", "reasoning", "input_tokens"),
    ("servegen_reason_deepseek-r1", "output_tokens", "reasoning", "output_tokens"),
    ("servegen_reason_deepseek-r1", "reason_ratio", "reasoning", "thinking_share"),
    ("weka_cc_le128k", "turns", "agentic", "turns"),
    ("weka_cc_le128k", "output", "agentic", "output_tokens"),
    ("weka_cc_le128k", "user_gap_s", "agentic", "human_delay_s"),
    ("weka_cc_subagents", "subagent_fanout_adjacent", "agentic", "sub_agents.launched"),
    ("weka_cc_subagents", "subagent_turns", "agentic", "sub_agents.turns"),
    ("lmcache_magagent", "turns", "multi_agent", "turns"),
]
TOLERANCE = 0.03
"""Of cumulative share, between a table and its window: a table has some thirty entries, a window thousands of rows.

Sixty rows and fewer have steps as large, so there a step is allowed."""


@pytest.mark.parametrize(("window", "field", "profile", "place"), PUBLISHED)
def test_tables_have_the_quantiles_of_their_window(window: str, field: str, profile: str, place: str) -> None:
    published: dict[str, float] = json.loads((TRACES / "distributions.json").read_text())[window][field]
    table = at(shipped(profile), place).table
    step = 1 / published.get("n", 10**6)
    for key, value in published.items():
        if key.startswith("p"):
            rank = float(key[1:]) / 100
            assert rank_below(table, value) - step - TOLERANCE <= rank <= rank_at_most(table, value) + step + TOLERANCE


def shipped(name: str) -> Profile:
    return load_profile(name, next(one for one in SHIPPED if one.name == name).kind)


def rank_below(table: QuantileTable, value: float) -> float:
    """The share of draws clearly below `value`: counts round, and quantiles between two rows are no row's."""
    return float(cumulative(table, np.array([value * 0.99 - 0.01]))[0])


def rank_at_most(table: QuantileTable, value: float) -> float:
    return float(cumulative(table, np.array([np.ceil(value * 1.01) + 0.01]))[0])


@pytest.mark.parametrize(
    ("window", "name", "of_turn", "place"),
    [
        ("azure2023_conv.csv", "chat", "prompt_tokens", "start_tokens"),
        ("azure2023_conv.csv", "chat", "output_tokens", "output_tokens"),
        ("azure2023_code.csv", "code_completion", "prompt_tokens", "input_tokens"),
        ("azure2023_code.csv", "code_completion", "output_tokens", "output_tokens"),
        ("vidur_arxiv_summarization_lengths.csv.gz", "long_document", "prompt_tokens", "document_tokens"),
        ("vidur_arxiv_summarization_lengths.csv.gz", "long_document", "output_tokens", "output_tokens"),
    ],
)
def test_draws_are_as_their_window_is(window: str, name: str, of_turn: str, place: str) -> None:
    """The two-sample statistic of 20,000 draws, two standard errors of which are 0.03 for the smallest window."""
    spec: Any = TraceSpec(kind="trace", path=str(TRACES / window))
    recorded = [getattr(session.turns[0], of_turn) for session in build_workload(spec, 10**9).sessions]
    drawn = at(shipped(name), place).table.sample_counts(np.random.default_rng(5), 20_000)
    assert ks_2samp(recorded, drawn).statistic < TOLERANCE


def test_requests_with_images_are_those_of_their_window() -> None:
    of_window = composition(TRACES / "servegen_mm-image.jsonl.gz")
    profile = shipped("multimodal")
    ranks = np.linspace(0.005, 0.995, 100)
    for field, place in (("text_tokens", "text_tokens"), ("image_tokens", "image_tokens"),
                         ("image_count", "images"), ("output_tokens", "output_tokens")):  # fmt: skip
        table = at(profile, place).table
        for rank, value in zip(ranks, of_window.field_quantiles(field, ranks.tolist()), strict=True):
            assert rank_below(table, value) - TOLERANCE <= rank <= rank_at_most(table, value) + TOLERANCE, (field, rank)


def test_how_many_requests_share_a_document_is_as_the_profile_says() -> None:
    spec = TraceSpec(kind="trace", path=str(TRACES / "mooncake_fast25_synthetic.jsonl.gz"))
    asked: dict[str, int] = {}
    for session in build_workload(spec, 10**9).sessions:
        (turn,) = session.turns
        if turn.prompt_tokens >= 512:
            asked[turn.prompt[0].key] = asked.get(turn.prompt[0].key, 0) + 1
    assert (len(asked), sum(asked.values())) == (829, 1145)
    table = at(shipped("rag"), "questions").table
    for questions, rank in zip(table.values, table.ranks, strict=True):
        assert np.mean([count <= questions for count in asked.values()]) == pytest.approx(rank, abs=1e-4)
