"""How turns and engines end: by cancelling, stopping, killing, and by models and sizes that cannot be."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from waiting import soon

from bench.core.errors import EngineError, InputError


def engine_processes() -> list[int]:
    """Children of this process that are engines."""
    tasks = Path("/proc/self/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if is_engine(pid)]


def is_engine(pid: int) -> bool:
    """Whether `pid` runs an engine; one that has died does not, reaped or not."""
    try:
        return b"bench.native.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_cancelled_turn_ends_at_once_and_gives_its_blocks_back(client: Any, engine: Any, small_model: Any) -> None:
    async def scenario() -> tuple[Any, Any]:
        stays, goes = client.sink(), client.sink()
        await engine.submit(client.request(client.prompt(17)), stays)
        handle = await engine.submit(client.request(client.prompt(40), 400), goes)
        await goes.first.wait()
        await engine.cancel(handle)
        assert goes.done.is_set()
        await engine.cancel(handle)
        await stays.done.wait()
        # An answer behind the cancellation shows that the engine has seen it.
        await client.answer(engine, client.request(client.prompt(3), 2))
        return stays, goes

    stays, goes = client.run(scenario())
    assert stays.token_ids == small_model.greedy(client.prompt(17), 64)
    assert goes.ended.reason == "cancelled"
    counters = engine.counters()
    assert (counters.running, counters.waiting, counters.kv_blocks_used) == (0, 0, 0)


def test_a_turn_cancelled_after_its_first_token_tells_what_the_prefix_cache_held(client: Any, engine: Any) -> None:
    async def scenario() -> Any:
        asked = client.request(client.prompt(45), 400)
        for _ in range(2):
            sink = client.sink()
            handle = await engine.submit(asked, sink)
            await sink.first.wait()
            await engine.cancel(handle)
        return sink.ended

    ended = client.run(scenario())
    assert (ended.reason, ended.cached_tokens) == ("cancelled", 32)


def test_a_worker_killed_in_mid_run_fails_the_open_turns_and_stop_returns(client: Any, small_model: Any) -> None:
    async def scenario() -> Any:
        before = engine_processes()
        engine = client.engine(small_model.folder)
        await engine.start()
        (pid,) = set(engine_processes()) - set(before)
        sink = client.sink()
        await engine.submit(client.request(client.prompt(10), 450), sink)
        await sink.first.wait()
        os.kill(pid, signal.SIGKILL)
        await sink.done.wait()
        with pytest.raises(EngineError, match="ended by SIGKILL"):
            await engine.submit(client.request(client.prompt(10)), client.sink())
        with pytest.raises(EngineError, match="ended by SIGKILL"):
            await engine.end_session("session")
        await engine.stop()
        await engine.stop()
        assert pid not in engine_processes()
        return sink

    sink = client.run(scenario())
    assert sink.ended.reason == "failed"
    assert sink.ended.error == "engine_lost: the engine's process was ended by SIGKILL"


def test_stop_in_mid_run_cancels_the_open_turns_and_interrupts_are_the_drivers(client: Any, small_model: Any) -> None:
    async def scenario() -> Any:
        before = engine_processes()
        engine = client.engine(small_model.folder)
        await engine.start()
        (pid,) = set(engine_processes()) - set(before)
        os.kill(pid, signal.SIGINT)
        sink = client.sink()
        await engine.submit(client.request(client.prompt(10), 450), sink)
        await sink.first.wait()
        log = await engine.stop()
        assert log.take() != []
        assert pid not in engine_processes()
        with pytest.raises(EngineError):
            await engine.submit(client.request(client.prompt(10)), client.sink())
        return sink

    sink = client.run(scenario())
    assert sink.ended.reason == "cancelled"


def test_stop_before_start_and_during_start(client: Any, small_model: Any) -> None:
    async def scenario() -> None:
        engine = client.engine(small_model.folder)
        await engine.stop()
        before = engine_processes()
        starting = asyncio.create_task(engine.start())
        while engine_processes() == before:
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
        await engine.stop()
        assert engine_processes() == before

    client.run(scenario())


def test_a_broken_model_is_the_same_input_error_here_as_in_the_worker(
    client: Any, small_model: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(small_model.folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    engine = client.engine(folder)
    with pytest.raises(InputError) as raised:
        client.run(engine.start())
    assert raised.value.where == str(weights)
    assert "\n" not in str(raised.value)
    assert client.run(engine.stop()).take() == []
    with pytest.raises(InputError, match="no such model folder"):
        client.engine(tmp_path / "nowhere")


def test_a_pool_beyond_the_memory_is_an_engine_error(client: Any, small_model: Any) -> None:
    engine = client.engine(small_model.folder, kv_cache_tokens=1 << 42)
    with pytest.raises(EngineError, match=r"needs .* bytes, but .* are free"):
        client.run(engine.start())


def test_a_driver_that_dies_leaves_no_engine_behind(small_model: Any) -> None:
    script = f"""
        import asyncio, os, pathlib
        from bench.core.clock import RealClock
        from bench.core.spec import NativeEngineSpec
        from bench.engine.native import NativeEngine

        async def main():
            spec = NativeEngineSpec(device="cpu", threads=1, kv_cache_tokens=1024)
            engine = NativeEngine(spec, pathlib.Path({str(small_model.folder)!r}), clock=RealClock())
            await engine.start()
            print(pathlib.Path(f"/proc/self/task/{{os.getpid()}}/children").read_text(), flush=True)
            os.kill(os.getpid(), 9)

        asyncio.run(main())
    """
    driver = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert driver.returncode == -signal.SIGKILL
    (pid,) = map(int, driver.stdout.split())
    assert soon(lambda: not is_engine(pid))
