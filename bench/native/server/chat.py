"""/v1/chat/completions: answers messages, put into the model's own template."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bench.core.errors import InputError
from bench.core.sessions import Message, Role
from bench.native.server.answering import answer
from bench.native.server.asked import Asked, check_length, check_model, encode, turns_of
from bench.native.server.errors import ApiError
from bench.native.server.schema import ChatMessage, ChatRequest, TemplateArguments, read_body
from bench.native.server.service import Service
from bench.native.server.shapes import CHAT

_decoder = msgspec.json.Decoder(ChatRequest)


async def chat_completions(request: Request, service: Service) -> Response:
    """Raises ApiError for what is refused, ClientDisconnect where nobody waits for the answer."""
    body = read_body(_decoder, await request.body())
    check_model(body, service)
    if body.tools and body.tool_choice != "none":
        raise ApiError(HTTPStatus.BAD_REQUEST, "no tools are called here: set tool_choice to none", param="tools")
    return await answer(request, service, body.n or 1, partial(_asked, body, service))


async def _asked(body: ChatRequest, service: Service) -> Asked:
    logprobs = _logprobs(body)
    max_tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    prompt = _prompt(body, service)
    check_length([prompt], service, max_tokens, CHAT.prompt_field)
    prompt_ids = await encode(service, prompt, special=False)
    turns = turns_of(body, service, [prompt_ids], CHAT, max_tokens=max_tokens, logprobs=logprobs)
    return Asked(turns, body, logprobs, CHAT)


def _logprobs(body: ChatRequest) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise ApiError(HTTPStatus.BAD_REQUEST, "only of use where logprobs is true", param="top_logprobs")
    return None


def _prompt(body: ChatRequest, service: Service) -> str:
    if service.template is None:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the model has no chat template: use /v1/completions", param="messages")
    arguments = body.chat_template_kwargs or TemplateArguments()
    thinking = arguments.thinking if arguments.enable_thinking is None else arguments.enable_thinking
    effort = body.reasoning_effort
    if effort == "none":
        thinking, effort = False if thinking is None else thinking, None
    messages = [_message(message) for message in body.messages]
    try:
        return service.template.render(messages, effort, thinking=thinking)
    except InputError:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the model's chat template refuses them", param="messages") from None


def _message(message: ChatMessage) -> Message:
    role: Role = "system" if message.role == "developer" else message.role
    content = message.content
    return Message(role, content if isinstance(content, str) else "".join(part.text for part in content))
