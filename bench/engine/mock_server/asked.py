"""A request of OpenAI's API, as far as the mock server heeds it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_PICTURE = 256
_DEFAULT_TOKENS = 128
_MOST_TOKENS = 1_000_000
_MOST_LOGPROBS = 20
_OF_EITHER = {
    *("model", "stream", "stream_options", "max_tokens", "n", "stop", "seed", "temperature", "top_p", "logit_bias"),
    *("frequency_penalty", "presence_penalty", "logprobs", "user"),
}
_OF_COMPLETIONS = _OF_EITHER | {"prompt", "best_of", "echo", "suffix"}
_OF_CHATS = _OF_EITHER | {
    *("messages", "max_completion_tokens", "top_logprobs", "reasoning_effort", "response_format", "tools"),
    *("tool_choice", "parallel_tool_calls", "store", "metadata", "service_tier", "verbosity"),
}
"""Fields that OpenAI's own API knows."""
_OF_IDS = b"0123456789, \t\r\n"
"""What stands between the brackets of a list of token ids, and of nothing else."""


class BadRequestError(Exception):
    """A body the API does not allow; the text is for the client."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Body(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    messages: list[_Message] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool = False
    n: int | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    logprobs: bool | int | None = None
    """How many in completions; in chats whether, and `top_logprobs` how many."""
    top_logprobs: int | None = None


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One prompt and how its answer is wanted."""

    chat: bool
    stream: bool
    include_usage: bool
    prompt_tokens: int
    """The ids of a prompt of ids; a quarter of a text's characters, rounded up, and 256 for each picture."""
    most_tokens: int
    least_tokens: int
    last_line: str
    """Of the prompt's text, or of its last message; of ids, the last one."""
    logprobs: int | None = None
    """How many of the likely tokens are told with each; None tells nothing of how likely it was."""


_decode = msgspec.json.Decoder(_Body).decode


def parse_asked(body: bytes, *, chat: bool, strict: bool = False) -> Asked:
    """Raises BadRequestError, where it is `strict` also for a field that OpenAI's own API does not know."""
    try:
        if strict:
            _refuse_unknown(body, _OF_CHATS if chat else _OF_COMPLETIONS)
        told = _decode(body)
        prompt_tokens, last_line = _messages(told.messages) if chat else _prompt(told.prompt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(str(error)) from None
    if told.n not in (None, 1):
        raise BadRequestError("n is 1 here")
    most = told.max_completion_tokens if told.max_completion_tokens is not None else told.max_tokens
    most = _DEFAULT_TOKENS if most is None else most
    if not 1 <= most <= _MOST_TOKENS:
        raise BadRequestError(f"max_tokens is from 1 to {_MOST_TOKENS}")
    include_usage = not told.stream or (told.stream_options is not None and told.stream_options.include_usage)
    least = most if told.ignore_eos else min(most, told.min_tokens or 0)
    return Asked(chat, told.stream, include_usage, prompt_tokens, most, least, last_line, _logprobs(told, chat=chat))


def _refuse_unknown(body: bytes, known: Collection[str]) -> None:
    unknown = next((name for name in msgspec.json.decode(body, type=dict[str, msgspec.Raw]) if name not in known), None)
    if unknown is not None:
        raise BadRequestError(f"unrecognized request argument: {unknown}")


def _logprobs(told: _Body, *, chat: bool) -> int | None:
    most = (told.top_logprobs or 0) if chat and told.logprobs else told.logprobs
    if most is None or most is False:
        return None
    if most is True or not 0 <= most <= _MOST_LOGPROBS:
        raise BadRequestError(f"log probabilities are told of 0 to {_MOST_LOGPROBS} tokens")
    return most


def _prompt(prompt: msgspec.Raw) -> tuple[int, str]:
    # Long prompts of ids are counted and not decoded: that would keep every other answer waiting for milliseconds.
    text = bytes(prompt)
    ids = text[1:-1].strip()
    if text.startswith(b"[") and ids and not ids.translate(None, _OF_IDS):
        return ids.count(b",") + 1, ids.rpartition(b",")[2].strip().decode()
    match msgspec.json.decode(prompt):
        case str(words) | [str(words)] if words:
            return _text_tokens(words), _last_line(words)
        case [[*batch]] if batch and all(isinstance(token, int) for token in batch):
            return len(batch), str(batch[-1])
    raise BadRequestError("prompt is one text, or one list of token ids, and not empty")


def _messages(messages: list[_Message] | None) -> tuple[int, str]:
    if not messages:
        raise BadRequestError("messages is missing or empty")
    tokens, text = 0, ""
    for message in messages:
        parts = [_Part("text", message.content or "")] if not isinstance(message.content, list) else message.content
        text = "".join(part.text for part in parts)
        pictures = sum(part.type == "image_url" for part in parts)
        tokens += _TOKENS_PER_PICTURE * pictures + (_text_tokens(text) if text else 0)
    return max(1, tokens), _last_line(text)


def _text_tokens(text: str) -> int:
    return max(1, -(-len(text) // _CHARACTERS_PER_TOKEN))


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]
