"""An answer as a stream of server-sent events: what came since the last sending is sent together.

Whatever does not change from one event to the next is rendered once. A client that reads slowly gets fewer events with
more text in each, and what waits for it is no more than that text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bench.core.records import TokenKind
from bench.native.server.asked import Asked
from bench.native.server.choice import Choice
from bench.native.server.connection import MIDDLE
from bench.native.server.errors import ApiError
from bench.native.server.generations import Generations
from bench.native.server.logprobs import LogprobsForm
from bench.native.server.schema import StreamOptions
from bench.native.server.service import Service
from bench.native.server.shapes import EventShape
from bench.native.server.usage import usage_of

_DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


class ChoiceEvents:
    """Renders the events of one choice."""

    def __init__(
        self, choice: Choice, envelope: bytes, shape: EventShape, logprobs: LogprobsForm | None, *, every_token: bool
    ) -> None:
        """`envelope`: the event's object, open behind its choices' bracket. `every_token` wants an event for tokens
        without text too.
        """
        head = b'%b{"index":%d,' % (envelope, choice.index)
        self._choice = choice
        self._first = b"" if shape.first is None else head + shape.first
        self._said: dict[TokenKind, tuple[bytes, bytes]] = {
            kind: (head + opening, closing) for kind, (opening, closing) in shape.said.items()
        }
        self._last = head + shape.last
        self._logprobs = logprobs
        self._every_token = every_token or logprobs is not None
        self._told_tokens = self._told_thinking = 0
        self._ended = False

    def render(self, tail: bytes) -> bytes:
        """What is new, each event with `tail`: the rest of it behind its choice."""
        choice = self._choice
        if self._ended or (choice.tokens == self._told_tokens and not choice.answered):
            return b""
        pieces, logprobs = choice.take()
        rest = _rest(b"null", tail)
        events = []
        if self._first:
            events += [self._first, rest]
            self._first = b""
        for kind, text in pieces:
            before, after = self._said[kind]
            events += [before, _encode(text), after, rest]
        if not pieces and self._every_token and choice.tokens > self._told_tokens:
            before, after = self._said["thinking" if choice.thinking_tokens > self._told_thinking else "answer"]
            events += [before, b'""', after, rest]
        if logprobs and self._logprobs is not None:
            events[-1] = _rest(_encode(self._logprobs.told(logprobs)), tail)
        self._told_tokens, self._told_thinking = choice.tokens, choice.thinking_tokens
        if choice.answered:
            self._ended = True
            events += [self._last, b',"logprobs":null,"finish_reason":"%b"}]' % str(choice.reason).encode(), tail]
        return b"".join(events)


def _rest(logprobs: bytes, tail: bytes) -> bytes:
    return b',"logprobs":%b,"finish_reason":null}]%b' % (logprobs, tail)


class EventStream(Response):
    """Sends the events of a request's generations as they come, and lets go of them when that ends, however it does."""

    media_type = "text/event-stream"

    def __init__(
        self,
        generations: Generations,
        held: AsyncExitStack,
        *,
        envelope: Mapping[str, Any],
        asked: Asked,
        service: Service,
    ) -> None:
        """`held` is closed at the end. `envelope`: what every event says of the request."""
        self.status_code = HTTPStatus.OK
        self.background = None
        self.init_headers({"cache-control": "no-cache"})
        self._generations = generations
        self._held = held
        self._asked = asked
        options = asked.body.stream_options or StreamOptions()
        self._include_usage = bool(options.include_usage)
        self._continuous = bool(options.continuous_usage_stats)
        self._tail = b',"usage":null}\n\n' if self._include_usage else b"}\n\n"
        self._open = b'data: %b,"choices":[' % _encode(envelope)[:-1]
        self._choices = [
            ChoiceEvents(
                choice,
                self._open,
                asked.shape.event,
                asked.logprobs_form(service),
                # Who asks for counts takes times by events, and would miss those of tokens without text.
                every_token=self._include_usage or self._continuous,
            )
            for choice in generations.choices
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive  # the generations watch the client
        middle: Send = scope.get("extensions", {}).get(MIDDLE, {}).get("send", send)
        async with self._held:
            # Who has left, noticed in reading or in writing, is told nothing.
            with contextlib.suppress(ClientDisconnect, OSError):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                try:
                    if not await self._send_new(send, middle):
                        # A task of its own is woken alone, without everything that the request came through. It is
                        # cancelled with this one.
                        await asyncio.create_task(self._send_following(send, middle))
                except ApiError as error:
                    event = b"data: %b\n\n" % error.as_json()
                    await send({"type": "http.response.body", "body": event, "more_body": False})

    async def _send_following(self, send: Send, middle: Send) -> None:
        await self._generations.news()
        while not await self._send_new(send, middle):
            await self._generations.news()

    async def _send_new(self, send: Send, middle: Send) -> bool:
        """Whether nothing follows."""
        ended = self._generations.ended
        events = self._events()
        if ended:
            await send({"type": "http.response.body", "body": events + self._end(), "more_body": False})
        elif events:
            await middle({"type": "http.response.body", "body": events, "more_body": True})
        return ended

    def _events(self) -> bytes:
        tail = b',"usage":%b}\n\n' % self._usage() if self._continuous else self._tail
        if len(self._choices) == 1:
            return self._choices[0].render(tail)
        return b"".join([choice.render(tail) for choice in self._choices])

    def _end(self) -> bytes:
        if not self._include_usage:
            return _DONE
        return b'%b],"usage":%b}\n\n%b' % (self._open, self._usage(), _DONE)

    def _usage(self) -> bytes:
        return _encode(usage_of(self._generations.choices, self._asked))
