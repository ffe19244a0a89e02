"""The comparison of engines: what its rates mean and what its table says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ENGINES = Path(__file__).parents[1] / "benchmarks" / "engines"
SECOND = 1_000_000_000


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ENGINES)
    return importlib.import_module


def test_prefill_ends_with_the_last_first_token_and_decode_begins_there(module: Any) -> None:
    # The first request answers while the second is still prefilled: those tokens are no pure decode.
    token_ns = [[2 * SECOND, 3 * SECOND, 5 * SECOND, 6 * SECOND], [4 * SECOND, 5 * SECOND, 6 * SECOND, 8 * SECOND]]
    rates = module("rates").rates_of(0, token_ns, prompt_tokens=128)
    assert rates.prefill_tokens_per_s == pytest.approx(2 * 128 / 4)
    assert rates.decode_tokens_per_s == pytest.approx(5 / 4)


def test_no_decode_is_no_rate(module: Any) -> None:
    with pytest.raises(ValueError, match="no token came after"):
        module("rates").rates_of(0, [[SECOND]], prompt_tokens=128)


def test_the_table_compares_within_a_round(module: Any) -> None:
    table, rates = module("table"), module("rates")

    def row(engine: str, round: int, batch: int, decode: float) -> Any:
        return table.Measured(engine, round, batch, rates.Rates(100.0, decode), 40e9, 1e9)

    # The machine was twice as slow in the second round, for both engines.
    rows = [row("ours", 0, 1, 30.0), row(table.BASELINE, 0, 1, 20.0), row(table.BASELINE, 1, 1, 10.0)]
    rows += [row("ours", 1, 1, 15.0), row("ours", 0, 4, 80.0)]
    head, ours, baseline, alone = table.render(rows).splitlines()
    assert ours.split("  ")[0] == "1"
    assert "22.5 (15 to 30)" in ours
    assert "0.562 (0.375 to 0.75)" in ours
    assert "1.5 (1.5 to 1.5)" in ours
    assert "1 (1 to 1)" in baseline
    assert alone.split() == ["4", "ours", "80", "100"]
    assert head.index("decode ×") == ours.index("1.5 (1.5")
