"""Reads an answer's body: streamed events, or one JSON document from a server that does not stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bench.core.sessions import TurnRequest
from bench.engine.http.completion import UNREADABLE, AnswerFormat, api_error, told_model, unreadable
from bench.engine.http.events import EventSplitter
from bench.engine.http.failures import ExchangeError
from bench.engine.http.logprobs import LogprobMessage
from bench.engine.http.message import Answer, Message

_DONE = b"[DONE]"
_LONGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
_TOKENS_PER_ASKED = 4
_MORE_TOKENS = 64
_BYTES_PER_ASKED = 8_192
_MORE_BYTES = 1024 * 1024
"""What an answer may have for each token that was asked, and beyond that: far more than any server that ends it."""


class AnswerReader(Protocol):
    def read(self, t_ns: int, body: bytes) -> None:
        """The next piece of the body, which arrived at `t_ns`. Raises ExchangeError for what cannot be an answer."""

    def answer(self) -> Answer:
        """All of it, after the last piece. Raises ExchangeError where it is no whole answer."""

    def partial(self) -> Answer:
        """What arrived of an answer that will not be whole."""


class StreamReader:
    """Reads server-sent events; ended by `[DONE]`, or at least by a reason to finish."""

    def __init__(self, request: TurnRequest, answers: AnswerFormat, secret: str | None) -> None:
        """`secret` is what no error may show."""
        self._request = request
        self._decode = answers.decoder(logprobs=request.logprobs > 0)
        self._secret = secret
        self._splitter = EventSplitter()
        self._message = _message(request)
        self._unnamed = True
        self._done = False
        self._tells_each = True
        """Every event so far told how many tokens the answer had reached."""
        self._bytes = 0
        self._last_ns = 0

    def read(self, t_ns: int, body: bytes) -> None:
        self._bytes += len(body)
        self._last_ns = t_ns
        events = self._splitter.feed(body)
        if self._unnamed:
            self._message.model = next(filter(None, map(told_model, events)), None)
            # After the first text nobody looks on: all events name the model, or none does.
            self._unnamed = self._message.model is None and not self._message.tally.events
        self._events(t_ns, events)
        _refuse_endless(self._request.max_tokens, self._message.tally.events, self._bytes)

    def answer(self) -> Answer:
        self._events(self._last_ns, self._splitter.flush())
        notes = []
        if not self._done:
            if self._message.finish_reason is None:
                raise self._without_end()
            notes.append("no_done")
        _refuse_endless(self._request.max_tokens, self._message.told_tokens or 0, self._bytes)
        self._message.close(self._last_ns)
        return self._message.finished(notes)

    def partial(self) -> Answer:
        return self._message.partial()

    def _events(self, t_ns: int, events: Sequence[bytes]) -> None:
        message, decode = self._message, self._decode
        try:
            for data in events:
                if self._done:
                    return
                if data == _DONE:
                    self._done = True
                    return
                completion = decode(data)
                if completion.error is not None:
                    raise api_error(completion.error, self._secret)
                usage = completion.usage
                if usage is not None:
                    message.usage = usage
                if completion.choices:
                    message.add(t_ns, completion.choices[0])
                    if self._tells_each:
                        self._tells_each = message.reached(usage)
        except UNREADABLE as error:
            raise unreadable(error) from None

    def _without_end(self) -> ExchangeError:
        if self._message.tally.events == 0:
            return ExchangeError("garbage", f"{self._bytes} bytes without an event of the API")
        return ExchangeError("truncated", f"no end after {self._message.tally.events} events")


class DocumentReader:
    """Reads one JSON document: all tokens arrived with its last piece."""

    def __init__(self, request: TurnRequest, answers: AnswerFormat, secret: str | None) -> None:
        """`secret` is what no error may show."""
        self._request = request
        self._decode = answers.decoder(logprobs=request.logprobs > 0)
        self._secret = secret
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._last_ns = 0

    def read(self, t_ns: int, body: bytes) -> None:
        self._pieces.append(body)
        self._bytes += len(body)
        self._last_ns = t_ns
        if self._bytes > _LONGEST_DOCUMENT_BYTES:
            raise ExchangeError("too_long", f"a document of more than {_LONGEST_DOCUMENT_BYTES} bytes")

    def answer(self) -> Answer:
        document = b"".join(self._pieces)
        try:
            completion = self._decode(document)
        except UNREADABLE as error:
            raise unreadable(error) from None
        if completion.error is not None:
            raise api_error(completion.error, self._secret)
        if not completion.choices:
            raise ExchangeError("garbage", "an answer without choices")
        message = _message(self._request)
        message.model = told_model(document)
        message.usage = completion.usage
        _refuse_endless(self._request.max_tokens, message.told_tokens or 0, self._bytes)
        message.add(self._last_ns, completion.choices[0])
        message.close(self._last_ns)
        return message.finished(["not_streamed"])

    def partial(self) -> Answer:
        return Message(self._request).partial()


def _message(request: TurnRequest) -> Message:
    return LogprobMessage(request) if request.logprobs else Message(request)


def _refuse_endless(asked: int, tokens: int, size: int) -> None:
    if tokens > asked * _TOKENS_PER_ASKED + _MORE_TOKENS or size > asked * _BYTES_PER_ASKED + _MORE_BYTES:
        raise ExchangeError("too_long", f"{tokens} tokens in {size} bytes where {asked} were asked")
