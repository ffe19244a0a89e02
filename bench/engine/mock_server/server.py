"""The mock server: what it listens on, and what each request is answered."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import time

from bench.core.errors import InputError
from bench.core.listening import bound_socket
from bench.engine.mock_server.answer import plan_answer
from bench.engine.mock_server.asked import Asked, BadRequestError, parse_asked
from bench.engine.mock_server.connection import Connection
from bench.engine.mock_server.faults import FAULT_HEADER, Fault, fault_of, parse_rule
from bench.engine.mock_server.frames import NUMBER_DIGITS, Frames
from bench.engine.mock_server.http import HttpRequest, error_response, response
from bench.engine.mock_server.play import script_of
from bench.engine.mock_server.schedule import Schedule
from bench.engine.mock_server.script import Grid, Script, at_once
from bench.engine.mock_server.settings import MODEL, OTHER_MODEL, MockServerSettings
from bench.engine.mock_server.truth import Ended, RequestTruth, TruthLog

_GENERATE = {b"/v1/completions": False, b"/v1/chat/completions": True}
_BACKLOG = 16_384
_RETRY_AFTER = ("retry-after", "1")
_REFUSALS = {
    "401": (401, "the key is wrong", ()),
    "429": (429, "too many requests", (_RETRY_AFTER,)),
    "500": (500, "the mock server was told to fail", ()),
    "503": (503, "overloaded", (_RETRY_AFTER,)),
}


class MockServer:
    """Answers as `settings` say, on the running event loop, from `start` to `stop`."""

    def __init__(self, settings: MockServerSettings) -> None:
        self._settings = settings
        self._frames = Frames(settings)
        self._other_frames = Frames(settings, OTHER_MODEL)
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._refusing: socket.socket | None = None
        self._schedule: Schedule | None = None
        self._open = 0
        self.truth = TruthLog()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, on a free port where it is 0. Returns the URL. Raises InputError for an address it cannot have."""
        listening, url = bound_socket(host, port)
        loop = asyncio.get_running_loop()
        self._schedule = schedule = Schedule(loop)
        if any(rule.fault.kind == "refuse" and rule.every is None for rule in self._settings.faults):
            self._refusing = listening  # bound and not listening: the port stays ours and refuses
        else:
            self._listener = await loop.create_server(
                lambda: Connection(self, schedule), sock=listening, backlog=_BACKLOG
            )
        return url

    async def stop(self) -> None:
        """Close every connection, whatever it waits for. Safe to call where `start` failed."""
        self._stop_listening()
        if self._refusing is not None:
            self._refusing.close()
        for connection in list(self._connections):
            connection.close()
        if self._schedule is not None:
            self._schedule.close()
        await asyncio.sleep(0)

    def opened(self, connection: Connection) -> None:
        self.truth.connections += 1
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begin(self, request: HttpRequest, t_received_ns: int) -> tuple[Script, RequestTruth | None]:
        """What `request` is answered; no truth is kept of one that does not ask for tokens."""
        if request.path in _GENERATE:
            return self._generate(request, t_received_ns)
        return at_once(self._told(request)), None

    def ended(self, truth: RequestTruth, how: Ended) -> None:
        self._open -= 1
        truth.ended, truth.t_end_ns = how, time.monotonic_ns()

    def _told(self, request: HttpRequest) -> bytes:
        keep_alive = request.keep_alive
        match request.method, request.path:
            case b"GET", b"/v1/models":
                if not self._may_ask(request):
                    return error_response(401, "the key is wrong", keep_alive)
                others = (
                    [OTHER_MODEL] if any(rule.fault.kind == "other_model" for rule in self._settings.faults) else []
                )
                models = [
                    {"id": name, "object": "model", "created": 0, "owned_by": "bench mock"} for name in (MODEL, *others)
                ]
                return response(200, json.dumps({"object": "list", "data": models}).encode(), keep_alive)
            case b"GET", b"/health":
                return response(200, b'{"status":"ok"}', keep_alive)
            case b"GET", b"/truth":
                return response(200, self.truth.as_json(), keep_alive)
            case b"POST", b"/reset":
                self.truth.reset()
                return response(200, b"{}", keep_alive)
        return error_response(404, "no such path", keep_alive)

    def _generate(self, request: HttpRequest, t_received_ns: int) -> tuple[Script, RequestTruth]:
        truth = self.truth.begin(request.header("x-request-id"), t_received_ns)
        self._open += 1
        try:
            fault = self._fault(request, truth)
            refusal = self._refusal(request, fault)
            asked = None if refusal else self._asked(request)
        except BadRequestError as error:
            refusal, asked = (400, str(error), ()), None
        if asked is None:
            assert refusal is not None
            truth.status, message, headers = refusal
            return at_once(error_response(truth.status, message, request.keep_alive, *headers)), truth
        return self._answer(asked, fault, request.keep_alive, truth), truth

    def _asked(self, request: HttpRequest) -> Asked:
        return parse_asked(request.body, chat=_GENERATE[request.path], strict=self._settings.strict)

    def _answer(self, asked: Asked, fault: Fault | None, keep_alive: bool, truth: RequestTruth) -> Script:
        truth.prompt_tokens = asked.prompt_tokens
        answer = plan_answer(asked, self._settings, fault)
        number = b"%0*d" % (NUMBER_DIGITS, truth.number)
        request_id = truth.request_id or number.decode()
        return script_of(
            answer,
            self._other_frames if fault is not None and fault.kind == "other_model" else self._frames,
            Grid(self._settings, truth.number),
            number=number,
            request_id=request_id,
            keep_alive=keep_alive,
            role_chunk=self._settings.role_chunk,
        )

    def _fault(self, request: HttpRequest, truth: RequestTruth) -> Fault | None:
        text = request.header(FAULT_HEADER)
        try:
            fault = (
                fault_of(self._settings.faults, truth.number) if text is None else parse_rule(text, FAULT_HEADER).fault
            )
        except InputError as error:
            raise BadRequestError(str(error)) from None
        if fault is not None:
            truth.fault = fault.kind
            if fault.kind == "refuse":
                self._stop_listening()
        return fault

    def _refusal(
        self, request: HttpRequest, fault: Fault | None
    ) -> tuple[int, str, tuple[tuple[str, str], ...]] | None:
        """Status, message and headers of what is answered instead of tokens; None where nothing stands against them."""
        if request.method != b"POST":
            return 405, "POST is allowed here", (("allow", "POST"),)
        if not self._may_ask(request):
            return _REFUSALS["401"]
        if self._settings.max_open is not None and self._open > self._settings.max_open:
            return _REFUSALS["429"]
        return _REFUSALS.get(fault.kind) if fault is not None else None

    def _may_ask(self, request: HttpRequest) -> bool:
        key = self._settings.api_key
        given = request.header("authorization") or ""
        return key is None or hmac.compare_digest(given.encode(), f"Bearer {key}".encode())

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
