"""Tables that no published figure stands beside: worked out here again from the windows they were measured in."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_fit import cumulative
from prompt_turns import common_prefix

from bench.workload.agentic_profile import AgenticProfile
from bench.workload.profile import ChatProfile, Quantiles, RagProfile, load_profile

TRACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces"
pytestmark = pytest.mark.data
BLOCK = 512


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(TRACES / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def distance(recorded: Sequence[float], listed: Quantiles) -> float:
    """The largest difference of cumulative share, whole tokens counted up to their half."""
    values = np.unique(recorded) + 0.5
    found = np.searchsorted(np.sort(recorded), values) / len(recorded)
    return float(np.abs(found - cumulative(listed.table, values)).max())


def chains(session: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The requests of the session's own agent, and of each sub-agent."""
    yield [entry for entry in session["requests"] if entry["type"] != "subagent"]
    for entry in session["requests"]:
        if entry["type"] == "subagent":
            yield entry["requests"]


def test_compaction() -> None:
    profile = load_profile("agentic", AgenticProfile).compaction
    assert profile is not None
    steps = 0
    summaries = []
    for session in rows("weka_cc_le128k"):
        for before, request in pairwise(next(chains(session))):
            steps += 1
            if common_prefix(before["hash_ids"], request["hash_ids"]) < 0.9 * len(before["hash_ids"]):
                summaries.append(request["in"] - session["tool_tokens"] - session["system_tokens"])
    assert len(summaries) / steps == pytest.approx(profile.share, abs=5e-5)
    assert distance(summaries, profile.summary_tokens) < 0.06  # three of 56 rows


def test_sub_agents() -> None:
    profile = load_profile("agentic", AgenticProfile).sub_agents
    assert profile is not None
    agents = [e for session in rows("weka_cc_subagents") for e in session["requests"] if e["type"] == "subagent"]
    background = np.mean([agent["status"] == "async_launched" for agent in agents])
    assert background == pytest.approx(profile.background.share, abs=1e-3)
    assert np.median([agent["tool_tokens"] for agent in agents]) == profile.tools.tokens
    assert np.median([agent["system_tokens"] for agent in agents]) == pytest.approx(profile.system.tokens, abs=0.5)
    starts = [agent["requests"][0]["in"] - agent["tool_tokens"] - agent["system_tokens"] for agent in agents]
    growths = [b["in"] - a["in"] for agent in agents for a, b in pairwise(agent["requests"])]
    outputs = [request["out"] for agent in agents for request in agent["requests"]]
    assert distance(starts, profile.start_tokens) < 0.12  # four of 36 rows
    assert distance(growths, profile.growth_tokens) < 0.025
    assert distance(outputs, profile.output_tokens) < 0.025


def test_messages_of_conversations() -> None:
    last_with: dict[int, dict[str, Any]] = {}
    messages = []
    for row in rows("mooncake_fast25_conversation"):
        whole = row["hash_ids"][1 : row["input_length"] // BLOCK]  # the first block is in every prompt
        before = next((last_with[block] for block in reversed(whole) if block in last_with), None)
        if before is not None:
            messages.append(row["input_length"] - before["input_length"] - before["output_length"])
        if whole:
            last_with[whole[-1]] = row
    assert len(messages) == 1720
    said = [tokens for tokens in messages if tokens > 0]
    assert len(said) == 1532
    assert distance(said, load_profile("chat", ChatProfile).message_tokens) < 0.015


def test_documents_and_questions() -> None:
    profile = load_profile("rag", RagProfile)
    assert profile.question_tokens is not None
    of_block: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows("mooncake_fast25_synthetic"):
        if row["input_length"] >= BLOCK:
            of_block[row["hash_ids"][0]].append(row)
    asked = [requests for requests in of_block.values() if len(requests) > 1]
    documents, questions, outputs = [], [], []
    for requests in asked:
        whole = [row["hash_ids"][: row["input_length"] // BLOCK] for row in requests]
        tokens = BLOCK * min(common_prefix(whole[0], other) for other in whole[1:])
        documents.append(tokens)
        questions += [row["input_length"] - tokens for row in requests]
        outputs += [row["output_length"] for row in requests]
    assert (len(asked), len(questions)) == (195, 511)
    assert distance(documents, profile.document_tokens) < 0.03
    assert distance(questions, profile.question_tokens) < 0.02
    assert distance(outputs, profile.output_tokens) < 0.025
