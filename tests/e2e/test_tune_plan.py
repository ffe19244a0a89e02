"""What tuning would try on a GPU that is not here, compiled for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_plan_without_a_gpu(bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    planned = bench("tune", "rms_norm", "--plan", "--device", "b200", "--candidates", 6, "--json").json
    assert planned["device"] == "NVIDIA B200"
    for one in planned["problems"]:
        assert one["launched"] + sum(one["refused"].values()) == one["compiled"] == 6
        assert one["launched"] > 0
    assert not list(tmp_path.glob("runs*"))
