"""From the first message of the driver to the end of vLLM and of what it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from typing import Any

from bench.core.module_process import call_when_readable
from bench.engine.vllm_process.arguments import WHERE, engine_arguments, refused
from bench.engine.vllm_process.counters import AllCounts
from bench.engine.vllm_process.description import description, gpu_uuids
from bench.engine.vllm_process.messages import Command, Failed, Ready, Refused, Report, Start


def main(descriptor: int) -> None:
    """Serve the driver at the other end of `descriptor`, and end without waiting for vLLM's threads."""
    os.set_inheritable(descriptor, False)
    connection: Connection[Report, Command] = Connection(descriptor)
    # A copy in a child that vLLM forks would hide from the driver that this process ended.
    os.register_at_fork(after_in_child=connection.close)
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    code = 1
    try:
        start = connection.recv()
        assert isinstance(start, Start)
        code = _run(_serve(start, connection))
    except Exception:  # noqa: BLE001 - printed, and read from there
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with(descriptor: int) -> None:
    """End this process, and all of its session with it, once nobody is at the other end."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)
    hung_up.poll()
    os.killpg(0, signal.SIGKILL) if os.getpgrp() == os.getpid() else os._exit(1)


def _run(serving: Coroutine[Any, Any, int]) -> int:
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # as vLLM's server does, where it has it

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serving)


async def _serve(start: Start, connection: Connection[Report, Command]) -> int:
    """The exit code."""
    try:
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from bench.engine.vllm_process.serving import Serving
    except ImportError as error:
        traceback.print_exc()
        connection.send(Failed(f"vLLM cannot be imported: {_line(error)}"))
        return 1
    if (refusal := refused(start, AsyncEngineArgs)) is not None:
        connection.send(refusal)
        return 1
    arguments = engine_arguments(start, AsyncEngineArgs)
    try:
        engine_args = AsyncEngineArgs(**arguments)
        config = engine_args.create_engine_config()
    except (TypeError, ValueError) as error:
        traceback.print_exc()
        connection.send(Refused(f"vLLM refuses them: {_line(error)}", WHERE, None))
        return 1
    counts = AllCounts()
    engine = AsyncLLM.from_vllm_config(
        config,
        stat_loggers=[counts.stat_logger],
        disable_log_stats=engine_args.disable_log_stats,
        enable_log_requests=engine_args.enable_log_requests,
    )
    serving = Serving(engine, counts, connection.send)
    first_token_s = await serving.first_token()
    counts.reset()
    connection.send(
        Ready(
            first_token_s=first_token_s,
            max_context_tokens=config.model_config.max_model_len,
            max_logprobs=_max_logprobs(config),
            gpu_uuids=gpu_uuids(config),
            description=description(vllm.__version__, config, arguments),
        )
    )
    _receive_all(connection, serving.receive)
    died_of = await serving.ended
    if died_of is None:
        await serving.close()
    engine.shutdown()
    return 0 if died_of is None else 1


def _receive_all(connection: Connection[Report, Command], receive: Callable[[Command], None]) -> None:
    """Have `receive` called with every message from now on."""

    def on_readable() -> None:
        # The end of the messages is heeded by who waits for the other end to hang up.
        with contextlib.suppress(EOFError, OSError):
            receive(connection.recv())

    call_when_readable(connection, on_readable)


def _max_logprobs(config: Any) -> int:
    most: int = config.model_config.max_logprobs
    return config.model_config.get_vocab_size() if most < 0 else most


def _line(error: BaseException) -> str:
    """A failure in one line; those of pydantic say what is wrong after the line that counts them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    return " ".join(lines[:2])[:300] or type(error).__name__
