"""How long the command takes to answer, beside an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

PROGRAMS = {"nothing": "pass", "import": "import bench", "help": "from bench.cli.main import execute; execute(['-h'])"}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_startup(benchmark: BenchmarkFixture, program: str) -> None:
    benchmark.group = "startup"
    benchmark(subprocess.run, [sys.executable, "-c", program], check=True, capture_output=True)
