"""A server of OpenAI's API over the native engine, from its start until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvloop

from bench import __version__
from bench.core.chat_template import ChatTemplate
from bench.core.clock import RealClock
from bench.core.errors import EngineError, InputError
from bench.core.listening import bound_socket
from bench.core.protocols import Engine
from bench.core.spec import NativeEngineSpec
from bench.core.tokenizer import load_tokenizer
from bench.engine.native import NativeEngine
from bench.engine.open_files import allow_most_open_files
from bench.native.server.admission import Places
from bench.native.server.app import App, Generates, build_app
from bench.native.server.chat import chat_completions
from bench.native.server.completions import completions
from bench.native.server.counted_engine import CountedEngine
from bench.native.server.errors import ApiError
from bench.native.server.failures import one_line
from bench.native.server.http_server import HttpServer
from bench.native.server.longest_token import longest_token
from bench.native.server.metrics import Metrics
from bench.native.server.schema import ChatRequest, CompletionRequest
from bench.native.server.service import Service
from bench.native.server.settings import ServerSettings

GENERATING = {
    "/v1/completions": Generates(completions, CompletionRequest),
    "/v1/chat/completions": Generates(chat_completions, ChatRequest),
}
_BACKLOG = 2048
_LOOK_S = 0.2
"""How often the engine is looked after."""
_LOST_S = 2.0
"""How long the server still answers once its engine is lost."""


@dataclass(frozen=True)
class Listening:
    """What can be asked now, and where."""

    url: str
    model: str
    max_context_tokens: int


def serve(
    spec: NativeEngineSpec,
    folder: Path,
    settings: ServerSettings,
    host: str,
    port: int,
    *,
    listening: Callable[[Listening], None],
    tell: Callable[[str], None],
) -> None:
    """Answer with the model in `folder` until the process is told to end, then let answers go on to their end.

    `listening` is told once requests are answered, `tell` of the server's own mistakes and of what it waits for when it
    is told to end. Raises InputError for a model or an address it cannot have, EngineError when the engine does not
    start or is lost, and KeyboardInterrupt when told to end a second time.
    """
    bound, url = bound_socket(host, port)
    with bound:
        if settings.api_key is None and not ipaddress.ip_address(bound.getsockname()[0]).is_loopback:
            raise InputError(f"{host} lets other machines ask", allowed="127.0.0.1 or ::1, or a key by --api-key-env")
        allow_most_open_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ended_at_once = runner.run(_serve(spec, folder, settings, bound, url, listening, tell))
    if ended_at_once:
        raise KeyboardInterrupt


async def _serve(
    spec: NativeEngineSpec,
    folder: Path,
    settings: ServerSettings,
    bound: socket.socket,
    url: str,
    listening: Callable[[Listening], None],
    tell: Callable[[str], None],
) -> bool:
    """Whether it was told to end at once."""
    clock = RealClock()
    tokenizer, template = load_tokenizer(folder, otherwise=""), ChatTemplate.from_folder(folder)
    engine = NativeEngine(spec, folder, clock=clock)
    try:
        await engine.start()
        places, metrics = Places(settings.places), Metrics(settings.model, __version__)
        counted = CountedEngine(engine, metrics, clock)
        service = Service(counted, settings.model, tokenizer, longest_token(tokenizer), template, clock, places)
        app = build_app(
            service,
            metrics,
            settings,
            GENERATING,
            version=__version__,
            created_s=round(time.time()),
            tell=tell,
        )
        announced = Listening(url, settings.model, engine.capabilities.max_context_tokens)
        http = HttpServer(app.asgi, settings, lambda: listening(announced))
        asyncio.get_running_loop().set_exception_handler(partial(_tell_unheard, tell))
        gc.freeze()  # what was imported is never garbage, and looking for some would hold up every stream
        return await answer_until_told(engine, places, app, http, bound, settings.drain_s, tell)
    finally:
        await engine.stop()


async def answer_until_told(
    engine: Engine,
    places: Places,
    app: App,
    http: HttpServer,
    bound: socket.socket,
    drain_s: float,
    tell: Callable[[str], None],
) -> bool:
    """Answer on `bound` until told to end; whether that was told twice. Raises EngineError when the engine is lost."""
    try:
        bound.listen(_BACKLOG)
    except OSError as error:  # another took the address while the engine started
        host, port, *_ = bound.getsockname()
        raise InputError(f"{host} port {port}: {error.strerror}", allowed="a free address of this machine") from None
    with _endings() as (told, told_twice):
        serving = asyncio.create_task(http.serve([bound]))
        lost = asyncio.create_task(_lost(engine))

        async def end(why: str, within_s: float, *but_for: asyncio.Future[None]) -> None:
            """Let nobody in, wait for those inside, tell the rest why they end, and end."""
            places.close(why)
            empty = asyncio.create_task(places.emptied())
            await _first(empty, told_twice, *but_for, within_s=within_s)
            if places.taken:
                app.deadlines.end_all(ApiError(HTTPStatus.SERVICE_UNAVAILABLE, why, code="unavailable"))
            empty.cancel()
            http.should_exit = True
            await _first(serving, told_twice)

        try:
            await _first(serving, lost, told)
            if places.taken:
                tell(f"answers that go on: {places.taken}; ends without them after {drain_s:g} s, or told again")
            await end("the server is about to end", drain_s, lost)
        except EngineError:
            await end("the engine is lost", _LOST_S)
            raise
        finally:
            serving.cancel()
            lost.cancel()
        return told_twice.done()


async def _first(*awaited: asyncio.Future[None], within_s: float | None = None) -> None:
    """Return when one of them is done, or the time is over. Raises what it raised."""
    done, _ = await asyncio.wait(awaited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()


async def _lost(engine: Engine) -> None:
    """Raise EngineError once the engine's process has ended. Until then the steps it logs, which nobody reads, go."""
    while True:
        await asyncio.sleep(_LOOK_S)
        if engine.step_log is not None:
            engine.step_log.take()
        await engine.end_session("")  # of no session: all that it can do is say that the engine is lost


def _tell_unheard(tell: Callable[[str], None], _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of a failure that nobody waited for."""
    tell(one_line(context["message"], context.get("exception")))


@contextlib.contextmanager
def _endings() -> Iterator[tuple[asyncio.Future[None], asyncio.Future[None]]]:
    """Futures that are done when the process is told to end, and when it is told again."""
    loop = asyncio.get_running_loop()
    once, twice = loop.create_future(), loop.create_future()

    def told() -> None:
        for one in (once, twice):
            if not one.done():
                one.set_result(None)
                return

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    try:
        yield once, twice
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
