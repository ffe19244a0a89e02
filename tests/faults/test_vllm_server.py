"""A vLLM server that does not start, or does not last, is told in one line, and no process of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from endpoint_asking import Heard, asked, run
from fake_vllm_server import CONTEXT_TOKENS, installed
from vllm_asking import TINY
from waiting import soon

from bench.core.clock import RealClock
from bench.core.errors import EngineError, InputError
from bench.core.spec import VllmServerEngineSpec
from bench.engine.vllm_server import process
from bench.engine.vllm_server.engine import VllmServerEngine


def engine(environment: dict[str, str], **spec: Any) -> VllmServerEngine:
    arguments = {"max_model_len": 256, **spec.pop("arguments", {})}
    section = VllmServerEngineSpec(kind="vllm-server", environment=environment, arguments=arguments, **spec)
    return VllmServerEngine(section, TINY, clock=RealClock())


def failure_of(environment: dict[str, str], **spec: Any) -> str:
    """What a start that must fail tells."""

    async def main() -> str:
        starting = engine(environment, **spec)
        try:
            with pytest.raises(EngineError) as failed:
                await starting.start()
        finally:
            await starting.stop()
        return str(failed.value)

    line = run(main())
    assert "\n" not in line
    return line


def processes(left: Path) -> list[int]:
    pids: list[int] = json.loads(left.read_text())["pids"]
    return pids


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    ("says", "line"),
    [
        ("ValueError: bad head size", "vLLM ended with exit code 1: ValueError: bad head size"),
        (
            "torch.OutOfMemoryError: Tried to allocate 2 GiB",
            "vLLM ended with exit code 1: out of memory: torch.OutOfMemoryError: Tried to allocate 2 GiB",
        ),
    ],
)
def test_one_that_ends_at_its_start_tells_its_last_words(says: str, line: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    assert failure_of(installed(tmp_path / "fake", says=says, left=str(left))) == line
    assert are_gone(processes(left))


def test_one_that_never_is_ready_is_ended(tmp_path: Path) -> None:
    left = tmp_path / "left"
    line = failure_of(installed(tmp_path / "fake", hangs=True, left=str(left)), start_timeout_s=4)
    assert line.startswith("vLLM is not ready after 4 s: init engine ")
    assert are_gone(processes(left))


def test_one_that_is_too_old_is_not_started(tmp_path: Path) -> None:
    left = tmp_path / "left"
    line = failure_of(installed(tmp_path / "fake", "0.31.2", left=str(left)))
    assert line.endswith("has vLLM 0.31.2; this needs 0.32 or newer")
    assert not left.exists()


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    left = tmp_path / "left"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = failure_of(installed(tmp_path / "fake", left=str(left)), port=port)
    assert line == f"port {port} is not free for vLLM: Address already in use"
    assert not left.exists()


def test_a_port_that_vllm_finds_taken_is_named(tmp_path: Path) -> None:
    says = "OSError: [Errno 98] Address already in use"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert failure_of(installed(tmp_path / "fake", says=says), port=port) == f"vLLM found port {port} taken"


def test_a_server_of_another_model_is_not_asked(tmp_path: Path) -> None:
    line = failure_of(installed(tmp_path / "fake", serves="another"))
    assert "is another server's: asked for its models it tells another, and not tiny-" in line


def test_a_context_that_is_shorter_than_sessions_were_chosen_for_is_bad_input(tmp_path: Path) -> None:
    async def main() -> None:
        starting = engine(installed(tmp_path / "fake"), arguments={"max_model_len": 2 * CONTEXT_TOKENS})
        with pytest.raises(InputError, match=rf"^engine.max_context_tokens: .*at most {CONTEXT_TOKENS}\)$"):
            await starting.start()
        await starting.stop()

    run(main())


def test_an_interpreter_that_is_none_is_bad_input_before_anything_starts() -> None:
    with pytest.raises(InputError, match=r"^engine.python: 'nowhere/python' is no program"):
        engine({}, python="nowhere/python")


async def answered(started: VllmServerEngine) -> Heard:
    heard = Heard()
    await started.submit(started.prepare(asked()), heard)
    await heard.ended
    return heard


def test_one_that_hears_nothing_is_killed_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_GRACE_S", 0.2)
    left = tmp_path / "left"

    async def main() -> None:
        deaf = engine(installed(tmp_path / "fake", deaf=True, left=str(left)))
        await deaf.start()
        assert not are_gone(processes(left))
        assert (await answered(deaf)).tokens == 4
        await deaf.stop()
        await deaf.stop()

    run(main())
    assert are_gone(processes(left))


def test_one_that_is_lost_ends_the_session_and_refuses_the_next_turn(tmp_path: Path) -> None:
    line = "vLLM was ended by SIGKILL: RuntimeError: it was told to break"

    async def main() -> None:
        lost = engine(installed(tmp_path / "fake", ends_at=2))
        told: list[str] = []
        lost.when_lost(told.append)
        await lost.start()
        assert (await answered(lost)).tokens == 4
        assert (await answered(lost)).end.reason == "failed"
        with pytest.raises(EngineError, match=f"^{line}$"):
            await lost.end_session("session")
        with pytest.raises(EngineError, match=f"^{line}$"):
            await lost.submit(lost.prepare(asked()), Heard())
        await lost.stop()
        assert told == [line]

    run(main())


@pytest.mark.parametrize("who", ["the run", "the keeper"])
def test_whoever_is_killed_leaves_no_server_behind(who: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    script = tmp_path / "run.py"
    script.write_text(
        f"""
import asyncio
from test_vllm_server import engine
async def main():
    starting = engine({installed(tmp_path / "fake", left=str(left), hangs=True)!r})
    await starting.start()
asyncio.run(main())
"""
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    async def main() -> None:
        running = await asyncio.create_subprocess_exec(
            sys.executable, script, env=environment, stderr=asyncio.subprocess.PIPE
        )
        assert await asyncio.to_thread(soon, lambda: left.exists() and left.stat().st_size > 0)
        killed = running.pid if who == "the run" else parent_of(processes(left)[0])
        os.kill(killed, signal.SIGKILL)
        await running.wait()

    run(main())
    assert soon(lambda: are_gone(processes(left)))


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
