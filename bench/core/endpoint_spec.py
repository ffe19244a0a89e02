"""The engine section of a suite for servers of OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from bench.core.section import Section

# A week at most: longer than any answer takes, and far from where a clock's nanoseconds end.
Timeout = Annotated[float, Field(gt=0, le=7 * 86_400)]


class HttpClientSpec(Section):
    """How a server is asked, whoever started it."""

    api: Literal["completions", "chat"] = "completions"
    prompt: Literal["tokens", "text"] = "tokens"
    """Whether completions are asked in token ids, which keeps every count exact, or in text; a chat is always text."""
    timeout_s: Timeout = 600.0
    """Longest time for a whole request."""
    connect_timeout_s: Timeout = 10.0
    stall_timeout_s: Timeout = 120.0
    """Longest time without a byte once a request is sent."""
    retries: NonNegativeInt = 0
    """How often a request is sent again after what `retry_on` names; each is counted, and its time is the turn's."""
    retry_on: tuple[Literal["refused", "reset", "429", "503"], ...] = ("429", "503")
    processes: PositiveInt = 1
    """Client processes the sessions are dealt out to."""
    force_length: bool = True
    """Whether the server honours `ignore_eos` and `min_tokens`; pinned lengths need that."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Laid over the body of every request. The text `$thinking_budget`, anywhere in it, stands for the turn's budget;
    where a turn has none, the key it is the value of is left out. Marks of thinking that are special tokens of a model,
    as harmony's are, come in an answer's text only where a server is asked not to skip them; vLLM and SGLang are by
    `{skip_special_tokens: false}`."""
    max_context_tokens: PositiveInt = 131_072


class EndpointEngineSpec(HttpClientSpec):
    """Any server that speaks OpenAI's API over HTTP. `model.path` is where its tokenizer is read from."""

    kind: Literal["endpoint"]
    base_url: str
    """As `http://127.0.0.1:8000`, with or without the `/v1` of its paths. It is asked directly: no proxy is used,
    whatever the environment names, and no redirect is followed."""
    served_model: str | None = None
    """What the server calls the model; null takes the first it lists."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself is neither logged nor recorded."""
    verify_tls: bool = True
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
