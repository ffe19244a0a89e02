"""The wheel is whole: what it carries, and that an installed copy runs the smoke suite by name in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from bench import __version__

CHECKOUT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What `command` prints; it sees no PYTHONPATH, and its failure is shown whole."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, CHECKOUT)
    return out / f"neobench-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment that holds the wheel and borrows its dependencies from this one."""
    environment = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    commands = environment / "bin"
    run(sys.executable, "-m", "pip", "--python", commands / "python", "install", "--no-index", "--no-deps", wheel)
    [site_packages] = environment.glob("lib/python*/site-packages")
    # Only this line of the .pth file counts: the borrowed folder's own .pth files, and so an editable install, do not.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return commands


def test_wheel_carries_what_a_user_needs_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"bench", "neokernels", f"neobench-{__version__}.dist-info"}
    assert {
        "bench/configs/suites/smoke.yaml",
        "bench/configs/models/tiny/model.safetensors",
        "neokernels/registry.py",
        "neokernels/tuned/README.md",  # and so the tables beside it
        f"neobench-{__version__}.dist-info/licenses/LICENSE",
    } <= set(names)
    assert not [name for name in names if "test" in name or "__pycache__" in name]


@pytest.mark.slow
def test_installed_wheel_runs_smoke_by_name(installed: Path, tmp_path: Path) -> None:
    imported = run(installed / "python", "-c", "import bench; print(bench.__file__)", cwd=tmp_path)
    assert Path(imported.strip()).is_relative_to(installed.parent)

    run(installed / "bench", "run", "smoke", "--out", "results", cwd=tmp_path)
    run(installed / "bench", "verify", *(tmp_path / "results").iterdir(), cwd=tmp_path)
    comparison = json.loads(run(installed / "bench", "compare", "results", "--json", cwd=tmp_path))
    assert any(row["usd_per_million_output_tokens"] is not None for row in comparison["rows"])
