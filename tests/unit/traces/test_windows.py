"""Every window of public traces imports with the counts, token sums, CV and reuse that were published for it.

The published figures were made without this project. They are rounded: counts and means to 4 decimals, CVs to 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.core.sessions import Session
from bench.workload.statistics.describe import describe_composition
from bench.workload.statistics.distribution import Distribution
from bench.workload.statistics.trace import TraceStatistics, count_trace
from bench.workload.stream import LeftOut, SessionStream
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import recognise

pytestmark = pytest.mark.data

TRACES = Path(__file__).parents[4] / "shared/data/traces"
WEKA = ("weka_cc_full", "weka_cc_le128k", "weka_cc_le64k", "weka_cc_subagents")
MOONCAKE = {"mooncake_fast25_conversation": "mooncake_conversation", "mooncake_fast25_synthetic": "mooncake_synthetic"}
AZURE = ("azure2023_code", "azure2023_conv")


@cache
def published() -> Mapping[str, Any]:
    return json.loads((TRACES / "distributions.json").read_text())  # type: ignore[no-any-return]


@cache
def counted(file: str, *, parents_only: bool = False) -> TraceStatistics:
    path = TRACES / file
    found = recognise(path)
    items = found.sessions(path, Reading())
    chosen = map(without_sub_agents, items) if parents_only else items
    return count_trace(SessionStream(found.name, found.attribution, chosen, found.block_tokens))


def without_sub_agents(item: Session | LeftOut) -> Session | LeftOut:
    if isinstance(item, LeftOut):
        return item
    kept = [turn for turn in item.turns if turn.agent == 0]
    place = {turn.index: index for index, turn in enumerate(kept)}
    return replace(
        item,
        turns=tuple(
            replace(turn, index=place[turn.index], after=tuple(place[i] for i in turn.after if i in place))
            for turn in kept
        ),
    )


def assert_same(told: Distribution | None, expected: Mapping[str, float]) -> None:
    assert told is not None
    assert told.n == expected["n"]
    assert told.mean == pytest.approx(expected["mean"], abs=5.1e-5)  # n times the mean is the sum of tokens
    assert told.cv == pytest.approx(expected["cv"], abs=5.1e-4)
    assert (told.min, told.max) == (expected["min"], expected["max"])
    for rank, value in told.quantiles.items():
        assert value == pytest.approx(expected[rank], abs=5.1e-4), rank


@pytest.mark.parametrize(
    ("file", "name"),
    [(f"{name}.csv", name) for name in AZURE] + [(f"{file}.jsonl.gz", name) for file, name in MOONCAKE.items()],
)
def test_requests_and_their_arrivals(file: str, name: str) -> None:
    told, expected = counted(file), published()[name]
    assert_same(told.input_tokens, expected["input"])
    assert_same(told.output_tokens, expected["output"])
    arrivals = told.arrivals
    assert arrivals is not None
    assert arrivals.requests == told.rows == expected["arrival"]["requests"]
    assert arrivals.span_s == pytest.approx(expected["arrival"]["span_s"], abs=5.1e-3)
    assert arrivals.requests_per_s == pytest.approx(expected["arrival"]["rps"], abs=5.1e-5)
    assert arrivals.gap_cv == pytest.approx(expected["arrival"]["iat_cv"], abs=5.1e-4)
    # Which second an arrival on the edge of one belongs to was decided in other arithmetic.
    assert arrivals.dispersion_1s == pytest.approx(expected["arrival"]["dispersion_1s"], rel=1e-3)
    assert arrivals.dispersion_10s == pytest.approx(expected["arrival"]["dispersion_10s"], rel=1e-3)


@pytest.mark.parametrize(("file", "name"), MOONCAKE.items())
def test_reuse_over_a_whole_trace(file: str, name: str) -> None:
    told, expected = counted(f"{file}.jsonl.gz"), published()[name]
    assert recognise(TRACES / f"{file}.jsonl.gz").block_tokens == expected["block"]
    assert told.reuse is not None
    assert told.reuse.block_share == pytest.approx(expected["prefix_reuse_infinite_cache"], abs=5.1e-5)


@pytest.mark.parametrize("name", WEKA)
def test_agent_sessions(name: str) -> None:
    """Published of the sessions' own agents; sub-agents apart, below."""
    told, expected = counted(f"{name}.jsonl.gz", parents_only=True), published()[name]
    assert told.sessions == expected["sessions"]
    assert told.input_tokens is not None
    assert_same(told.input_tokens, expected["input"])
    assert_same(told.output_tokens, expected["output"])
    assert_same(told.turns, expected["turns"])
    assert_same(told.peak_tokens, expected["peak_context"])
    assert told.reuse is not None
    assert told.reuse.uncached_tokens is not None
    assert_same(told.reuse.uncached_tokens, expected["uncached_new_tokens"])
    # Whole blocks alone are hashed: what is left of a prompt after them is in no cache and not counted.
    whole = sum(tokens // 64 for tokens in prompts_of_own_agents(name))
    hit = told.input_tokens.mean * told.rows - told.reuse.uncached_tokens.mean * told.rows
    assert hit / (64 * whole) == pytest.approx(expected["prefix_reuse_infinite_cache_within_session"], abs=5.1e-5)


def prompts_of_own_agents(name: str) -> Iterator[int]:
    path = TRACES / f"{name}.jsonl.gz"
    for session in recognise(path).sessions(path, Reading()):
        assert isinstance(session, Session)
        yield from (turn.prompt_tokens for turn in session.turns if turn.agent == 0)


def test_sub_agents() -> None:
    told, expected = counted("weka_cc_subagents.jsonl.gz").sub_agents, published()["weka_cc_subagents"]
    assert told is not None
    assert told.sessions == expected["sessions"]
    assert_same(told.fan_out, expected["subagent_fanout_adjacent"])
    assert_same(told.turns, expected["subagent_turns"])


@pytest.mark.parametrize("name", ["servegen_reason_deepseek-r1", "servegen_language_m-large"])
def test_compositions(name: str) -> None:
    told, expected = describe_composition(TRACES / f"{name}.jsonl.gz"), published()[name]
    for field in {"input_tokens", "output_tokens", "reason_ratio"} & expected.keys():
        assert told["fields"][field]["mean"] == pytest.approx(expected[field]["mean"], abs=5.1e-5)
        for rank, value in told["fields"][field]["quantiles"].items():
            assert value == pytest.approx(expected[field][rank], abs=5.1e-5), (field, rank)
    assert told["requests_per_s"] == pytest.approx(expected["total_rate_rps"], abs=5.1e-3)
    gaps = told["client_window_gap_cv"]
    assert (gaps["n"], gaps["min"], gaps["max"]) == tuple(
        expected["client_window_iat_cv"][k] for k in ("n", "min", "max")
    )
    assert gaps["mean"] == pytest.approx(expected["client_window_iat_cv"]["mean"], abs=5.1e-5)


def test_every_window_imports() -> None:
    windows = sorted(p for p in TRACES.iterdir() if p.suffix in (".gz", ".csv", ".jsonl"))
    assert len(windows) == 15
    for path in windows:
        assert recognise(path).name


@pytest.mark.parametrize(
    ("file", "rows", "sessions"),
    [
        ("vidur_arxiv_summarization_lengths.csv.gz", 14_128, 14_128),
        ("tracelab_example_session.jsonl", 19, None),
        ("tracelab_multi_session_large.csv", 303, 48),
    ],
)
def test_windows_of_which_only_counts_are_published(file: str, rows: int, sessions: int | None) -> None:
    told = counted(file)
    assert told.rows == rows
    assert sessions is None or told.sessions == sessions
