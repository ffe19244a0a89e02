"""The comparison of engines as `make bench` runs it, on the tiny model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).parents[1] / "benchmarks" / "engines"


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ENGINES), "--rounds", "1", "--output", "4", "--batches", "1", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", ["neobench bf16", "transformers bf16", pytest.param("vLLM-CPU bf16", marks=pytest.mark.vllm)]
)
def test_an_engine_answers_at_every_batch(engine: str) -> None:
    ran = compare("--model", "tiny", "--engines", engine)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "prompt 128, output 4" in ran.stdout
    lines = [line for line in ran.stdout.splitlines() if line[:1].isdigit()]
    assert [line.split(engine)[0].strip() for line in lines] == ["1", "2"], ran.stdout
    for line in lines:
        decode, prefill = line.split(engine)[1].split()[:2]
        assert float(decode.replace(",", "")) > 0
        assert float(prefill.replace(",", "")) > 0


def test_a_shape_that_is_not_there_is_told_in_one_line() -> None:
    ran = compare("--model", "no-such-model")
    assert ran.returncode == 2
    assert "no-such-model" in ran.stderr
    assert "Traceback" not in ran.stderr
