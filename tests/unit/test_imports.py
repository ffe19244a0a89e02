"""Nobody waits for an import that is not needed: no help for what takes seconds, no CPU for the compiler of a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "tokenizers", "torch", "transformers", "triton"}

EVERY_HELP = """
import typer
from bench.cli.main import app, execute

def helps(command, path):
    yield [*path, "-h"]
    for name, child in getattr(command, "commands", {}).items():
        yield from helps(child, [*path, name])

for line in helps(typer.main.get_command(app), []):
    assert execute(line) == 0, line
"""

CPU_ENGINE = """
import bench, torch
from bench.native.load import load_engine
from neokernels.registry import Registry, Target
from bench.native.models.operations import Operations
Operations.resolve(Registry(), Target(torch.device("cpu"), torch.float32))
"""


@pytest.mark.parametrize("program", ["import bench", EVERY_HELP], ids=["import", "help"])
def test_imports_nothing_heavy(program: str) -> None:
    assert not imported_by(program) & HEAVY


def test_a_cpu_engine_does_without_triton() -> None:
    assert "triton" not in imported_by(CPU_ENGINE)


def imported_by(program: str) -> set[str]:
    report = "import sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    modules = set(done.stderr.splitlines()[-1].split())
    assert "bench" in modules
    return modules
