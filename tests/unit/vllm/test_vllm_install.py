"""Which vLLM an interpreter has is told before it is started, and what is wrong with it in one line."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest

from bench.core.errors import EngineError, InputError
from bench.engine.vllm_install import interpreter, vllm_environment, vllm_version


def with_vllm(folder: Path, version: str) -> dict[str, str]:
    """The environment in which any interpreter has that version."""
    metadata = folder / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    return vllm_environment(sys.executable, {"PYTHONPATH": str(folder)})


def test_none_is_this_interpreter_and_a_name_is_looked_up() -> None:
    assert interpreter(None) == sys.executable
    assert Path(interpreter("sh")).is_absolute()


def test_a_path_that_is_no_program_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^engine.python: '.*nowhere/python' is no program "):
        interpreter(str(tmp_path / "nowhere" / "python"))


@pytest.mark.parametrize("version", ["0.32.0+cpu", "0.33.1", "1.0.0rc1"])
def test_a_version_is_told(version: str, tmp_path: Path) -> None:
    assert vllm_version(sys.executable, with_vllm(tmp_path, version)) == version


@pytest.mark.parametrize("version", ["0.9.2", "0.31.4", "dev"])
def test_another_version_is_refused(version: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf" has vLLM {version}; this needs 0\.32 or newer$"):
        vllm_version(sys.executable, with_vllm(tmp_path, version))


def test_an_environment_without_it_is_told_with_the_extra(tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path)
    with pytest.raises(EngineError, match=r"vLLM is not installed for .*: install neobench\[vllm\] there"):
        vllm_version(interpreter(str(tmp_path / "bin" / "python")), dict(os.environ))


def test_a_program_that_is_no_interpreter_is_told() -> None:
    with pytest.raises(EngineError, match="cannot tell which vLLM it has"):
        vllm_version(interpreter("sh"), dict(os.environ))


def test_use_is_reported_to_nobody_unless_the_suite_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    told = vllm_environment(sys.executable, {"VLLM_CPU_KVCACHE_SPACE": "2"})
    assert (told["VLLM_CPU_KVCACHE_SPACE"], told["VLLM_NO_USAGE_STATS"]) == ("2", "1")
    assert vllm_environment(sys.executable, {"VLLM_NO_USAGE_STATS": "0"})["VLLM_NO_USAGE_STATS"] == "0"


def test_another_interpreter_is_not_asked_of_packages_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", with_vllm(tmp_path, "0.32.0")["PYTHONPATH"])
    venv.EnvBuilder(symlinks=True).create(tmp_path / "environment")
    other = str(tmp_path / "environment" / "bin" / "python")
    with pytest.raises(EngineError, match="not installed"):
        vllm_version(other, vllm_environment(other, {}))
