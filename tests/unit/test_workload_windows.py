"""Real windows of public traces import whole: counts, sums and reuse as computed here from the files themselves."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.spec import TraceSpec
from bench.workload.shared_prefix import SharedPrefix, pieces_of
from bench.workload.workload import Workload, build_workload

TRACES = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"
WEKA = ["weka_cc_le64k", "weka_cc_le128k", "weka_cc_subagents"]
pytestmark = pytest.mark.data


def build(name: str, max_context_tokens: int = 10**9, **settings: object) -> Workload:
    spec = TraceSpec.model_validate({"kind": "trace", "path": str(TRACES / name), **settings})
    return build_workload(spec, max_context_tokens)


def weka_sessions(name: str) -> list[dict[str, Any]]:
    with gzip.open(TRACES / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def requests_of(session: dict[str, Any]) -> list[dict[str, Any]]:
    nested = [entry["requests"] if entry["type"] == "subagent" else [entry] for entry in session["requests"]]
    return [request for requests in nested for request in requests]


@pytest.mark.parametrize("name", ["azure2023_code.csv", "azure2023_conv.csv"])
def test_azure_rows(name: str) -> None:
    with (TRACES / name).open() as file:
        rows = list(csv.DictReader(file))
    source = build(name).source
    assert source.rows_in_file == source.turns_used == source.sessions_used == len(rows)
    assert source.input_tokens == sum(int(row["ContextTokens"]) for row in rows)
    assert source.output_tokens == sum(int(row["GeneratedTokens"]) for row in rows)


def test_azure_budget_takes_the_first_rows() -> None:
    with (TRACES / "azure2023_conv.csv").open() as file:
        rows = list(csv.DictReader(file))[:128]
    workload = build("azure2023_conv.csv", max_turns=128)
    assert [s.turns[0].prompt_tokens for s in workload.sessions] == [int(row["ContextTokens"]) for row in rows]
    assert workload.source.left_out == {"beyond max_turns": 9683 - 128}


@pytest.mark.parametrize("name", WEKA)
def test_weka_sessions(name: str) -> None:
    recorded = weka_sessions(name)
    used = [[r for r in requests_of(session) if r["in"] and r["out"]] for session in recorded]
    source = build(f"{name}.jsonl.gz").source
    assert source.rows_in_file == sum(len(requests_of(session)) for session in recorded)
    assert (source.sessions_used, source.turns_used) == (len(recorded), sum(map(len, used)))
    assert source.source_input_tokens == source.input_tokens == sum(r["in"] for rs in used for r in rs)
    assert source.source_output_tokens == source.output_tokens == sum(r["out"] for rs in used for r in rs)
    assert source.rows_in_file - source.turns_used == sum(source.left_out.values())


def test_weka_sessions_that_exceed_the_context_are_left_out_whole() -> None:
    peaks = [
        max(request["in"] + request["out"] for request in requests_of(session))
        for session in weka_sessions("weka_cc_le64k")
    ]
    source = build("weka_cc_le64k.jsonl.gz", max_context_tokens=32_768).source
    assert source.sessions_used == sum(peak <= 32_768 for peak in peaks)
    assert 3 <= source.sessions_used < len(peaks)


@pytest.mark.parametrize("name", WEKA)
def test_weka_reuse_is_that_of_the_recorded_blocks(name: str) -> None:
    recorded = {session["id"]: requests_of(session) for session in weka_sessions(name)}
    for session in build(f"{name}.jsonl.gz").sessions:
        requests = [request for request in recorded[session.id] if request["in"] and request["out"]]
        seen: set[int] = set()
        prefix = SharedPrefix()
        for turn, request in zip(session.turns, requests, strict=True):
            blocks = request["hash_ids"]
            hits = next((n for n, block in enumerate(blocks) if block not in seen), len(blocks))
            seen.update(blocks)
            assert prefix.add(pieces_of(turn.prompt)) == 64 * hits


def test_weka_delays_are_capped_and_counted() -> None:
    kept, capped = (build("weka_cc_le64k.jsonl.gz", idle_gap_cap_s=cap) for cap in (None, 10.0))
    delays = [turn.delay_s for session in kept.sessions for turn in session.turns]
    assert capped.source.capped_delays == sum(delay > 10 for delay in delays) > 100
    assert [t.delay_s for s in capped.sessions for t in s.turns] == [min(10.0, delay) for delay in delays]


def test_sub_agents_are_turns_between_their_launch_and_their_join() -> None:
    sessions = build("weka_cc_subagents.jsonl.gz").sessions
    background = sum(not turn.foreground for session in sessions for turn in session.turns)
    agents = [e for s in weka_sessions("weka_cc_subagents") for e in s["requests"] if e["type"] == "subagent"]
    assert background == sum(len(e["requests"]) for e in agents if e["status"] == "async_launched") > 0
    joins = [turn for session in sessions for turn in session.turns if len(turn.after) > 1]
    assert sum(len(turn.after) - 1 for turn in joins) == sum(e["status"] == "completed" for e in agents)
