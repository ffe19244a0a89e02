"""The client or clients that a case asks for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.client.client import Client
from bench.client.local import LocalClient
from bench.core.clock import Clock
from bench.core.endpoint_spec import HttpClientSpec
from bench.core.protocols import Engine
from bench.core.records import TurnRow
from bench.core.spec import Spec
from bench.engine.vllm_server.engine import VllmServerEngine
from bench.load.garbage import seldom_collected
from bench.load.requests import Prompts
from bench.load.share import Share


@contextlib.asynccontextmanager
async def open_client(
    spec: Spec,
    share: Share,
    engine: Engine,
    prompts: Prompts,
    log: Callable[[TurnRow], None],
    *,
    clock: Clock,
    model: Path,
    salt: str,
) -> AsyncIterator[Client]:
    """A client that could send `share` now; it leaves no process behind.

    In this process it asks `engine`, which is started, with `prompts`. Processes of their own, which only what is
    asked over HTTP can have several of, make their own from `spec`, the `model` folder and `salt`; where `engine` is a
    server that was started for the run, they ask that one.
    """
    processes = spec.engine.processes if isinstance(spec.engine, HttpClientSpec) else 1
    if processes == 1:
        with seldom_collected():
            yield LocalClient(engine, clock, prompts, log, spec, share)
        return
    from bench.client.processes import ClientProcesses  # few runs have several

    started = engine if isinstance(engine, VllmServerEngine) else None
    if started is not None:
        spec = spec.model_copy(update={"engine": started.asked})
    client = ClientProcesses(processes, prompts, log, spec, share, clock=clock, model=str(model), salt=salt)
    try:
        if started is not None:
            started.when_lost(client.lose)
            await started.count_from_here()
        await client.start()
        yield client
        if started is not None:
            await started.refuse_lost()
    finally:
        await client.close()
