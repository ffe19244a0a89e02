"""Which text of an answer is thinking, told from the marks that models put into it.

Two kinds of marks are known: a pair of tags around the thinking, and harmony's channels. Marks count as thinking. The
first mark of a stream decides which of them the model uses, and any other is text from then on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.core.records import TokenKind
from bench.core.thinking import HARMONY_CHANNEL, HARMONY_MESSAGE, HARMONY_START, TAGS, THINKING_CHANNEL

Run = tuple[TokenKind, str]


@dataclass(frozen=True, slots=True)
class _Marks:
    """What is looked for in one state of a stream."""

    pattern: re.Pattern[str]
    beginnings: frozenset[str]
    """What may turn out to be a mark when more has come."""
    longest: int

    @staticmethod
    def of(*marks: str) -> _Marks:
        return _Marks(
            pattern=re.compile("|".join(map(re.escape, marks))),
            beginnings=frozenset(mark[:end] for mark in marks for end in range(1, len(mark))),
            longest=max(map(len, marks)),
        )

    def held(self, text: str) -> int:
        """How many characters at the end of `text` may begin a mark."""
        for length in range(min(self.longest - 1, len(text)), 0, -1):
            if text[-length:] in self.beginnings:
                return length
        return 0


_OPENED_BY = {closing: opening for opening, closing in TAGS}
_CLOSED_BY = dict(TAGS)
_FIRST = _Marks.of(*_CLOSED_BY, *_OPENED_BY, HARMONY_START, HARMONY_CHANNEL)
_TAG = {tag: _Marks.of(tag) for pair in TAGS for tag in pair}
_HEADER = _Marks.of(HARMONY_CHANNEL, HARMONY_MESSAGE)
_MESSAGE = _Marks.of(HARMONY_START, HARMONY_CHANNEL)


class ThinkingReader:
    """Reads one answer's content piece by piece, split anywhere, and tells runs of thinking and answer.

    It holds back no more than might be the beginning of a mark. Harmony: the header of a message counts as what came
    before it, and at the start as thinking; a message on any channel but `analysis` is answer.
    """

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: the prompt has already opened the thinking, as `is_open` tells."""
        self._kind: TokenKind = "thinking" if opened else "answer"
        self._marks = _FIRST
        self._held = ""
        self._channel: str | None = None
        self._anything = False
        self.unopened = False
        """A tag came that closes what nothing had opened: all that was told before it as answer was thinking."""

    def read(self, text: str) -> list[Run]:
        """The runs that `text` completes; no two neighbours are of one kind."""
        # Most pieces of most streams hold no mark, and a piece is read in a few microseconds altogether.
        if not self._held and self._marks is not _HEADER and not _may_mark(text):
            self._anything = self._anything or bool(text)
            return [(self._kind, text)] if text else []
        runs: list[Run] = []
        text, place = self._held + text, 0
        while found := self._marks.pattern.search(text, place):
            self._tell(runs, text[place : found.start()])
            self._pass(found.group(), runs)
            place = found.end()
        end = len(text) - self._marks.held(text[place:])
        self._tell(runs, text[place:end])
        self._held = text[end:]
        return runs

    def flush(self) -> list[Run]:
        """What was held back, at the end of the stream."""
        runs: list[Run] = []
        self._tell(runs, self._held)
        self._held = ""
        return runs

    def _tell(self, runs: list[Run], text: str) -> None:
        if not text:
            return
        self._anything = True
        if self._marks is _HEADER and self._channel is not None:
            # Only the beginning of the name matters, and a stream without an end is not to be kept.
            self._channel = (self._channel + text)[: len(THINKING_CHANNEL) + 1]
        if runs and runs[-1][0] == self._kind:
            text = runs.pop()[1] + text
        runs.append((self._kind, text))

    def _pass(self, mark: str, runs: list[Run]) -> None:
        """Tell a mark and go over to what it begins."""
        if mark in _CLOSED_BY:
            self._kind, self._marks = "thinking", _TAG[_CLOSED_BY[mark]]
            self._tell(runs, mark)
        elif mark in _OPENED_BY:
            self.unopened = self.unopened or self._kind == "answer"
            self._kind = "thinking"
            self._tell(runs, mark)
            self._kind, self._marks = "answer", _TAG[_OPENED_BY[mark]]
        else:
            self._pass_harmony(mark, runs)

    def _pass_harmony(self, mark: str, runs: list[Run]) -> None:
        if not self._anything:
            self._kind = "thinking"
        channel, self._channel = self._channel, None
        self._tell(runs, mark)
        if mark == HARMONY_MESSAGE:
            self._kind = "thinking" if channel is not None and _is_thinking(channel) else "answer"
            self._marks = _MESSAGE
        else:
            self._channel = "" if mark == HARMONY_CHANNEL else None
            self._marks = _HEADER


def is_open(prompt: str) -> bool:
    """Whether a prompt ends in a tag that opens thinking, but for the white space that templates put after it."""
    return prompt.rstrip().endswith(tuple(_CLOSED_BY))


def _may_mark(text: str) -> bool:
    return "<" in text or "[" in text or "◁" in text


def _is_thinking(channel: str) -> bool:
    return channel.split(maxsplit=1)[:1] == [THINKING_CHANNEL]
