"""Suites on a server of OpenAI's API that knows its own times: counts are its own, and no stamp is before its write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mock_serving import serving, truth

from bench.engine.mock_server.settings import MockServerSettings

MOCK = MockServerSettings(ttft_ms=2, gap_ms=0.2, thinking_share=0.25, cached_share=0.5)
CHAT = {"api": "chat"}
REASONING = {"kind": "reasoning", "sessions": 6, "length_mode": "free", "token_scale": 0.02}
AGENTIC = {"kind": "agentic", "sessions": 3, "token_scale": 0.01, "max_turns_per_session": 4}
MEASURE = {"percentiles": [0.5], "warmup_sessions": 0}


@pytest.fixture
def measured(bench: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Any, pd.DataFrame, list[Any]]]:
    """Runs one case, a session at a time; returns its record, its turns as sent, and what the server knows of them."""

    def run(workload: Mapping[str, Any], engine: Mapping[str, Any]) -> tuple[Any, pd.DataFrame, list[Any]]:
        with serving(MOCK) as url:
            spec = {
                "name": "asked",
                "model": {"path": "tiny"},
                "engine": {"kind": "endpoint", "base_url": url, **engine},
                "workload": dict(workload),
                "load": {"kind": "closed", "concurrency": 1, "time_scale": 0},
                "measure": MEASURE,
            }
            suite = tmp_path / "asked.yaml"
            suite.write_text(yaml.safe_dump({"suite": "asked", "specs": [spec]}))
            ran = bench("run", suite, "--out", tmp_path / "runs", "--json")
            assert ran.code in (0, 1), ran.err
            known = truth(url)
        (folder,) = ran.json["folders"]
        turns = pd.read_parquet(Path(folder) / "turns.parquet").sort_values("t_send_ns")
        return ran.json["records"][0], turns, known

    return run


@pytest.mark.parametrize(
    ("workload", "engine"),
    [(REASONING, CHAT), (REASONING, {"prompt": "text"}), (AGENTIC, {}), (AGENTIC, CHAT)],
    ids=["reasoning-chat", "reasoning-text", "agentic-tokens", "agentic-chat"],
)
def test_a_suite_counts_and_times_what_the_server_wrote(
    measured: Callable[..., Any], workload: Mapping[str, Any], engine: Mapping[str, Any]
) -> None:
    record, turns, known = measured(workload, engine)
    assert record["requests"]["failed"] == {}
    assert len(turns) == len(known)
    for turn, request in zip(turns.itertuples(), known, strict=True):
        assert turn.output_tokens == request["tokens"]
        assert turn.engine_prompt_tokens == request["prompt_tokens"]
        assert turn.cached_tokens == round(request["prompt_tokens"] / 2)
        first_write_ns, last_write_ns = request["t_writes_ns"][0], request["t_writes_ns"][-1]
        # A chat's role came long before: had it been taken for a token, the first stamp would be before the write.
        assert turn.t_send_ns <= request["t_received_ns"] <= first_write_ns <= turn.t_first_ns
        assert last_write_ns <= turn.t_last_ns


def test_thinking_is_told_apart_where_lengths_are_free(measured: Callable[..., Any]) -> None:
    record, turns, _ = measured(REASONING, CHAT)
    assert record["latency"]["ttfa_ms"]["answer_start"] == "observed"
    assert (turns.thinking_tokens == (turns.output_tokens * 0.25).round()).all()
