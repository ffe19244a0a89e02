"""Tuned, exported, shipped and looked up: what a record says of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels import registry as registry_module
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, Registry, Target
from neokernels.tuning import table as table_module
from neokernels.tuning.store import MeasurementLog, read_measurements, winners
from neokernels.tuning.table import TunedTable, Winner, save_table, table_file

CUDA = Target(torch.device("cuda"), torch.bfloat16)


class TwiceLauncher(Launcher[..., Any]):
    """Looks a schedule up as a launcher does, and launches nothing."""

    def bound(self, schedules: Any) -> Any:
        return lambda kernel, problem: schedules.config(kernel, problem)


@pytest.fixture
def engine(simulated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The registry of an engine on the simulated device, whose shipped tables lie in `tmp_path`."""
    monkeypatch.setattr(registry_module, "cuda_device", lambda index: simulated.DEVICE)
    monkeypatch.setattr(table_module, "shipped_folder", lambda: tmp_path / "tuned")
    return Registry


def resolve(registry: Registry) -> Any:
    return registry.resolve(Operation("twice", Implementation("triton", TwiceLauncher("twice", "twice"))), CUDA)


def test_tune_export_look_up_record(engine: Any, simulated: Any, database: Path, tmp_path: Path) -> None:
    with MeasurementLog(database) as log:
        timer = simulated.SimulatedTimer(time_us=simulated.noisy(0.01))
        for problem in simulated.Twice.examples:
            simulated.search(log, timer).tune(simulated.TWICE, problem)
    best = winners(read_measurements(database), {"twice": simulated.TWICE.source_sha()})
    save_table(
        table_file(tmp_path / "tuned", simulated.DEVICE.name), TunedTable(simulated.DEVICE, map(Winner.of, best))
    )

    registry = engine()
    twice = resolve(registry)
    heuristic = simulated.TWICE.heuristic(simulated.Rows(1, 1), simulated.DEVICE)
    assert twice(simulated.TWICE, simulated.Rows(1000, 4096)) == simulated.FASTEST  # in the bucket of 1,024
    assert twice(simulated.TWICE, simulated.Rows(16, 4096)) == simulated.FASTEST
    assert twice(simulated.TWICE, simulated.Rows(64, 8192)) == heuristic
    assert [(look_up.problem.rows, look_up.problem.width, look_up.origin) for look_up in registry.look_ups] == [
        (1024, 4096, "tuned"),
        (16, 4096, "nearest"),
        (64, 8192, "heuristic"),
    ]


def test_without_a_table_rules_of_thumb_answer(engine: Any, simulated: Any) -> None:
    registry = engine()
    resolve(registry)(simulated.TWICE, simulated.Rows(64, 4096))
    assert [look_up.origin for look_up in registry.look_ups] == ["heuristic"]


def test_a_look_up_cannot_measure() -> None:
    """What engines import to look schedules up brings no code that could time one."""
    program = "import neokernels.registry, neokernels.launcher, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "neokernels.tuning.table" in modules
    assert not modules & {f"neokernels.tuning.{name}" for name in ("search", "timer", "cuda_timer", "inspection")}
