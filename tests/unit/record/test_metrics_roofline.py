"""MBU, MFU and the host's share, from steps whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import StepRow
from bench.core.work import Ceiling, ModelWork
from bench.metrics.roofline import StepColumns, roofline
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import Window
from bench.results.batches import table_of

MS = 1_000_000
START_NS = 7_000 * MS
DENSE = ModelWork(weight_bytes=900, output_bytes=100, expert_bytes=0, flops_per_token=2_000, flops_per_logit_row=200)
STEP = StepRow(
    t_ns=START_NS,
    duration_ns=10 * MS,
    prefill_tokens=0,
    decode_tokens=4,
    requests=4,
    context_tokens=400,
    kv_bytes=1_000,
    attention_flops=1_200,
    logit_rows=4,
    drafted_tokens=0,
    accepted_tokens=0,
    discarded_tokens=0,
    padding_tokens=0,
    graph_key="eager",
    device_ns=None,
    host_ns=MS,
)
SHEET = Ceiling(bytes_per_s=400_000.0, flops_per_s=4e6, source="a datasheet")


def steps(count: int, **changes: Any) -> list[StepRow]:
    """Steps one after another."""
    return [replace(STEP, **{"t_ns": START_NS + i * 10 * MS, **changes}) for i in range(count)]


def section(
    rows: list[StepRow], work: ModelWork = DENSE, accelerators: int = 0, seconds: float = 2.0, **ceilings: Ceiling
) -> dict[str, Any]:
    window = Window(0.0, seconds * 1e9)
    columns = StepColumns.of(table_of("steps", rows), work, window, start_ns=START_NS)
    return roofline(columns, window, ceilings or {"datasheet": SHEET}, accelerators, Confidence(0.95, 0))


def test_shares_of_bytes_and_operations() -> None:
    decode = section(steps(200))["phases"]["decode"]
    # Each step reads 900 + 100 + 1,000 bytes in 10 ms and computes 4 · 2,000 + 4 · 200 + 1,200 operations.
    assert decode["mbu"].value == pytest.approx(2_000 / 0.01 / 400_000)
    assert decode["mfu"].value == pytest.approx(10_000 / 0.01 / 4e6)
    assert decode["mbu"].low <= decode["mbu"].value <= decode["mbu"].high
    assert decode["steps"] == 199  # the last one ends with the window, which is half open


def test_phases_are_told_apart() -> None:
    rows = [
        *steps(10),
        *steps(10, prefill_tokens=512, decode_tokens=0, logit_rows=0),
        *steps(10, prefill_tokens=500, decode_tokens=12),
    ]
    phases = section(rows)["phases"]
    assert {phase: values["steps"] for phase, values in phases.items()} == {"decode": 10, "prefill": 10, "mixed": 10}
    assert phases["prefill"]["bytes"] == 10 * (
        900 + 1_000
    )  # without a row of logits nobody reads the output projection


def test_only_touched_experts_are_read() -> None:
    mixture = replace(DENSE, expert_bytes=50)
    assert section(steps(10, experts_touched=6), mixture)["phases"]["decode"]["bytes"] == 10 * (2_000 + 300)


def test_a_share_of_several_accelerators_is_of_them_all() -> None:
    one, four = section(steps(50), accelerators=1), section(steps(50), accelerators=4)
    assert one["phases"]["decode"]["mbu"].value == pytest.approx(4 * four["phases"]["decode"]["mbu"].value)


def test_a_share_above_one_is_flagged() -> None:
    measured = replace(SHEET, bytes_per_s=100_000.0)
    found = section(steps(50), datasheet=SHEET, measured=measured)
    assert found["over_one"] == ["decode.mbu_of_measured"]
    assert found["phases"]["decode"]["mbu_of_measured"].value == pytest.approx(2.0)


def test_the_share_of_waiting_for_the_host() -> None:
    assert section(steps(100))["host_share"].value == pytest.approx(0.1)
    assert section([])["host_share"].value is None
