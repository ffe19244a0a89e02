"""The results in this repository still say what their tables say. A number redefined is a result measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "results"


def test_committed_results_verify(bench: Callable[..., Any]) -> None:
    verified = bench("verify", RESULTS, "--json")
    assert verified.code == 0, verified.json
    assert len(verified.json) >= 2
