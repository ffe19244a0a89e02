"""/v1/completions: goes on with prompts."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bench.native.server.answering import answer
from bench.native.server.asked import Asked, check_length, check_model, encode, turns_of
from bench.native.server.errors import ApiError
from bench.native.server.schema import CompletionRequest, read_body
from bench.native.server.service import Service
from bench.native.server.shapes import COMPLETION

_DEFAULT_TOKENS = 16
_decoder = msgspec.json.Decoder(CompletionRequest)


async def completions(request: Request, service: Service) -> Response:
    """Raises ApiError for what is refused, ClientDisconnect where nobody waits for the answer."""
    body = read_body(_decoder, await request.body())
    check_model(body, service)
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(HTTPStatus.BAD_REQUEST, "best_of is what n is: no answer is thrown away", param="best_of")
    prompts = _prompts(body.prompt)
    return await answer(request, service, len(prompts) * (body.n or 1), partial(_asked, body, service, prompts))


async def _asked(body: CompletionRequest, service: Service, prompts: list[str | list[int]]) -> Asked:
    max_tokens = _DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    check_length(texts, service, max_tokens, COMPLETION.prompt_field)
    turns = turns_of(
        body,
        service,
        [await _tokens(service, prompt) for prompt in prompts],
        COMPLETION,
        max_tokens=max_tokens,
        logprobs=body.logprobs,
    )
    return Asked(turns, body, body.logprobs, COMPLETION)


def _prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """Each of them, from one or a list of them."""
    if isinstance(prompt, str):
        return [prompt]
    # Ids may be a hundred thousand, and every other stream waits while they are looked at.
    kinds = {*map(type, prompt)}
    if len(kinds) > 1:
        raise ApiError(HTTPStatus.BAD_REQUEST, "texts, token ids or lists of them, and not of several", param="prompt")
    return [cast(list[int], prompt)] if kinds == {int} else cast(list[str | list[int]], prompt)


async def _tokens(service: Service, prompt: str | list[int]) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return await encode(service, prompt, special=True)
    return tuple(prompt)
