"""What a source of sessions hands over, whether it drew them or read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bench.core.sessions import Session, Turn

NO_OUTPUT = "no output tokens"
NO_PROMPT = "no prompt tokens"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Turns of the source that cannot be asked, and why."""

    reason: str
    turns: int


@dataclass(frozen=True, slots=True)
class SessionStream:
    """Sessions one by one, in the source's order and with its own token counts and delays.

    A segment key stands for the same tokens, as far as a segment goes, in every prompt that has it.
    """

    format: str
    attribution: str
    """Licence and whom to cite."""
    items: Iterator[Session | LeftOut]
    """May raise InputError where the source turns out to be broken."""
    block_tokens: int | None = None
    """Of a trace whose format has hashed blocks of one size."""
    drawn: bool = False
    """Whether a trace's sessions are drawn from what it says, and not recorded in it."""


def askable(items: Iterable[Session | LeftOut]) -> Iterator[Session | LeftOut]:
    """`items` without the turns that have no prompt or no output, each of which is left out before its session.

    What waited for such a turn waits for what that one waited for, and longer by its delay.
    """
    for item in items:
        if isinstance(item, LeftOut) or all(turn.output_tokens and turn.prompt for turn in item.turns):
            yield item
        else:
            yield from _without_empty_turns(item)


def _without_empty_turns(session: Session) -> Iterator[Session | LeftOut]:
    kept: list[Turn] = []
    became: dict[int, int] = {}
    dropped: dict[int, tuple[tuple[int, ...], float]] = {}
    """For each turn left out, what it waited for, as places in `kept`, and how long."""
    for turn in session.turns:
        waits_for: dict[int, None] = {}  # A set that keeps its order
        longer_s = 0.0
        for index in turn.after:
            places, delay_s = dropped.get(index) or ((became[index],), 0.0)
            waits_for.update(dict.fromkeys(places))
            longer_s = max(longer_s, delay_s)
        after, delay_s = tuple(waits_for), turn.delay_s + longer_s
        if turn.prompt and turn.output_tokens:
            became[turn.index] = len(kept)
            waits = turn.delay_class if after else "none"
            kept.append(replace(turn, index=len(kept), after=after, delay_s=delay_s, delay_class=waits))
        else:
            dropped[turn.index] = after, delay_s
            yield LeftOut(NO_OUTPUT if turn.prompt else NO_PROMPT, 1)
    if kept:
        yield replace(session, turns=tuple(kept))
