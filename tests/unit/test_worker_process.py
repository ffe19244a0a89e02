"""A child process whose end is told in one line, with its own last words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from bench.core.errors import EngineError
from bench.engine.worker_process import WorkerProcess


async def end_of(module: str) -> tuple[WorkerProcess[str, str], list[str]]:
    told: list[str] = []
    process: WorkerProcess[str, str] = WorkerProcess(module, lambda message: None, told.append)
    await process.wait()
    return process, told


def test_a_crash_is_told_in_one_line_with_what_was_printed_last() -> None:
    process, told = asyncio.run(end_of("no_such_module"))
    assert len(told) == 1
    assert told[0].startswith("the engine's process ended with exit code 1: ")
    assert told[0].endswith("No module named no_such_module")
    assert not process.alive


def test_a_process_that_is_gone_takes_no_message_and_no_second_end() -> None:
    process, _ = asyncio.run(end_of("no_such_module"))
    with pytest.raises(EngineError, match="is gone"):
        process.send("anything")
    process.kill()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_messages_beyond_any_buffer_pass_whole_on_every_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    told: list[bytes] = []

    async def main() -> str:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        process: WorkerProcess[bytes, bytes] = WorkerProcess("echo_process", told.append, ended.set_result, "an echo")
        process.send(bytes(range(256)) * 20_000)
        return await asyncio.wait_for(ended, 60)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == "an echo ended with exit code 0"
    assert told == [bytes(range(256)) * 20_000]
