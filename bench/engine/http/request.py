"""From a turn to the bytes of its request."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

import msgspec

from bench import __version__
from bench.core.endpoint_spec import HttpClientSpec
from bench.core.sessions import Message, Sampling, TurnRequest
from bench.engine.http.address import Address
from bench.engine.http.fragment import Fragment

_encode = msgspec.json.Encoder().encode


def get_message(address: Address, path: str, key: str | None) -> bytes:
    """A GET of `path` below the API's root."""
    return _head("GET", address, path, key, "application/json") + b"\r\n"


class RequestRenderer:
    """Renders the requests of one run. Everything that no turn changes is rendered once."""

    def __init__(self, spec: HttpClientSpec, address: Address, model: str, key: str | None) -> None:
        self._chat = spec.api == "chat"
        self._text = spec.prompt == "text"
        self._max_tokens = spec.max_tokens_field
        self._sampling = frozenset(spec.sampling_fields)
        self._length = Fragment(spec.length_body)
        self._effort = Fragment(spec.effort_body)
        self._logprobs = Fragment(spec.logprobs_body)
        self._extra = Fragment(spec.extra_body)
        self._same: dict[str, Any] = {"model": model, "stream": True}
        if spec.stream_options:
            self._same["stream_options"] = spec.stream_options
        path = "/chat/completions" if self._chat else "/completions"
        accepted = "text/event-stream, application/json"
        head = _head("POST", address, path, key, accepted)
        self._head = head + b"Content-Type: application/json\r\nContent-Length: "

    def render(self, request: TurnRequest) -> bytes:
        """Head and body. Keys of `extra_body` replace the body's own."""
        body: dict[str, Any] = {
            **self._same,
            self._max_tokens: request.max_tokens,
            **_sampling(request.sampling, self._sampling),
        }
        if self._chat:
            body["messages"] = [_message(message) for message in request.messages]
        else:
            body["prompt"] = request.messages[0].text if self._text else request.prompt_ids
        if request.ignore_eos:
            body.update(self._length.of(request))
        if self._chat and request.turn.effort is not None:
            body.update(self._effort.of(request))
        if request.logprobs:
            asked = (
                {"logprobs": True, "top_logprobs": request.logprobs} if self._chat else {"logprobs": request.logprobs}
            )
            body.update(asked, **self._logprobs.of(request))
        body.update(self._extra.of(request))
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


def _sampling(sampling: Sampling, known: Collection[str]) -> dict[str, Any]:
    """What differs from the API's own, of the fields that are known."""
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
    return {name: value for name, value in asked.items() if name in known}


def _message(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in message.pictures]
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}
