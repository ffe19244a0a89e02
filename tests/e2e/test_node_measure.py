"""`bench node show --measure` on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 90.0
COMMAND = (sys.executable, "-c", "from bench.cli.main import main; main()", "node", "show", "--measure")


def test_the_host_is_measured_and_told(bench: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    ran = bench("node", "show", "--measure", "--seconds", "2", "--json", "--out", file)
    assert ran.code == 0, ran.err
    assert json.loads(file.read_text()) == ran.json
    measured, about = ran.json["measured"], ran.json["measurement"]
    assert about["failures"] == []
    told = {name: figure for name, figure in measured.items() if figure["value"] is not None}
    assert "memory_read_bytes_per_s" in told  # for all the others a busy machine may have no time
    for name, figure in told.items():
        assert 0 < figure["low"] <= figure["value"] <= figure["high"], name
        assert figure["n"] > 0
        assert figure["method"]
    assert all(name in ran.err for name in measured)
    assert {"cpu_matmul_float32_flops_per_s", "wake_up_s", "timer_late_s", "disk_read_bytes_per_s"} < measured.keys()
    if measured["gpu0_copy_bytes_per_s"]["value"] is None:
        assert measured["gpu0_copy_bytes_per_s"]["reason"] == "torch finds no CUDA device"
    assert all((one["value"] is None) == (one["reason"] is not None) for one in measured.values())
    assert [path.name for path in tmp_path.iterdir()] == ["node.json"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seconds", "5"], "--measure"),
        (["--measure", "--seconds", "0"], "--seconds"),
        (["--measure", "--out", "no/such/node.json"], "no such folder"),
        (["--out", "."], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(
    bench: Callable[..., Any], arguments: list[str], told: str
) -> None:
    ran = bench("node", "show", *arguments)
    assert ran.code == 2
    assert told in ran.err


@pytest.mark.slow
def test_an_interrupt_ends_what_measures(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, "--seconds", "60"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("memory_read_bytes_per_s"):
                break
        process.send_signal(signal.SIGINT)
        _, last = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert last.strip().endswith("bench: interrupted")
