"""`bench --help` answers at once: neither it nor the help of any verb imports what takes seconds to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "tokenizers", "torch", "transformers"}

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


@pytest.mark.parametrize("program", ["import bench", EVERY_HELP], ids=["import", "help"])
def test_imports_nothing_heavy(program: str) -> None:
    report = "import sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    modules = set(done.stderr.splitlines()[-1].split())
    assert "bench" in modules
    assert not modules & HEAVY
