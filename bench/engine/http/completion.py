"""What OpenAI's API answers, as far as it is read: one type for chunks and whole answers, of completions and chats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Annotated, Any

import msgspec

from bench.engine.http.failures import ExchangeError, one_line

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""What thinking is called below, and by nearly all servers."""


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

    @property
    def says_thinking(self) -> bool:
        """It is of thinking, be its text empty."""
        return self.content is None and (self.reasoning_content is not None or self.reasoning is not None)


class TopLogprob(msgspec.Struct, gc=False):
    token: str
    logprob: float


class TokenLogprobs(msgspec.Struct, gc=False):
    token: str
    logprob: float
    top_logprobs: list[TopLogprob] = []


class Logprobs(msgspec.Struct, gc=False):
    """Chats have `content`, completions the rest: lists of one length."""

    content: list[TokenLogprobs] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class LikelyChoice(Choice, gc=False):
    """One of an answer that was asked for log probabilities; of others nobody looks at them, whatever they hold."""

    logprobs: Logprobs | None = None


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


class _Named(msgspec.Struct):
    model: Any = None


_decode_name = msgspec.json.Decoder(_Named).decode


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises, caught by who decodes: to enter a function for each event would cost a sixth of its time."""


class AnswerFormat:
    """How chunks and answers of one server are decoded. Both ways raise what `UNREADABLE` holds."""

    def __init__(self, reasoning_fields: Sequence[str] = REASONING_FIELDS) -> None:
        """`reasoning_fields`, one or two, are what the server calls thinking."""
        delta = _delta(reasoning_fields)
        self._decode = _decoder(Choice, delta)
        self._decode_with_logprobs = _decoder(LikelyChoice, delta)

    def decoder(self, *, logprobs: bool) -> Callable[[bytes], Completion]:
        return self._decode_with_logprobs if logprobs else self._decode


def unreadable(error: Exception) -> ExchangeError:
    """The failure that something is which is neither a chunk nor an answer."""
    return ExchangeError("garbage", f"not an answer of the API: {one_line(str(error))}")


def _delta(reasoning_fields: Sequence[str]) -> type[msgspec.Struct]:
    if tuple(reasoning_fields) == REASONING_FIELDS:
        return Delta
    # No key is empty, so nothing is read where one name is all there is.
    names = dict(zip_longest(REASONING_FIELDS, reasoning_fields, fillvalue=""))
    fields: Any = [(field.name, field.type, None) for field in msgspec.structs.fields(Delta)]
    return msgspec.defstruct("Delta", fields, bases=(Delta,), rename=names, gc=False)


def _decoder(choice_type: type[Choice], delta: Any) -> Callable[[bytes], Completion]:
    fields: Any = [(name, delta | None, None) for name in ("delta", "message")]
    choice: Any = msgspec.defstruct("Choice", fields, bases=(choice_type,), gc=False)
    completion = msgspec.defstruct(
        "Completion", [("choices", list[choice] | None, None)], bases=(Completion,), gc=False
    )
    return msgspec.json.Decoder[Any](completion).decode


def told_model(data: bytes) -> str | None:
    """The model that a chunk or an answer names; None where it names none, or is neither."""
    try:
        model = _decode_name(data).model
    except UNREADABLE:
        return None
    return model if isinstance(model, str) and model else None


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
