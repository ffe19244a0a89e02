"""The story of a request that generates, once it is known what it asks: answered whole, or as a stream of events."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bench.native.server.asked import Asked
from bench.native.server.event_stream import EventStream
from bench.native.server.generations import Generations
from bench.native.server.responses import json_response
from bench.native.server.service import Service
from bench.native.server.usage import usage_of


async def answer(
    request: Request, service: Service, generations_asked: int, ask: Callable[[], Awaitable[Asked]]
) -> Response:
    """`ask` makes of the request what it asks, once there are places for so many generations.

    Raises ApiError for what it refuses, and for what the engine refuses or fails in before there is anything to tell.
    """
    async with AsyncExitStack() as held:
        await held.enter_async_context(service.admission.enter(generations_asked))
        asked = await ask()
        shape = asked.shape
        envelope = {"id": asked.turns[0].session_id, "object": shape.object, "created": int(time.time())}
        generations = await held.enter_async_context(
            Generations(
                service.engine,
                asked.turns,
                lambda: asked.text(service),
                request.receive,
                prompt_field=shape.prompt_field,
            )
        )
        await generations.submit()
        if not asked.body.stream:
            while not generations.ended:
                await generations.news()
            return json_response(_whole(generations, service, asked, envelope))
        # An error that comes before the first token can still be a status.
        while not generations.begun:
            await generations.news()
        envelope |= {"object": shape.event.object, "model": service.model}
        return EventStream(generations, held.pop_all(), envelope=envelope, asked=asked, service=service)


def _whole(generations: Generations, service: Service, asked: Asked, envelope: dict[str, Any]) -> dict[str, Any]:
    choices = []
    for choice in generations.choices:
        pieces, tokens = choice.take()
        form = asked.logprobs_form(service)
        logprobs = None if form is None else form.told(tokens)
        said = asked.shape.said(pieces)
        choices.append({"index": choice.index, **said, "logprobs": logprobs, "finish_reason": choice.reason})
    return {**envelope, "model": service.model, "choices": choices, "usage": usage_of(generations.choices, asked)}
