"""What stands around a prompt's own tokens: a chat template's, so that a model answers instead of going on, and what a
tokenizer adds to every text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.errors import InputError
from bench.core.sessions import Effort, Message
from bench.workload.vocabulary import Vocabulary

_SENTINEL = "neobench-user-message"
_OPENERS = 128
_PROBE_WORDS = 32


@dataclass(frozen=True)
class Framing:
    """What stands before and after the user's message. Both are part of a prompt's token count."""

    head: tuple[int, ...]
    tail: tuple[int, ...]
    before: str = ""
    """Text of `head`, where the whole prompt is one text."""
    after: str = ""
    openers: tuple[tuple[int, str], ...] = ()
    """What may stand first in a message that is text: tokens, and how they read there. Empty: whatever is drawn."""

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this many tokens has room for the framing and a message of one token or more."""
        return prompt_tokens > len(self.head) + len(self.tail)


NO_FRAMING = Framing((), ())


class _Probe(NamedTuple):
    """Tokens before the first word of a message, that word's, and those behind the message."""

    head: tuple[int, ...]
    opener: int
    tail: tuple[int, ...]


def split_template(template: ChatTemplate, effort: Effort | None, *, switches: bool = True) -> tuple[str, str]:
    """What a template puts before and after the message of one user. Raises InputError where it shows it not once."""
    halves = template.render([Message("user", _SENTINEL)], effort, switches=switches).split(_SENTINEL)
    if len(halves) != 2:
        raise InputError(
            f"the chat template shows the user's message {len(halves) - 1} times", where=template.folder, allowed="once"
        )
    return halves[0], halves[1]


def without_added(tokenizer: Tokenizer, text: str) -> str:
    """A text without what it begins with and the tokenizer adds anyway, as where a template writes its own BOS."""
    added = tokenizer.decode(tokenizer.encode("", add_special_tokens=True).ids, skip_special_tokens=False)
    return text.removeprefix(added)


def framing_of_tokens(tokenizer: Tokenizer, before: str, after: str) -> Framing:
    """The tokens of `before` and `after`, whatever is between them."""
    head, tail = (tokenizer.encode(half, add_special_tokens=False).ids for half in (before, after))
    return Framing(tuple(head), tuple(tail))


def framing_of_text(
    tokenizer: Tokenizer, words: Vocabulary, before: str, after: str, *, add_special: bool, where: Path
) -> Framing:
    """What `before` and `after` come to around a message of `words`, when all three are tokenized as one text.

    `add_special`: whether the tokenizer adds its own tokens to it. Raises InputError, naming `where`, where no message
    keeps its number of tokens.
    """
    if add_special:
        before = without_added(tokenizer, before)
    (u, u_text), (v, v_text) = words.word(0), words.word(1)
    texts = [words.word(place)[1].lstrip() for place in range(0, len(words), -(-len(words) // _OPENERS))]
    told = tokenizer.encode_batch_fast(
        [before + text + u_text + v_text + after for text in texts], add_special_tokens=add_special
    )
    probes = [(text, _probe(one.ids, [u, v])) for text, one in zip(texts, told, strict=True)]
    known = [(text, probe) for text, probe in probes if probe is not None]
    # An opener of several tokens seems to lengthen the head.
    shortest = min((len(probe.head) for _, probe in known), default=0)
    around = Counter((probe.head, probe.tail) for _, probe in known if len(probe.head) == shortest)
    for (head, tail), _ in around.most_common(1):
        openers = [(probe.opener, text) for text, probe in known if (probe.head, probe.tail) == (head, tail)]
        framing = Framing(head, tail, before, after, tuple(openers))
        framing = replace(framing, openers=_that_hold(tokenizer, words, framing, add_special=add_special))
        if framing.openers:
            return framing
    raise InputError(
        "a chat template or tokenizer in which no text has a known number of tokens",
        where=where,
        allowed="an engine that is asked in token ids",
    )


def _probe(ids: list[int], pair: list[int]) -> _Probe | None:
    """Takes apart the tokens of a text in which `pair` follows the first word of the message."""
    for place in range(len(ids) - 2, 0, -1):
        if ids[place : place + 2] == pair:
            return _Probe(tuple(ids[: place - 1]), ids[place - 1], tuple(ids[place + 2 :]))
    return None


def _that_hold(
    tokenizer: Tokenizer, words: Vocabulary, framing: Framing, *, add_special: bool
) -> tuple[tuple[int, str], ...]:
    """The openers after which a message of many words keeps its tokens between head and tail."""
    drawn = [words.places(f"probe {number}", 0, _PROBE_WORDS) for number in range(len(framing.openers))]
    told = tokenizer.encode_batch_fast(
        [
            framing.before + text + words.text(places) + framing.after
            for (_, text), places in zip(framing.openers, drawn, strict=True)
        ],
        add_special_tokens=add_special,
    )
    return tuple(
        opener
        for opener, places, one in zip(framing.openers, drawn, told, strict=True)
        if one.ids == [*framing.head, opener[0], *words.ids(places), *framing.tail]
    )


class Framings:
    """The framing of each effort, made when it is first asked for."""

    def __init__(self, make: Callable[[Effort | None], Framing]) -> None:
        self._make = make
        self._made: dict[Effort | None, Framing] = {None: make(None)}

    def of(self, effort: Effort | None) -> Framing:
        if effort not in self._made:
            self._made[effort] = self._make(effort)
        return self._made[effort]
