"""Recorded conversations as prompts: the words said so far, in one segment a message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from bench.core.sessions import Message, Role, Segment, Turn
from bench.workload.traces.turns import following

_KEY_CHARACTERS = 32


class History:
    """What was said so far in one session.

    A segment's key is a digest of all words up to its end, so that keys are equal exactly where histories are. They
    begin with `scope`, but for system messages that stand before all others: those are the same in every session.
    """

    def __init__(self, scope: str, count_tokens: Callable[[str], int]) -> None:
        self._scope = scope
        self._count_tokens = count_tokens
        self._digest = hashlib.sha256()
        self._segments: list[Segment] = []
        self._only_system = True

    @property
    def prompt(self) -> tuple[Segment, ...]:
        return tuple(self._segments)

    def tokens(self, message: Message) -> int:
        return self._count_tokens(message.text) if message.text else 0

    def say(self, message: Message) -> int:
        """Add `message`, which is no part of the prompt where it says nothing. Returns its tokens."""
        tokens = self.tokens(message)
        key = self._key(message.role, f"{len(message.text)} {message.text}")
        if tokens:
            self._segments.append(Segment(key, tokens, message.role, message.text))
        return tokens

    def say_unheard(self, role: Role, tokens: int) -> None:
        """Add a message of which only the length is known."""
        key = self._key(role, f"unheard {tokens}")
        if tokens:
            self._segments.append(Segment(key, tokens, role))

    def _key(self, role: Role, said: str) -> str:
        self._only_system = self._only_system and role == "system"
        self._digest.update(f"{role} {said}\n".encode())
        key = self._digest.hexdigest()[:_KEY_CHARACTERS]
        return f"system/{key}" if self._only_system else f"{self._scope}/{key}"


def recorded_turns(messages: Iterable[Message], history: History) -> tuple[Turn, ...]:
    """Each answer in `messages` as a turn whose prompt is everything said before it, without delays.

    Neighbouring messages of the assistant are one answer. Messages after the last answer are a turn without output; an
    answer to nothing is a turn without prompt, and no history of later ones.
    """
    turns: list[Turn] = []
    unanswered = False
    for by_assistant, group in groupby(messages, key=lambda message: message.role == "assistant"):
        if by_assistant:
            prompt = history.prompt
            answered = history.say if prompt else history.tokens
            turns.append(following(turns, prompt, sum(map(answered, group))))
            unanswered = False
        else:
            for message in group:
                history.say(message)
                unanswered = unanswered or message.role != "system"
    if unanswered:
        turns.append(following(turns, history.prompt, 0))
    return tuple(turns)


def call_text(name: str, arguments: Any) -> str:
    """How a call of a tool is told in words: as JSON on one line, arguments that are words already as they are."""
    told = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {told}}}'
