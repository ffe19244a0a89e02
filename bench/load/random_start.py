"""Beginning a session in its middle, as if its earlier turns had been answered before the run."""

from __future__ import annotations

import random
from dataclasses import replace

from bench.core.sessions import Session, Turn


def random_start(session: Session, seed: int, lane: int) -> tuple[Turn | None, tuple[Turn, ...]]:
    """What lane number `lane` sends of its first `session`: `begun_at` a turn of the session's own agent, any alike."""
    own = [turn.index for turn in session.turns if turn.agent == 0]
    return begun_at(session, random.Random(f"{seed}/{lane}").choice(own))


def begun_at(session: Session, start: int) -> tuple[Turn | None, tuple[Turn, ...]]:
    """The turn to warm up with and the turns left, where `session` begins at the turn with index `start`.

    Left are that turn, due at once, and all that depend on it; what else these waited for counts as completed, and so
    does a sub-agent that began earlier. The warm-up is the prompt that `start` goes on from, its own agent's last one,
    with one token of output; None where `start` waited for nothing.
    """
    beginning = next(turn for turn in session.turns if turn.index == start)
    left = {start}
    for turn in sorted(session.turns, key=lambda turn: turn.index):  # each comes after those it waits for
        if left.intersection(turn.after):
            left.add(turn.index)
    turns = tuple(
        _at_once(turn) if turn is beginning else replace(turn, after=tuple(left.intersection(turn.after)))
        for turn in session.turns
        if turn.index in left
    )
    before = [turn for turn in session.turns if turn.index in beginning.after]
    if not before:
        return None, turns
    goes_on_from = max(before, key=lambda turn: (turn.agent == beginning.agent, turn.prompt_tokens))
    return replace(_at_once(goes_on_from), output_tokens=1, thinking_tokens=0, check=None), turns


def _at_once(turn: Turn) -> Turn:
    return replace(turn, after=(), delay_s=0.0, delay_class="none")
