"""What answers look like: the two forms that OpenAI's API has, whole and as what one event adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.records import TokenKind
from bench.native.server.answer_text import Piece
from bench.native.server.logprobs import ChatLogprobs, CompletionLogprobs, LogprobsForms

Fragment = tuple[bytes, bytes]
"""Members of a choice's JSON object, cut where the text goes."""


@dataclass(frozen=True, slots=True)
class EventShape:
    """Members of a choice in an event, as JSON."""

    object: str
    first: bytes | None
    """Comes before a choice's first token."""
    said: Mapping[TokenKind, Fragment]
    last: bytes
    """Comes with the reason why nothing follows."""


@dataclass(frozen=True, slots=True)
class Shape:
    prompt_field: str
    """Where a request has its prompt."""
    id_prefix: str
    object: str
    event: EventShape
    logprobs: LogprobsForms
    splits_thinking: bool
    """Thinking is told apart from the answer."""
    said: Callable[[Sequence[Piece]], dict[str, Any]]
    """Members of a choice in a whole answer."""


def _text(pieces: Sequence[Piece]) -> dict[str, Any]:
    return {"text": "".join(text for _, text in pieces)}


def _message(pieces: Sequence[Piece]) -> dict[str, Any]:
    texts = {kind: "".join(text for of, text in pieces if of == kind) for kind in ("answer", "thinking")}
    message = {"role": "assistant", "content": texts["answer"], "reasoning_content": texts["thinking"] or None}
    return {"message": message}


COMPLETION = Shape(
    prompt_field="prompt",
    id_prefix="cmpl",
    object="text_completion",
    event=EventShape(
        object="text_completion",
        first=None,
        said={"answer": (b'"text":', b""), "thinking": (b'"text":', b"")},
        last=b'"text":""',
    ),
    logprobs=CompletionLogprobs,
    splits_thinking=False,
    said=_text,
)
"""One text, thinking and its marks among it."""
CHAT = Shape(
    prompt_field="messages",
    id_prefix="chatcmpl",
    object="chat.completion",
    event=EventShape(
        object="chat.completion.chunk",
        first=b'"delta":{"role":"assistant","content":""}',
        said={"answer": (b'"delta":{"content":', b"}"), "thinking": (b'"delta":{"reasoning_content":', b"}")},
        last=b'"delta":{}',
    ),
    logprobs=ChatLogprobs,
    splits_thinking=True,
    said=_message,
)
"""A message whose thinking is apart from its content."""
