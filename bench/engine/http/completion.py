"""What OpenAI's API answers, as far as it is read: one type for chunks and whole answers, of completions and chats."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from bench.engine.http.failures import ExchangeError, one_line


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to a message, or a whole message."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Count | None = None
    """What DeepSeek's API has in place of details of the prompt."""

    @property
    def cached_tokens(self) -> int | None:
        if self.prompt_tokens_details is None:
            return self.prompt_cache_hit_tokens
        return self.prompt_tokens_details.cached_tokens

    @property
    def reasoning_tokens(self) -> int:
        """Those of the completion's tokens that were thinking, shown or not; 0 where the server does not say."""
        return (self.completion_tokens_details.reasoning_tokens or 0) if self.completion_tokens_details else 0


class Completion(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(Completion).decode


def read_completion(data: bytes) -> Completion:
    """Raises ExchangeError for what is neither a chunk nor an answer."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError("garbage", f"not an answer of the API: {one_line(str(error))}") from None


def api_error(error: Any, secret: str | None) -> ExchangeError:
    """The failure that an error within an answer is."""
    return ExchangeError("api_error", told_error(error, secret))


def told_error(body: bytes | Any, secret: str | None) -> str:
    """The sentence in an error that a server sent, in one of the forms that are about, as one line without `secret`."""
    told = body
    if isinstance(body, bytes):
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            return one_line(body.decode(errors="replace"), secret)
    while isinstance(told, dict):
        told = next((told[key] for key in ("error", "message", "detail") if told.get(key)), json.dumps(told))
    return one_line(told if isinstance(told, str) else json.dumps(told), secret)
