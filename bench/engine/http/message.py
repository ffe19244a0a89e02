"""The message a server answers with, put together from what each chunk adds to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.core.records import Chunk, FinishReason, TokenKind
from bench.core.sessions import TurnRequest
from bench.engine.http.completion import Choice, Delta, Usage
from bench.engine.http.failures import ExchangeError
from bench.engine.http.tally import Tally
from bench.engine.http.tool_calls import ToolCallText
from bench.engine.thinking import ThinkingReader, is_open


@dataclass(frozen=True)
class Answer:
    """What there was of an answer."""

    chunks: Iterator[Chunk]
    tokens: int
    """Of all chunks."""
    reason: FinishReason
    usage: Usage | None
    notes: tuple[str, ...]
    model: str | None = None
    """What the server called the model; None where it did not."""


class Message:
    """The tokens of one choice, told apart by kind."""

    __slots__ = ("_held", "_reader", "_tool_calls", "_unopened", "finish_reason", "model", "tally", "usage")

    def __init__(self, request: TurnRequest) -> None:
        self.tally = Tally(keep_text=request.turn.check is not None)
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self._reader: ThinkingReader | None = None
        # Where lengths are pinned tags mean nothing, and nobody looks at kinds.
        if not request.ignore_eos:
            opened = len(request.messages) == 1 and is_open(request.messages[0].text)
            self._reader = ThinkingReader(opened=opened)
        self._unopened = False
        self._held: int | None = None
        """The first event in the tally whose text the reader holds back."""
        self._tool_calls: ToolCallText | None = None

    def add(self, t_ns: int, choice: Choice) -> None:
        if choice.finish_reason is not None:
            if choice.finish_reason == "error":
                raise ExchangeError("api_error", "the server ended the answer with finish_reason error")
            self.finish_reason = choice.finish_reason
        text = choice.text
        if text is None:
            delta = choice.delta or choice.message
            if delta is None:
                return
            self._add_delta(t_ns, delta)
        elif text:
            self._content(t_ns, text)
        else:
            self.tally.add_silent(t_ns)

    def reached(self, usage: Usage | None) -> bool:
        """Take what an event told with its choice as the count up to it. Returns whether it told any."""
        if usage is None or usage.completion_tokens is None:
            return False
        self.tally.reached(usage.completion_tokens)
        return True

    def _add_delta(self, t_ns: int, delta: Delta) -> None:
        told = False
        if thinking := delta.reasoning_content or delta.reasoning:
            self.tally.add(t_ns, "thinking", thinking)
            told = True
        if delta.content:
            self._content(t_ns, delta.content, tokens=0 if told else 1)
            told = True
        if delta.tool_calls:
            if self._tool_calls is None:
                self._tool_calls = ToolCallText()
            self.tally.add(t_ns, "answer", self._tool_calls.add(delta.tool_calls), tokens=0 if told else 1)
            told = True
        # A chunk that only says whose message it is comes before any token.
        if not told and delta.role is None:
            self.tally.add_silent(t_ns, thinks=delta.says_thinking)

    def _content(self, t_ns: int, text: str, tokens: int = 1) -> None:
        if self._reader is None:
            self.tally.add(t_ns, "answer", text, tokens)
            return
        runs = self._reader.read(text)
        if self._reader.unopened and not self._unopened:
            self._unopened = True
            self.tally.all_thinking()
            closing = next(index for index, (kind, _) in enumerate(runs) if kind == "thinking")
            runs = [("thinking", run) for _, run in runs[:closing]] + runs[closing:]
        if not runs:
            place = self.tally.add_held(t_ns, tokens)
            self._held = place if self._held is None else self._held
            return
        self._settle(runs[0][0])
        for index, (kind, run) in enumerate(runs, start=1):
            self.tally.add(t_ns, kind, run, tokens if index == len(runs) else 0)

    def _settle(self, kind: TokenKind) -> None:
        """It is known what the events were whose text was held back: what the first text after them is."""
        if self._held is not None:
            self.tally.settle(self._held, kind)
            self._held = None

    def close(self, t_ns: int) -> None:
        """Nothing follows the piece of `t_ns`."""
        for kind, run in self._reader.flush() if self._reader is not None else ():
            self._settle(kind)
            self.tally.add(t_ns, kind, run, tokens=0)
        if self._tool_calls is not None and (rest := self._tool_calls.close()):
            self.tally.add(t_ns, "answer", rest, tokens=0)

    @property
    def told_tokens(self) -> int | None:
        """How many the server says it answered; some say 0 where they do not count."""
        return (self.usage.completion_tokens or None) if self.usage is not None else None

    def finished(self, notes: list[str]) -> Answer:
        told = self.told_tokens
        if told is None:
            notes.append("no_usage")
            told = self._tokens_without_usage()
        elif told != self.tally.events:
            notes.append("counted_by_usage")
        hidden = self._hidden_tokens(told or 0)
        counts = self.tally.counts(told if told is None else told - hidden)
        chunks = self._chunks(counts)
        if hidden:
            notes.append("hidden_thinking")
            chunks = _after_hidden(hidden, chunks)
        reason: FinishReason = "length" if self.finish_reason == "length" else "stop"
        return Answer(chunks, hidden + sum(counts), reason, self.usage, tuple(notes), self.model)

    def partial(self) -> Answer:
        """What there is so far, with no word of the server's on it."""
        counts = self.tally.counts(self._tokens_without_usage())
        return Answer(self._chunks(counts), sum(counts), "stop", None, ())

    def _tokens_without_usage(self) -> int | None:
        """How many there are where the server does not say; None counts events with text."""
        return None

    def _chunks(self, counts: Sequence[int]) -> Iterator[Chunk]:
        return self.tally.chunks(counts)

    def _hidden_tokens(self, told: int) -> int:
        """Thinking that the server counts and never shows. It is known of no earlier than the first token it shows."""
        if self.usage is None or not self.usage.reasoning_tokens:
            return 0
        if self._reader is None or self.tally.any_thinking or not self.tally.events:
            return 0
        return max(0, min(self.usage.reasoning_tokens, told - self.tally.events))


def _after_hidden(tokens: int, shown: Iterator[Chunk]) -> Iterator[Chunk]:
    first = next(shown)
    yield Chunk(first.t_ns, None, tokens, "thinking")
    yield first
    yield from shown
