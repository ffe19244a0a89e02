"""Agents whose lanes begin anywhere and whose sessions come again, on a real engine: what is alive and what counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from profile_fit import rewritten

LANES = 4


def test_lanes_stay_full_and_nothing_is_found_in_a_cache_that_was_not_sent(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    record, rows = measured(bench, tmp_path)
    warm_ups, turns = rows[rows.warmup], rows[~rows.warmup]
    assert (warm_ups.asked_output_tokens == 1).all()
    assert warm_ups.session_id.is_unique
    assert record["requests"]["left_out"].get("warm-up", 0) == len(warm_ups)
    assert record["requests"]["sent"] == len(turns)

    assert (~turns.foreground).any()
    assert turns.session_id.str.contains("+", regex=False).any()
    spans = turns.groupby("session_id").agg(begun=("t_due_ns", "min"), ended=("t_done_ns", "max"))
    changes = sorted([(t_ns, 1) for t_ns in spans.begun] + [(t_ns, -1) for t_ns in spans.ended])
    assert pd.Series([change for _, change in changes]).cumsum().max() == LANES

    assert (turns.cached_tokens <= turns.shared_tokens).all()
    assert turns.cached_tokens.sum() > 0
    assert record["window"]["stationary"]
    assert record["window"]["steady"] is not None


def measured(bench: Callable[..., Any], folder: Path) -> tuple[Any, pd.DataFrame]:
    """The record and the turns of fewer sessions than lanes, with many sub-agents, sent for some seconds."""
    profile = rewritten(folder, "agentic", **{"sub_agents.share": 0.3, "sub_agents.background.share": 0.5})
    spec = {
        "name": "agents",
        "model": {"path": "tiny"},
        "engine": {"check_accuracy": False, "threads": 1, "max_running": 32, "kv_cache_tokens": 65536},
        "workload": {
            "kind": "agentic",
            "profile": profile,
            "sessions": 3,
            "token_scale": 0.002,
            "max_turns_per_session": 6,
        },
        "load": {"kind": "closed", "concurrency": LANES, "random_start": True, "recycle": True, "time_scale": 0.02},
        "measure": {"percentiles": [0.5], "max_seconds": 3, "warmup_sessions": 0},
    }
    suite = folder / "agents.yaml"
    suite.write_text(yaml.safe_dump({"suite": "agents", "specs": [spec]}))
    ran = bench("run", suite, "--out", folder / "runs", "--json")
    assert ran.code in (0, 1), ran.err
    return ran.json["records"][0], pd.read_parquet(Path(ran.json["folders"][0]) / "turns.parquet")
