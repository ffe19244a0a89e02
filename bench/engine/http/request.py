"""From a turn to the bytes of its request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from bench import __version__
from bench.core.sessions import Message, Sampling, TurnRequest
from bench.core.spec import EndpointEngineSpec
from bench.engine.http.address import Address

THINKING_BUDGET = "$thinking_budget"
"""Stands in `extra_body` for the turn's own budget; where a turn has none, what it is the value of is left out."""

_encode = msgspec.json.Encoder().encode


def get_message(address: Address, path: str, key: str | None) -> bytes:
    """A GET of `path` below the API's root."""
    return _head("GET", address, path, key, "application/json") + b"\r\n"


class RequestRenderer:
    """Renders the requests of one run. Everything that no turn changes is rendered once."""

    def __init__(self, spec: EndpointEngineSpec, address: Address, model: str, key: str | None) -> None:
        self._chat = spec.api == "chat"
        self._text = spec.prompt == "text"
        self._force_length = spec.force_length
        self._extra = spec.extra_body
        self._budgeted = THINKING_BUDGET in _encode(spec.extra_body).decode()
        self._same = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
        path = "/chat/completions" if self._chat else "/completions"
        accepted = "text/event-stream, application/json"
        head = _head("POST", address, path, key, accepted)
        self._head = head + b"Content-Type: application/json\r\nContent-Length: "

    def render(self, request: TurnRequest) -> bytes:
        """Head and body. Keys of `extra_body` replace the body's own."""
        body: dict[str, Any] = {
            **self._same,
            "max_tokens": request.max_tokens,
            **_sampling(request.sampling),
        }
        if self._chat:
            body["messages"] = [_message(message) for message in request.messages]
        else:
            body["prompt"] = request.messages[0].text if self._text else request.prompt_ids
        if request.ignore_eos and self._force_length:
            body["ignore_eos"] = True
            body["min_tokens"] = request.max_tokens
        if request.turn.effort is not None:
            body["reasoning_effort"] = request.turn.effort
        if self._budgeted:
            body.update(_with_budget(self._extra, request.turn.thinking_budget))
        else:
            body.update(self._extra)
        rendered = _encode(body)
        return b"%b%d\r\n\r\n%b" % (self._head, len(rendered), rendered)


def _head(method: str, address: Address, path: str, key: str | None, accepted: str) -> bytes:
    lines = [
        f"{method} {address.root}{path} HTTP/1.1",
        f"Host: {address.authority}",
        f"User-Agent: neobench/{__version__}",
        f"Accept: {accepted}",
        # Without it a server may compress, and what it holds back for that would look like slow tokens.
        "Accept-Encoding: identity",
    ]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _sampling(sampling: Sampling) -> dict[str, Any]:
    asked: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.temperature > 0:
        # A server that draws nothing has no use for a seed, and some are slower with one.
        asked["seed"] = sampling.seed
    if sampling.top_p != 1.0:
        asked["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        asked["top_k"] = sampling.top_k
    if sampling.min_p != 0.0:
        asked["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1.0:
        asked["repetition_penalty"] = sampling.repetition_penalty
    if sampling.logit_bias:
        asked["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return asked


def _message(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in message.pictures]
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _with_budget(extra: Mapping[str, Any], budget: int | None) -> dict[str, Any]:
    """`extra` with `budget` in the places kept for it."""
    return {
        key: _filled(value, budget) for key, value in extra.items() if value != THINKING_BUDGET or budget is not None
    }


def _filled(value: Any, budget: int | None) -> Any:
    match value:
        case dict():
            return _with_budget(value, budget)
        case list():
            return [_filled(item, budget) for item in value if item != THINKING_BUDGET or budget is not None]
        case _:
            return budget if value == THINKING_BUDGET else value
