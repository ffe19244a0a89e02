"""Prompts that have words of their own: as messages, as one text, or as the tokens of either.

Their words are sent as they are, so no salt keeps a server from knowing them from an earlier run. Of the plays of one
run, each after the first begins with its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.protocols import PromptForm
from bench.core.sessions import Effort, Message, Prompt, Role, Segment, Turn
from bench.workload.draws import Draws
from bench.workload.framing import without_added
from bench.workload.shared_prefix import Piece, SentTokens

_KEPT_PROMPTS = 64
"""A prompt is asked for twice: to be sent, and to be counted."""
_MARK = "neobench-tokens-{};"
_MARKS = re.compile(_MARK.format(r"(\d+)"))


class _Content(NamedTuple):
    """What one role says: text, and tokens that stand in it where there is no text of theirs."""

    role: Role
    parts: list[str | tuple[int, ...]]
    pictures: tuple[bytes, ...] = ()


class Conversations:
    """Realises turns of which some segment has a text of its own."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        form: PromptForm,
        draws: Draws,
        picture: Callable[[Segment, int], bytes | None],
    ) -> None:
        """Without `template` segments follow one another. `picture`: a segment's in a play, where it is sent as one."""
        self._tokenizer = tokenizer
        self._template = template
        self._form = form
        self._draws = draws
        self._picture = picture
        self._sent = SentTokens()
        self._made = lru_cache(_KEPT_PROMPTS)(self._make)

    def realise(self, turn: Turn, play: int) -> Prompt:
        """Raises InputError where the model's template refuses such a conversation."""
        return self._made(turn.prompt, turn.effort, play)

    def shared_tokens(self, turn: Turn, play: int) -> int:
        return self._sent.add(self.realise(turn, play).ids)

    def _make(self, segments: tuple[Segment, ...], effort: Effort | None, play: int) -> Prompt:
        if play:
            segments = (Segment("play", 0, segments[0].role, f"{play}. "), *segments)
        contents = [self._content(role, list(said), play) for role, said in groupby(segments, lambda one: one.role)]
        if self._form == "tokens":
            return Prompt(tuple(self._ids(self._text(contents, effort), contents)))
        if self._form == "text":
            text = without_added(self._tokenizer, self._text(contents, effort))
            return Prompt(tuple(self._tokenizer.encode(text).ids), (Message("user", text),))
        messages = tuple(
            Message(role, "".join(part for part in parts if isinstance(part, str)), pictures)
            for role, parts, pictures in contents
        )
        return Prompt(tuple(self._ids(self._text(contents, effort), contents)), messages)

    def _content(self, role: Role, segments: Sequence[Segment], play: int) -> _Content:
        """Pictures stand before the words."""
        pictures = [(segment, self._picture(segment, play)) for segment in segments]
        parts: list[str | tuple[int, ...]] = [
            self._draws.of(Piece(one.key, 0, one.tokens), play).ids for one, png in pictures if png is not None
        ]
        for segment, png in pictures:
            if png is None:
                parts.append(self._part(segment, play))
        return _Content(role, parts, tuple(png for _, png in pictures if png is not None))

    def _part(self, segment: Segment, play: int) -> str | tuple[int, ...]:
        if segment.text is None:
            drawn = self._draws.of(Piece(segment.key, 0, segment.tokens), play)
            return drawn.ids if self._form == "tokens" else drawn.text
        if self._form == "tokens":  # Each segment by itself, so that its count does not depend on its neighbours.
            return tuple(self._tokenizer.encode(segment.text, add_special_tokens=False).ids)
        return segment.text

    def _text(self, contents: Sequence[_Content], effort: Effort | None) -> str:
        """The whole prompt, with marks where tokens stand."""
        count = 0
        messages = []
        for content in contents:
            words = []
            for part in content.parts:
                words.append(part if isinstance(part, str) else _MARK.format(count))
                count += not isinstance(part, str)
            messages.append(Message(content.role, "".join(words)))
        if self._template is None:
            return "".join(message.text for message in messages)
        return self._template.render(messages, effort, switches=self._form != "chat")

    def _ids(self, text: str, contents: Sequence[_Content]) -> list[int]:
        """The tokens of a text with marks."""
        marked = [part for content in contents for part in content.parts if not isinstance(part, str)]
        ids: list[int] = []
        for place, found in enumerate(_MARKS.split(text)):
            if place % 2:
                ids += marked[int(found)]
            elif found:
                ids += self._tokenizer.encode(found, add_special_tokens=False).ids
        return ids
