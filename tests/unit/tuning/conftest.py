"""The simulated device, and files to tune into."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("simulated")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "simulated.jsonl"
