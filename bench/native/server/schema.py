"""What clients send: the bodies of OpenAI's API as far as they are read, with the bounds of every field.

Fields that are not known are ignored, as other servers do. Those that are known, would change the answer and are not
offered are refused, unless they say what happens without them.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from bench.native.server.errors import ApiError

_MOST_LOGPROBS = 20
TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
Tokens = Annotated[int, Meta(ge=1, lt=2**31)]
StopString = Annotated[str, Meta(min_length=1, max_length=1024)]
TopLogprobs = Annotated[int, Meta(ge=0, le=_MOST_LOGPROBS)]
Zero = Annotated[float, Meta(ge=0, le=0)]
NoList = Annotated[list[Any], Meta(max_length=0)]
Off = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]

_NOT_OFFERED = (
    "allowed_token_ids",
    "bad_words",
    "echo",
    "frequency_penalty",
    "functions",
    "include_stop_str_in_output",
    "presence_penalty",
    "prompt_logprobs",
    "response_format",
    "stop_token_ids",
    "structured_outputs",
    "suffix",
    "tool_choice",
    "truncate_prompt_tokens",
    "use_beam_search",
)
_OFF = ("echo", "include_stop_str_in_output", "use_beam_search")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    """An event with what the whole request used comes last, and tokens without text have events too."""
    continuous_usage_stats: bool | None = None
    """Every event tells what was used up to it."""


class GenerationRequest(msgspec.Struct, kw_only=True):
    """What both ways to ask for tokens have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Answers to each prompt; the seed of each is one more than that of the one before."""
    min_tokens: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """Until there are so many neither EOS nor a stop string ends an answer."""
    ignore_eos: bool | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=16)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """1 where it is not given; 0 is greedy."""
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, lt=2**31)] | None = None
    """0 and −1 draw from all tokens."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    logit_bias: dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """Without one, every request is drawn anew."""
    skip_special_tokens: bool | None = None
    """Special tokens read as nothing, unless this is false; one that ends an answer always does."""
    return_tokens_as_token_ids: bool | None = None
    """Log probabilities name a token `token_id:` and its number, not its text, which others may share."""
    thinking_token_budget: Annotated[int, Meta(ge=-1, lt=2**31)] | None = None
    """Most tokens of thinking; −1 sets no limit."""
    user: str | None = None
    """Read and not used."""

    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    stop_token_ids: NoList | None = None
    allowed_token_ids: NoList | None = None
    bad_words: NoList | None = None
    include_stop_str_in_output: Off | None = None
    use_beam_search: Off | None = None
    prompt_logprobs: None = None
    structured_outputs: None = None
    truncate_prompt_tokens: None = None


class CompletionRequest(GenerationRequest, kw_only=True):
    """Goes on with each prompt: a text, token ids, or a list of texts or of lists of ids."""

    prompt: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)]
    max_tokens: Tokens | None = None
    """16 where it is not given."""
    logprobs: TopLogprobs | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Only what `n` is: no answer is thrown away."""
    echo: Off | None = None
    suffix: Annotated[str, Meta(max_length=0)] | None = None


class TextPart(msgspec.Struct):
    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    tool_calls: NoList | None = None


class TemplateArguments(msgspec.Struct, forbid_unknown_fields=True):
    enable_thinking: bool | None = None
    thinking: bool | None = None
    """The same for templates that call it so."""


class TextFormat(msgspec.Struct):
    type: Literal["text"]


class ChatRequest(GenerationRequest, kw_only=True):
    """Answers the last of the messages."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    """All that the context has room for where it is not given."""
    max_tokens: Tokens | None = None
    """Its older name, read where the other is not given."""
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    chat_template_kwargs: TemplateArguments | None = None
    tools: list[Any] | None = None
    """Refused, unless `tool_choice` says that none is to be called."""
    tool_choice: Literal["none", "auto"] | None = None
    functions: NoList | None = None
    response_format: TextFormat | None = None


R = TypeVar("R", bound=GenerationRequest)


def read_body(decoder: msgspec.json.Decoder[R], body: bytes) -> R:
    """Raises ApiError for what is no such request."""
    try:
        request = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    for field in _OFF:
        if getattr(request, field, None):
            raise _not_offered(field)
    if request.stream_options is not None and not request.stream:
        raise ApiError(HTTPStatus.BAD_REQUEST, "only of use where stream is true", param="stream_options")
    return request


def _refusal(told: str) -> ApiError:
    """From the library's sentence, which ends in the place where it has one."""
    sentence, _, place = told.partition(" - at ")
    # Parts of a mapping are not named, and nothing that was sent is repeated.
    param = re.sub(r"^\$\.?|\[\.\.\.\].*", "", re.sub(r"^`key` in ", "", place).strip("`"))
    missing = re.fullmatch(r"Object missing required field `(\w+)`", sentence)
    if missing is not None:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return ApiError(HTTPStatus.BAD_REQUEST, f"{param} is missing", param=param)
    if param in _NOT_OFFERED:
        return _not_offered(param)
    if param.endswith(".type"):
        return ApiError(HTTPStatus.BAD_REQUEST, "only text is read here", param=param)
    if param.endswith(".tool_calls"):
        return _not_offered(param)
    if sentence.startswith("Invalid enum value"):
        sentence = "not one of the values that are allowed"
    if sentence.startswith("Object contains unknown field"):
        sentence = "a field that is not known here"
    return ApiError(HTTPStatus.BAD_REQUEST, f"{param or 'the body'}: {sentence}", param=param or None)


def _not_offered(param: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, f"{param} is not offered here: leave it out", param=param)
