"""`vllm serve` as the driver sees it: a server of ours for the time of a run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.clock import Clock
from bench.core.endpoint_spec import HttpClientSpec
from bench.core.errors import BenchError, EngineError, InputError
from bench.core.protocols import Handle, Sink, StepLog
from bench.core.records import Counters, Finish, Startup
from bench.core.sessions import TurnRequest
from bench.core.spec import EndpointEngineSpec, VllmServerEngineSpec
from bench.core.units import seconds_from_ns
from bench.engine.endpoint import EndpointEngine
from bench.engine.vllm_install import interpreter, vllm_environment, vllm_version
from bench.engine.vllm_limits import asked_context_tokens
from bench.engine.vllm_server.command import HOST, server_arguments, server_command
from bench.engine.vllm_server.description import described_settings, described_work
from bench.engine.vllm_server.messages import Answers
from bench.engine.vllm_server.process import ServerProcess, free_port
from bench.engine.vllm_server.samples import Samples
from bench.engine.vllm_start_log import start_phases


class VllmServerEngine:
    """Speaks the Engine protocol for a vLLM that it starts, asks as any endpoint is asked, and ends.

    Turns fail as an endpoint's do. Where the server is lost the next turn, and the end of any session, raise
    EngineError with the last line that says why.
    """

    step_log: StepLog | None = None

    def __init__(
        self, spec: VllmServerEngineSpec, model_folder: Path, *, clock: Clock, random_seed: int | None = None
    ) -> None:
        """With `random_seed` the weights are made by vLLM, from a seed of its own.

        Raises InputError for an interpreter that is none, and for arguments that have another place.
        """
        self._spec = spec
        self._model = model_folder
        self._random_weights = random_seed is not None
        self._clock = clock
        self._python = interpreter(spec.python)
        self._environment = vllm_environment(self._python, spec.environment)
        self._arguments = server_arguments(spec, random_weights=self._random_weights)
        self._context_tokens = min(spec.max_context_tokens, asked_context_tokens(self._arguments, model_folder))
        # No other server answers to that, be it one of the same model.
        self._name = f"{model_folder.name}-{secrets.token_hex(4)}"
        self._process: ServerProcess | None = None
        self._endpoint: EndpointEngine | None = None
        self._hears_of_loss: Callable[[str], None] | None = None
        self._doubted = False
        """A turn failed, and nobody has looked yet whether the server is there."""
        self._samples = Samples()
        self._command: tuple[str, ...] = ()
        self._answers: Answers | None = None
        self.asked = self._asked_at("")
        """How the started server is asked, by whichever process."""
        self.capabilities = EndpointEngine(self.asked, clock=clock).capabilities

    async def start(self) -> Startup:
        """Raises EngineError for a vLLM that is not there, does not fit, does not start or is not the one that answers.

        Raises InputError for arguments that it refuses, and where it takes less context than sessions were chosen for.
        """
        began_ns = self._clock.now_ns()
        try:
            await asyncio.to_thread(vllm_version, self._python, self._environment)
            port = free_port(self._spec.port)
            self._process = self._begin(port)
            self._answers = await self._process.answers(self._spec.start_timeout_s)
            self._refuse_another(port, self._answers)
            ready_ns = self._clock.now_ns()
            self.asked = self._asked_at(f":{port}")
            self._endpoint = EndpointEngine(self.asked, clock=self._clock)
            await self._endpoint.start()
        except BenchError:
            await self.stop()
            raise
        phases = start_phases(self._process.log)
        return Startup(
            total_s=seconds_from_ns(ready_ns - began_ns),
            load_s=phases.load_s,
            compile_s=phases.compile_s,
            capture_s=phases.capture_s,
        )

    async def expect(self, turns: int) -> None:
        """Open a connection for each. What the server did is counted from here on, until it is expected to do more."""
        if self._endpoint is not None:
            await self._endpoint.expect(turns)
        await self.count_from_here()

    async def count_from_here(self) -> None:
        """As `expect` does, where other processes send."""
        if self._process is not None:
            self._samples.begin(await self._process.metrics())

    def when_lost(self, hear: Callable[[str], None]) -> None:
        """Have `hear` told, at once, of a server that ends before it is asked to."""
        self._hears_of_loss = hear

    async def refuse_lost(self) -> None:
        """Raise EngineError when the server is lost, be it a moment ago."""
        if self._process is not None and await self._process.gone() and self._process.why_lost is not None:
            raise EngineError(self._process.why_lost)

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return self._started().prepare(request)

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        """Raises EngineError when the server is lost."""
        if self._process is not None and self._process.why_lost is not None:
            raise EngineError(self._process.why_lost)
        return await self._started().submit(request, _Overheard(sink, self._failed))

    async def cancel(self, handle: Handle) -> None:
        await self._started().cancel(handle)

    async def end_session(self, session_id: str) -> None:
        """Nothing is kept between turns. Raises EngineError when the server was lost in the session's last one."""
        del session_id
        if self._process is not None and self._process.why_lost is not None:
            raise EngineError(self._process.why_lost)
        if self._doubted:
            self._doubted = False
            await self.refuse_lost()

    def counters(self) -> Counters:
        """The server's own every few seconds, with the tokens that came back."""
        if self._endpoint is None:
            return Counters()
        return self._samples.counters(self._endpoint.counters())

    def describe(self) -> dict[str, Any]:
        """How it was started, what it resolved by its log and its metrics, and what it did; empty before."""
        if self._endpoint is None or self._process is None or self._answers is None:
            return {}
        return {
            **self._endpoint.describe(),
            "kind": "vllm-server",
            "version": self._answers.version,
            "python": self._python,
            "command": list(self._command),
            "arguments": self._arguments,
            **described_settings(self._process.log, self._samples.cache_config),
            "did": described_work(self._samples),
        }

    async def stop(self) -> None:
        """Take the last of its metrics, then end every process of it. Safe to call twice."""
        if self._process is None:
            return
        if self._endpoint is not None:
            await self._endpoint.stop()
            self._samples.end(await self._process.metrics())
        await self._process.stop()

    def _begin(self, port: int) -> ServerProcess:
        process = ServerProcess(port, self._lost, self._samples.add)
        self._command = server_command(self._python, self._model, self._arguments, port=port, served_model=self._name)
        process.begin(self._command, self._environment)
        return process

    def _failed(self) -> None:
        self._doubted = True

    def _lost(self, line: str) -> None:
        if self._hears_of_loss is not None:
            self._hears_of_loss(line)

    def _refuse_another(self, port: int, answers: Answers) -> None:
        """Raise EngineError where another server answers, InputError where this one takes too little context."""
        if self._name not in answers.models:
            others = ", ".join(answers.models) or "none"
            raise EngineError(
                f"port {port} is another server's: asked for its models it tells {others}, and not {self._name}"
            )
        takes = answers.models[self._name]
        if takes is not None and takes < self._context_tokens:
            raise InputError(
                f"vLLM takes {takes} tokens, and sessions were chosen for {self._context_tokens}",
                where="engine.max_context_tokens",
                allowed=f"at most {takes}",
            )

    def _asked_at(self, port: str) -> EndpointEngineSpec:
        client = {name: getattr(self._spec, name) for name in HttpClientSpec.model_fields}
        return EndpointEngineSpec(
            **{**client, "max_context_tokens": self._context_tokens},
            kind="endpoint",
            base_url=f"http://{HOST}{port}",
            served_model=self._name,
        )

    def _started(self) -> EndpointEngine:
        if self._endpoint is None:
            raise EngineError("the engine has not been started")
        return self._endpoint


class _Overheard:
    """A sink whose turn's failure is heard of; its chunks go past this."""

    __slots__ = ("_failed", "_sink", "chunk")

    def __init__(self, sink: Sink, failed: Callable[[], None]) -> None:
        self._sink = sink
        self._failed = failed
        self.chunk = sink.chunk

    def finish(self, finish: Finish) -> None:
        if finish.reason == "failed":
            self._failed()
        self._sink.finish(finish)
