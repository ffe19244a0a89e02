"""One generation of a request: what the engine tells of it, kept until its client is told."""

from __future__ import annotations

from collections.abc import Callable

from bench.core.records import Chunk, Finish, FinishReason, TokenLogprob
from bench.core.sessions import TurnRequest
from bench.native.server.answer_text import AnswerText, Piece


class Choice:
    """The sink of one turn. Of what is not taken yet it keeps the text, and the log probabilities that were asked."""

    __slots__ = (
        "_changed",
        "_logprobs",
        "_text",
        "cached_tokens",
        "done",
        "error",
        "index",
        "reason",
        "thinking_tokens",
        "tokens",
        "turn",
    )

    def __init__(self, index: int, turn: TurnRequest, text: AnswerText, changed: Callable[[], None]) -> None:
        """`changed` is called whenever there is something to take or something has ended."""
        self.index = index
        self.turn = turn
        self.tokens = 0
        """Generated so far; of one that a stop string ended, up to the token that completed it."""
        self.thinking_tokens = 0
        self.reason: FinishReason | None = None
        """Why nothing follows; None while something may."""
        self.error: str | None = None
        self.cached_tokens: int | None = None
        """None until the engine told."""
        self.done = False
        """The engine has no more to do with it."""
        self._text = text
        self._logprobs: list[TokenLogprob] = []
        self._changed = changed

    def chunk(self, chunk: Chunk) -> None:
        if self.reason is not None:
            return  # the engine has not yet heard that a stop string has come
        self.tokens += chunk.n_tokens
        if chunk.kind == "thinking":
            self.thinking_tokens += chunk.n_tokens
        self._text.add(chunk.kind, chunk.token_ids or ())
        if chunk.logprobs is not None:
            self._logprobs += chunk.logprobs
        if self._text.stopped:
            self.reason = "stop"
        self._changed()

    def finish(self, finish: Finish) -> None:
        self.done = True
        self.cached_tokens = finish.cached_tokens
        if self.reason is None:
            self._text.end(by_token=finish.reason == "stop")
            self.reason, self.error = finish.reason, finish.error
        self._changed()

    @property
    def answered(self) -> bool:
        """It has ended, as an answer does."""
        return self.reason in ("stop", "length")

    def take(self) -> tuple[list[Piece], list[TokenLogprob]]:
        """What was told since the last call."""
        logprobs = self._logprobs
        if logprobs:
            self._logprobs = []
        return self._text.take(), logprobs
