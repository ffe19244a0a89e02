"""What a person reads: figures with their uncertainty, and a display that also makes sense in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.core.records import Counters, Progress
from bench.report.format import headline, milliseconds, number
from bench.report.progress import LiveProgress


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.046, "0.046"),
        (2.1091541, "2.11"),
        (14.24, "14.2"),
        (999.6, "1,000"),
        (1234567.0, "1,234,567"),
        (2.5e-7, "2.5e-07"),
        (-12.34, "-12.3"),
    ],
)
def test_numbers_keep_three_digits_and_never_turn_absent_into_zero(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_headline_shows_its_wider_side_its_bounds_or_nothing() -> None:
    assert headline({"value": 100.0, "low": 90.0, "high": 105.0}) == "100 ±10%"
    assert headline({"value": 100.0, "low": 99.9, "high": 100.1}) == "100 ±0.1%"
    assert headline({"value": None, "low": 2.11, "high": 2.91}) == "2.11 to 2.91"
    assert headline({"value": 7.0, "low": None, "high": None}) == "7.0"
    assert headline({"value": None, "low": None, "high": None}) == headline(None) == "–"
    assert milliseconds({"value": 12.345}) == "12.3 ms"


def test_a_log_gets_lines_not_a_moving_bar() -> None:
    out = io.StringIO()
    with LiveProgress(Console(file=out, width=80)) as live:
        live.case("reasoning", 1, 2)
        live.phase("measuring")
        for done in range(3):
            live.tick(Progress(turns_planned=9, turns_done=done, sessions_alive=4), Counters(output_tokens=done))
    assert out.getvalue() == "[1/2] reasoning: measuring\n"


def test_a_terminal_gets_a_bar_with_turns_failures_and_sessions() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with LiveProgress(console) as live:
        live.case("agentic", 1, 1)
        live.phase("measuring")
        live.tick(Progress(turns_planned=9, turns_done=3, turns_failed=1, sessions_alive=4), Counters())
    shown = out.getvalue()
    assert "agentic: measuring" in shown
    assert "4/9 turns" in shown
    assert "4 sessions" in shown
    assert "1 failed" in shown
