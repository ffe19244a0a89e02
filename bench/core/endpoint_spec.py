"""The engine section of a suite for servers of OpenAI's API, and the presets it may begin from."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from bench.core.section import Section
from bench.core.sessions import Effort

# A week at most: longer than any answer takes, and far from where a clock's nanoseconds end.
Timeout = Annotated[float, Field(gt=0, le=7 * 86_400)]
SamplingField = Literal["temperature", "seed", "top_p", "top_k", "min_p", "repetition_penalty", "logit_bias"]

LENGTH = "$max_tokens"
EFFORT = "$effort"
THINKING_BUDGET = "$thinking_budget"
"""Stand in what is laid into a body for the turn's own length, effort and budget."""

_NO_THINKING = ("role", "content", "tool_calls")
"""Keys of a delta that mean something else."""


class HttpClientSpec(Section):
    """How a server is asked, whoever started it.

    What is laid into a body may hold, as values anywhere in it, the texts `$max_tokens`, `$effort` and
    `$thinking_budget`: they stand for the turn's own. Where a turn has none, the key it is the value of is left out.
    """

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
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the longest output."""
    force_length: bool | dict[str, Any] = True
    """What is laid into the body of a request whose length is pinned; `true` is `{ignore_eos: true, min_tokens:
    $max_tokens}`. `false` where a server ends answers as it likes: workloads of pinned lengths are then refused."""
    sampling_fields: tuple[SamplingField, ...] = get_args(SamplingField)
    """Which of a workload's sampling settings the server knows. A workload that uses another is refused; only a seed is
    left out without a word."""
    stream_options: dict[str, Any] = Field(default_factory=lambda: {"include_usage": True})
    """Empty where the server does not know them: it then tells a usage unasked, or tokens are counted by events."""
    reasoning_fields: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("reasoning_content", "reasoning")
    """Keys of a chat's delta that hold thinking; where both hold some, the first counts."""
    efforts: tuple[Effort, ...] = get_args(Effort)
    """Which efforts the server knows; a chat that asks for another is refused."""
    effort_body: dict[str, Any] = Field(default_factory=lambda: {"reasoning_effort": EFFORT})
    """Laid into the body of a chat whose turn has an effort; in completions the prompt's own template says it."""
    max_logprobs: NonNegativeInt = 0
    """How many of the most likely tokens the server tells at each place of an answer; 0 where it tells none."""
    logprobs_body: dict[str, Any] = Field(default_factory=dict)
    """Laid into the body of a request that asks for log probabilities."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Laid over the body of every request. Marks of thinking that are special tokens of a model, as harmony's are, come
    in an answer's text only where a server is asked not to skip them; vLLM and SGLang are by
    `{skip_special_tokens: false}`."""
    max_context_tokens: PositiveInt = 131_072

    @field_validator("force_length", mode="before")
    @classmethod
    def _a_switch_or_fields(cls, value: Any) -> Any:
        if not isinstance(value, bool | dict):
            raise ValueError("true, false, or a mapping of fields to values")
        return value

    @field_validator("reasoning_fields")
    @classmethod
    def _names_of_their_own(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not all(value) or set(value) & set(_NO_THINKING):
            raise ValueError(f"different names, none of them empty or of {', '.join(_NO_THINKING)}")
        return value

    @property
    def length_body(self) -> dict[str, Any]:
        """What pins a length; empty where nothing does."""
        if isinstance(self.force_length, dict):
            return self.force_length
        return {"ignore_eos": True, "min_tokens": LENGTH} if self.force_length else {}


class EndpointEngineSpec(HttpClientSpec):
    """Any server that speaks OpenAI's API over HTTP. `model.path` is where its tokenizer is read from."""

    kind: Literal["endpoint"]
    preset: str | None = None
    """A name under `configs/engines`, or a path: what is known of such servers, over which the keys written here are
    laid when the suite is read. With a `base_url` written here the key of the preset is not used."""
    base_url: str
    """As `http://127.0.0.1:8000`, with or without the `/v1` of its paths; one that has another version in its path is
    taken as it is. It is asked directly: no proxy is used, whatever the environment names, and no redirect is
    followed."""
    served_model: str | None = None
    """What the server calls the model; null takes the first it lists."""
    complete_model_list: bool = True
    """Whether the server lists every model it serves: one that it does not list is then refused at the start."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself is neither logged nor recorded."""
    verify_tls: bool = True
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    check_accuracy: bool = False
    """Hold the server's answers to a float32 reference of the weights in `model.path` before anything is timed. Off
    unless asked for: most endpoints run weights that are not at hand, and some are paid by the request. The server has
    to be asked in token ids and to tell log probabilities by them."""


class PresetSource(Section):
    """Where the settings of a preset are documented."""

    title: str
    url: str
    read: date


class EndpointPreset(HttpClientSpec):
    """A file under `configs/engines`: settings of an endpoint, of which it writes those that are not the default."""

    source: PresetSource
    confidence: Literal["high", "medium", "low"]
    """`high`: read in the server's own code. `medium`: in its documentation. `low`: from what others say of it, or in
    part assumed."""
    base_url: str | None = None
    api_key_env: str | None = None
    complete_model_list: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the engine section that the file writes."""
        return self.model_dump(exclude={"source", "confidence"}, exclude_unset=True)
