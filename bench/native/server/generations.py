"""The generations of one request, from asking the engine for them until they end or nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from bench.core.errors import EngineError
from bench.core.protocols import Engine, Handle
from bench.core.sessions import TurnRequest
from bench.native.server.answer_text import AnswerText
from bench.native.server.choice import Choice
from bench.native.server.errors import ApiError

_INPUT = {
    "context_exceeded": "prompt and output together are longer than the context",
    "kv_pool_exceeded": "prompt and output together are longer than the engine has memory for",
    "empty_request": "the prompt is empty",
    "unknown_token": "a token id that the model does not have",
}
"""Failures that are the request's own, by the kind that their text begins with."""
_ENGINE = {
    "engine_lost": (HTTPStatus.SERVICE_UNAVAILABLE, "the engine is lost"),
    "out_of_memory": (HTTPStatus.SERVICE_UNAVAILABLE, "the engine is out of memory"),
    "not_a_number": (HTTPStatus.INTERNAL_SERVER_ERROR, "the model's answer is not a number"),
}


class Generations:
    """A context that leaves nothing in the engine behind it."""

    def __init__(
        self,
        engine: Engine,
        turns: Sequence[TurnRequest],
        text: Callable[[], AnswerText],
        receive: Receive,
        *,
        prompt_field: str,
    ) -> None:
        """`text` makes what reads one answer; `receive` tells when the client leaves."""
        self._engine = engine
        self._prompt_field = prompt_field
        self._receive = receive
        self._news = asyncio.Event()
        self.choices = [Choice(index, turn, text(), self._news.set) for index, turn in enumerate(turns)]
        self._handles: dict[int, Handle] = {}
        self._watch: asyncio.Task[None] | None = None
        self.left = False
        """Nobody waits for an answer any more."""

    async def __aenter__(self) -> Generations:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._cancel(choice for choice in self.choices if not choice.done)
        with contextlib.suppress(EngineError):
            for session_id in {choice.turn.session_id for choice in self.choices}:
                await self._engine.end_session(session_id)

    async def submit(self) -> None:
        """Ask the engine for all of them. Raises ApiError where it cannot be asked."""
        self._watch = asyncio.create_task(self._watch_client())
        try:
            for choice in self.choices:
                request = self._engine.prepare(choice.turn)
                self._handles[choice.index] = await self._engine.submit(request, choice)
        except EngineError:
            raise self._failure("engine_lost", choice.turn) from None

    async def news(self) -> None:
        """Return when there is something of some choice that was not there at the last call.

        Raises ClientDisconnect when the client has left, and ApiError when a generation has failed.
        """
        await self._news.wait()
        self._news.clear()
        if self.left:
            raise ClientDisconnect
        for choice in self.choices:
            if choice.reason is None:
                continue
            if choice.reason in ("failed", "cancelled"):
                raise self._failure(choice.error or "engine_lost", choice.turn)
            if not choice.done:
                await self._cancel([choice])

    @property
    def begun(self) -> bool:
        """There is something to tell."""
        return any(choice.tokens or choice.answered for choice in self.choices)

    @property
    def ended(self) -> bool:
        """Every choice is whole."""
        return all(choice.answered for choice in self.choices)

    async def _cancel(self, choices: Iterable[Choice]) -> None:
        for choice in choices:
            handle = self._handles.pop(choice.index, None)
            if handle is not None:
                with contextlib.suppress(EngineError):
                    await self._engine.cancel(handle)

    def _failure(self, error: str, turn: TurnRequest) -> ApiError:
        """What a client hears of a failure: a sentence for its kind, and nothing of the machine's own."""
        kind = error.partition(": ")[0]
        if kind in _INPUT:
            blamed = "logit_bias" if kind == "unknown_token" and _biases_largest(turn) else self._prompt_field
            return ApiError(HTTPStatus.BAD_REQUEST, _INPUT[kind], param=blamed, code=kind)
        status, sentence = _ENGINE.get(kind, (HTTPStatus.INTERNAL_SERVER_ERROR, "the engine failed"))
        return ApiError(status, sentence, code=kind if kind in _ENGINE else None)

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._news.set()


def _biases_largest(turn: TurnRequest) -> bool:
    """Whether the largest token id that a request names, which is unknown if any is, is not its prompt's."""
    biased = max((token_id for token_id, _ in turn.sampling.logit_bias), default=-1)
    return biased > max(turn.prompt_ids)
