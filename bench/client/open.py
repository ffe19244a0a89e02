"""The client or clients that a case asks for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.client.client import Client
from bench.client.local import LocalClient
from bench.core.clock import Clock
from bench.core.protocols import Engine
from bench.core.records import TurnRow
from bench.core.spec import EndpointEngineSpec, Spec
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

    In this process it asks `engine`, which is started, with `prompts`. Processes of their own, which only an endpoint
    can have several of, make their own from `spec`, the `model` folder and `salt`.
    """
    processes = spec.engine.processes if isinstance(spec.engine, EndpointEngineSpec) else 1
    if processes == 1:
        with seldom_collected():
            yield LocalClient(engine, clock, prompts, log, spec, share)
        return
    from bench.client.processes import ClientProcesses  # few runs have several

    client = ClientProcesses(processes, prompts, log, spec, share, clock=clock, model=str(model), salt=salt)
    try:
        await client.start()
        yield client
    finally:
        await client.close()
