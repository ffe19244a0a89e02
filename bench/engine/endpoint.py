"""Any server of OpenAI's API as the driver sees it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from bench.core.clock import Clock
from bench.core.errors import BenchError, EngineError, InputError
from bench.core.protocols import Capabilities, Handle, PromptForm, Sink, StepLog
from bench.core.records import Counters, Finish, Startup
from bench.core.secret import api_key
from bench.core.sessions import TurnRequest
from bench.core.spec import EndpointEngineSpec
from bench.core.tls import tls_context
from bench.core.units import ns_from_seconds, seconds_from_ns
from bench.engine.http.address import Address
from bench.engine.http.backlog import Backlog
from bench.engine.http.completion import AnswerFormat
from bench.engine.http.failures import ExchangeError, one_line
from bench.engine.http.model_names import AnsweredModels
from bench.engine.http.models import Server, ask_server
from bench.engine.http.pool import Pool
from bench.engine.http.request import RequestRenderer
from bench.engine.http.round_trip import RoundTrips
from bench.engine.http.turn import HttpTurn
from bench.engine.open_files import allow_most_open_files

_FIRST_WAIT_S = 0.25
_DOUBLINGS = 7
"""Of waits between tries that no Retry-After sets, each twice the one before; the last are 32 s."""


class EndpointEngine:
    """Speaks the Engine protocol for a server that is there already.

    Counts are the server's where it tells a usage; otherwise each event with text counts one token.

    A turn fails as refused, unresolved, unreachable, connect_timeout or tls where there is no connection; as reset,
    truncated, stalled or timeout where there is no whole answer; as http_401 and the like where the server says no; as
    api_error, garbage or too_long for what it answered; as other_model where another that the server lists answered,
    which ends the run. Notes on a turn that is whole: no_usage, counted_by_usage, fewer_tokens and more_tokens than
    were pinned, hidden_thinking, logprobs_missing, no_done, not_streamed, other_name for the model, reconnect.
    """

    step_log: StepLog | None = None

    def __init__(self, spec: EndpointEngineSpec, *, clock: Clock) -> None:
        """Raises InputError for a URL that is none, and for certificates that are none or that nobody would look at."""
        self._spec = spec
        self._address = Address.parse(spec.base_url)
        if spec.ca_file is not None and not self._address.tls:
            raise InputError(
                "the server is asked without TLS", where="engine.ca_file", allowed="with a URL of https://"
            )
        self._tls = (
            tls_context(verify=spec.verify_tls, ca_file=spec.ca_file, where="engine.ca_file")
            if self._address.tls
            else None
        )
        self.now_ns = clock.now_ns
        self.secret: str | None = None
        self._timeout_ns = ns_from_seconds(spec.timeout_s)
        self._pool: Pool | None = None
        self._round_trips: RoundTrips | None = None
        self._renderer: RequestRenderer | None = None
        self._backlog = Backlog(clock.now_ns)
        self._turns: set[HttpTurn] = set()
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._retries: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._server: Server | None = None
        self._model = spec.served_model
        self._answered: AnsweredModels | None = None
        self._lost: str | None = None
        self.answers = AnswerFormat(spec.reasoning_fields)
        prompt: PromptForm = "chat" if spec.api == "chat" else spec.prompt
        self.capabilities = Capabilities(
            force_length=bool(spec.length_body),
            token_ids=False,
            cache_stats=True,
            step_log=False,
            max_context_tokens=spec.max_context_tokens,
            logprobs=spec.max_logprobs,
            images=spec.api == "chat",
            prompt=prompt,
        )

    async def start(self) -> Startup:
        """Reach the server and learn what it calls the model.

        Raises EngineError for one that does not answer, or does not list the model that is asked for, and InputError
        for a key that is missing or refused.
        """
        began_ns = self.now_ns()
        if self._spec.api_key_env is not None:
            self.secret = api_key(self._spec.api_key_env, "engine.api_key_env")
        allow_most_open_files()
        self._pool = Pool(
            self._address,
            self._tls,
            self.now_ns,
            connect_timeout_s=self._spec.connect_timeout_s,
            stall_timeout_s=self._spec.stall_timeout_s,
        )
        try:
            await self._pool.resolve()
            self._server = await ask_server(self._pool, self._address, self.secret, began_ns + self._timeout_ns)
            self._model = self._server.served_model(self._spec.served_model, complete=self._spec.complete_model_list)
        except ExchangeError as failure:
            await self.stop()
            raise EngineError(f"{self._address} does not answer: {failure}") from None
        except BenchError:
            await self.stop()
            raise
        self._answered = AnsweredModels(self._model, self._server.names)
        self._renderer = RequestRenderer(self._spec, self._address, self._model, self.secret)
        total_s = seconds_from_ns(self.now_ns() - began_ns)
        self._round_trips = RoundTrips(self._pool, self._address, self.secret, self.now_ns)
        await self._round_trips.measure()
        return Startup(total_s=total_s)

    async def expect(self, turns: int) -> None:
        """Open a connection for each, so that none of their times holds a handshake."""
        if self._pool is not None:
            await self._pool.fill(turns)

    def prepare(self, request: TurnRequest) -> TurnRequest:
        if self._renderer is None:
            raise EngineError("the engine has not been started")
        return request.with_body(self._renderer.render(request))

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        """Raises EngineError when the engine has not been started, or another model answered before."""
        if self._pool is None:
            raise EngineError("the engine has not been started")
        if self._lost is not None:
            raise EngineError(self._lost)
        turn = HttpTurn(request, sink, self, self.now_ns() + self._timeout_ns)
        self._turns.add(turn)
        self._pool.send(turn)
        return turn

    async def cancel(self, handle: Handle) -> None:
        if isinstance(handle, HttpTurn) and handle in self._turns:
            self._cancel(handle)

    async def end_session(self, session_id: str) -> None:
        """Nothing is kept between turns."""

    def counters(self) -> Counters:
        return Counters(running=len(self._turns), prompt_tokens=self._prompt_tokens, output_tokens=self._output_tokens)

    async def stop(self) -> None:
        """Close every connection; turns still open finish as cancelled."""
        # Of several clients the others may still be sending.
        if self._round_trips is not None and not self._turns and self._spec.processes == 1:
            await self._round_trips.measure()
        for turn in list(self._turns):
            self._cancel(turn)
        if self._pool is not None:
            await self._pool.close()

    def later(self, turn: HttpTurn, *, urgent: bool) -> None:
        self._backlog.add(turn, urgent=urgent)

    def broke(self, turn: HttpTurn) -> None:
        assert self._pool is not None
        self._pool.cancel(turn)

    def again(self, turn: HttpTurn, failure: ExchangeError) -> bool:
        """As the spec says, where the wait leaves time for an answer."""
        kind = failure.kind.removeprefix("http_")
        if turn.retries >= self._spec.retries or kind not in self._spec.retry_on:
            return False
        wait_s = failure.retry_after_s
        if wait_s is None:
            wait_s = _FIRST_WAIT_S * 2 ** min(turn.retries, _DOUBLINGS)
        if wait_s >= seconds_from_ns(turn.deadline_ns - self.now_ns()):
            return False
        self._retries[failure.kind] += 1
        turn.retries += 1
        turn.restart()
        turn.retry = asyncio.get_running_loop().call_later(wait_s, self._resend, turn)
        return True

    def answered_by(self, model: str) -> tuple[str, ...]:
        """After another of the server's models no turn is sent: nobody knows what the others would be answered by."""
        assert self._answered is not None
        name = model if model == self._answered.asked else one_line(model, self.secret)
        match self._answered.add(model, name):
            case "other":
                figures = f"asked for {self._answered.asked}, answered by {name}"
                self._lost = f"{self._address} serves another model: {figures}"
                raise ExchangeError("other_model", figures)
            case "unknown":
                return ("other_name",)
        return ()

    def done(self, turn: HttpTurn, finish: Finish) -> None:
        self._turns.discard(turn)
        self._prompt_tokens += finish.prompt_tokens or 0
        self._output_tokens += turn.tokens
        self._notes.update(finish.notes)

    def describe(self) -> dict[str, Any]:
        """Where it asked and how that went. The key is nowhere in it."""
        described: dict[str, Any] = {
            "kind": "endpoint",
            "base_url": str(self._address),
            "api": self._spec.api,
            "prompt": self.capabilities.prompt,
            "model": self._model,
            "token_counts": "the server's usage; without one, events with text",
            "retries": dict(self._retries),
            "notes": dict(self._notes),
            "answered_models": dict(self._answered.answers) if self._answered is not None else {},
        }
        if self._address.tls:
            described["tls"] = {"verified": self._spec.verify_tls, "ca_file": self._spec.ca_file}
        if self._server is not None and self._model is not None:
            described["server"] = self._server.software
            owned_by = self._server.owned_by(self._model)
            described["owned_by"] = None if owned_by is None else one_line(owned_by, self.secret)
            described["max_model_len"] = self._server.max_model_len(self._model)
        if self._pool is not None:
            described["connections"] = {
                "opened": self._pool.opened,
                "reused": self._pool.reused,
                "reconnected": self._pool.reconnected,
            }
        if self._round_trips is not None:
            described["round_trip_ms"] = self._round_trips.describe()
        if not self._address.loopback:
            # Its accelerators are not this machine's, whose sensors would tell of someone else's work.
            described["accelerator_ids"] = []
        return described

    def _resend(self, turn: HttpTurn) -> None:
        turn.retry = None
        assert self._pool is not None
        self._pool.send(turn)

    def _cancel(self, turn: HttpTurn) -> None:
        if turn.retry is not None:
            turn.retry.cancel()
        elif self._pool is not None:
            self._pool.cancel(turn)
        turn.cancelled()
