"""The table of kernels that `make bench-kernels` and `make gpu` write."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("bench_kernels")


def timed(kernel: str, rows: int, computed_by: str, microseconds: float, **info: Any) -> dict[str, Any]:
    """One problem's times as pytest-benchmark saves them, in seconds."""
    stats = {"median": microseconds * 1e-6, "q1": 0.9e-6 * microseconds, "q3": 1.1e-6 * microseconds}
    extra = {"kernel": kernel, "problem": {"rows": rows}, "computed_by": computed_by, "gb_per_s": 2000.0, **info}
    return {"extra_info": {"flops": 0, "tflop_per_s": 0.0, "share_of_roofline": None, **extra}, "stats": stats}


def page(script: Any, *benchmarks: dict[str, Any]) -> list[str]:
    saved = {
        "benchmarks": list(benchmarks),
        "datetime": "2026-11-22T10:00:00",
        "commit_info": {"id": "0123456789abcdef"},
        "machine_info": {"torch": "2.13.0", "triton": "3.7.1"},
    }
    lines: list[str] = script.page(saved, "a-machine").splitlines()
    return lines


def test_a_row_a_problem_has_ours_first_and_then_what_it_is_compared_with(script: Any) -> None:
    lines = page(
        script,
        timed("matmul", 64, "reference", 30.0, flops=8, tflop_per_s=20.0, share_of_roofline=0.25),
        timed("matmul", 64, "triton", 10.0, flops=8, tflop_per_s=60.0, share_of_roofline=0.75),
        timed("silu_mul", 8, "triton", 2.0),
    )
    assert lines[0] == "# Kernels on a-machine, 2026-11-22"
    assert lines[2] == "Commit 0123456, torch 2.13.0, Triton 3.7.1."
    assert lines[-4].split(" | ")[2:] == ["triton, µs", "reference, µs", "GB/s", "TFLOP/s", "share |"]
    assert lines[-2:] == [
        "| matmul | rows 64 | 10.0 (9.0–11.0) | 30.0 (27.0–33.0) | 2,000.0 | 60.00 | 75% |",
        "| silu_mul | rows 8 | 2.0 (1.8–2.2) | – | 2,000.0 | – | – |",
    ]


def test_without_a_gpu_there_are_references_alone(script: Any) -> None:
    lines = page(script, timed("silu_mul", 8, "reference", 2.0, share_of_roofline=0.5))
    assert lines[-1] == "| silu_mul | rows 8 | 2.0 (1.8–2.2) | 2,000.0 | – | 50% |"
