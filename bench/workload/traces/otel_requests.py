"""What a span of OpenTelemetry's `gen_ai` conventions says of one request to a model: its words and its lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bench.core.errors import InputError
from bench.core.sessions import Message, Role
from bench.workload.traces.conversation import call_text
from bench.workload.traces.otel_spans import Span

_OPERATION = "gen_ai.operation.name"
_GENERATION = ("chat", "text_completion", "generate_content")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
"""The convention's name, and the one it had before."""
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_THINKING_TOKENS = ("gen_ai.usage.reasoning.output_tokens",)
_CACHED_TOKENS = ("gen_ai.usage.cache_read.input_tokens",)
_MOST_TOKENS = 10**9
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""Whoever is not one of these is a user."""


class _NoWordsError(Exception):
    """What was said is cut off, or is no text."""


@dataclass(frozen=True, slots=True)
class Request:
    span: Span
    """Without its attributes, which repeat the words of every request before."""
    messages: tuple[Message, ...] | None
    """What was asked; None where the span does not tell, or not in words alone."""
    answer: tuple[Message, ...] | None
    input_tokens: int | None
    """As the provider counted."""
    output_tokens: int | None
    thinking_tokens: int
    cached_tokens: int
    """Of the prompt, read from the provider's cache."""


def is_request(span: Span) -> bool:
    """Whether a model generated text in `span`. Agents' own spans sum up what is inside them, and are none."""
    operation = span.attributes.get(_OPERATION)
    return operation in _GENERATION if operation is not None else any(key in span.attributes for key in _OUTPUT_TOKENS)


def is_tool(span: Span) -> bool:
    return bool(span.attributes.get(_OPERATION) == "execute_tool")


def request_of(span: Span) -> Request:
    """Raises InputError where it counts tokens in anything but whole numbers."""
    return Request(
        replace(span, attributes={}),
        _asked(span.attributes),
        _answered(span.attributes),
        _tokens(span, _INPUT_TOKENS),
        _tokens(span, _OUTPUT_TOKENS),
        _tokens(span, _THINKING_TOKENS) or 0,
        _tokens(span, _CACHED_TOKENS) or 0,
    )


def _tokens(span: Span, names: tuple[str, ...]) -> int | None:
    name = next((name for name in names if span.attributes.get(name) is not None), None)
    if name is None:
        return None
    count = span.attributes[name]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MOST_TOKENS:
        raise InputError(f"{name} = {str(count)[:40]!r}", where=span.where, allowed="a whole number, 0 or more")
    return count


def _asked(attributes: Mapping[str, Any]) -> tuple[Message, ...] | None:
    try:
        if "gen_ai.input.messages" in attributes:
            told = _messages(attributes["gen_ai.input.messages"])
        else:
            told = tuple(_numbered(attributes, "gen_ai.prompt"))
        instructions = _words(_decoded(attributes.get("gen_ai.system_instructions", [])))
    except _NoWordsError:
        return None
    # Some repeat the instructions as the first message.
    if instructions and not (told and told[0] == Message("system", instructions)):
        return (Message("system", instructions), *told) if told else None
    return told or None


def _answered(attributes: Mapping[str, Any]) -> tuple[Message, ...] | None:
    try:
        if "gen_ai.output.messages" in attributes:
            return _messages(attributes["gen_ai.output.messages"]) or None
        return tuple(_numbered(attributes, "gen_ai.completion")) or None
    except _NoWordsError:
        return None


def _messages(told: Any) -> tuple[Message, ...]:
    messages = _decoded(told)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _NoWordsError
    return tuple(
        Message(_role(message.get("role")), _words(message["parts"] if "parts" in message else message.get("content")))
        for message in messages
    )


def _numbered(attributes: Mapping[str, Any], prefix: str) -> Iterator[Message]:
    """Messages told as attributes of their own: `prefix`.0.role, `prefix`.0.content and so on."""
    number = 0
    while f"{prefix}.{number}.role" in attributes or f"{prefix}.{number}.content" in attributes:
        this = f"{prefix}.{number}"
        said = [_content(attributes.get(f"{this}.content"))]
        call = 0
        while (name := attributes.get(f"{this}.tool_calls.{call}.name")) is not None:
            said.append(call_text(str(name), attributes.get(f"{this}.tool_calls.{call}.arguments", "{}")))
            call += 1
        yield Message(_role(attributes.get(f"{this}.role")), "\n".join(part for part in said if part))
        number += 1


def _content(told: Any) -> str:
    """The words of a content that is either these or a list of parts in JSON."""
    parts = _decoded(told)
    are_parts = isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts)
    return _words(parts if are_parts else told)


def _role(told: Any) -> Role:
    return _ROLES.get(str(told).lower(), "user")


def _decoded(told: Any) -> Any:
    """`told`, or what it is as JSON if it is a string that must be a list."""
    if not isinstance(told, str) or not told.lstrip().startswith("["):
        return told
    try:
        return msgspec.json.decode(told)
    except (ValueError, RecursionError):
        return told


def _words(parts: Any) -> str:
    """The words of a message's parts, each on a line of its own."""
    if parts is None or isinstance(parts, str):
        return parts or ""
    if not isinstance(parts, list):
        raise _NoWordsError
    return "\n".join(filter(None, map(_part, parts)))


def _part(part: Any) -> str:
    match part:
        case {"type": "text" | "reasoning", "content": str(text)} | {"type": "text", "text": str(text)}:
            return text
        case {"type": "tool_call", "name": str(name), **rest}:
            return call_text(name, rest.get("arguments", {}))
        case {"type": "tool_call_response", "response": said} | {"type": "tool_call_response", "result": said}:
            return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        case _:
            raise _NoWordsError
