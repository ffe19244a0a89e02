"""From the tokens of one generation to the text its client is told: by kind, without marks, up to a stop string."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.core.records import TokenKind
from bench.native.server.detokenizer import Detokenizer
from bench.native.server.marks import MarkReader
from bench.native.server.stop_strings import StopStrings

Piece = tuple[TokenKind, str]


class AnswerText:
    """Collects the pieces of text that are certain until they are taken."""

    __slots__ = (
        "_detokenizer",
        "_ending",
        "_endings",
        "_kind",
        "_marks",
        "_min_tokens",
        "_pieces",
        "_stops",
        "_tokens",
        "stopped",
    )

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        stops: Sequence[str],
        marks: MarkReader | None,
        min_tokens: int,
        endings: Collection[int] = (),
    ) -> None:
        """Without `marks` all text is of one kind, the answer; with them stop strings are looked for behind the
        thinking. They are not looked for in the first `min_tokens` tokens. `endings` are tokens with a text that is
        told when another follows: where one of them ends the output it is no part of it.
        """
        self._detokenizer = detokenizer
        self._endings = endings
        self._ending = ""
        """The text of the newest token, if that is one of them."""
        self._stops = StopStrings(stops) if stops else None
        self._min_tokens = min_tokens
        self._tokens = 0
        self._marks = marks
        self._kind: TokenKind = "answer"
        self._pieces: list[Piece] = []
        self.stopped = False
        """A stop string has come; nothing is told of what follows."""

    def add(self, kind: TokenKind, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            self._tokens += 1
            if self._ending:
                self._tell_ending()
            if self._marks is not None:
                self._turn_to(kind)
                if self._marks.is_mark(token_id):
                    self._tell(self._passed(self._detokenizer.flush()))
                    # What comes next is read behind it, and what it reads itself is told to nobody.
                    self._detokenizer.add(token_id)
                    continue
            if token_id in self._endings:
                self._tell(self._passed(self._detokenizer.flush()))
                self._ending = self._detokenizer.add(token_id)
                continue
            text = self._detokenizer.add(token_id)
            if self._stops is not None and self._tokens > self._min_tokens:
                text = self._passed(text)
            if text:
                self._pieces.append((self._kind, text))
            if self.stopped:
                return

    def end(self, *, by_token: bool) -> None:
        """Nothing follows: what was kept back is certain. `by_token`: the last one was said to end the output."""
        if self.stopped:
            return
        if not by_token:
            self._tell_ending()
        self._release()

    def take(self) -> list[Piece]:
        """What was told since the last call, neighbours of one kind as one piece."""
        pieces = self._pieces
        if not pieces:
            return []
        self._pieces = []
        if len(pieces) == 1:
            return pieces
        joined: list[Piece] = []
        begin = 0
        for end in range(1, len(pieces) + 1):
            if end == len(pieces) or pieces[end][0] != pieces[begin][0]:
                joined.append((pieces[begin][0], "".join([text for _, text in pieces[begin:end]])))
                begin = end
        return joined

    def _turn_to(self, kind: TokenKind) -> None:
        if kind != self._kind:
            self._release()
            self._kind = kind

    def _tell_ending(self) -> None:
        text, self._ending = self._ending, ""
        self._tell(self._passed(text))

    def _release(self) -> None:
        self._tell(self._passed(self._detokenizer.flush()))
        if self._stops is not None:
            self._tell(self._stops.flush())

    def _tell(self, text: str) -> None:
        if text:
            self._pieces.append((self._kind, text))

    def _passed(self, text: str) -> str:
        """What of `text` comes before a stop string, as far as that is certain."""
        if self.stopped:
            return ""
        if self._stops is None or self._kind == "thinking" or not text:
            return text
        told = self._stops.push(text)
        self.stopped = self._stops.matched
        return told
