"""How hard models are asked to think, request by request, and how long they may."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

from bench.core.sessions import Effort, Session, Turn
from bench.core.spec import WorkloadSpec


def thinking_asked(spec: WorkloadSpec) -> Callable[[Session], Session]:
    """What gives the turns of a session their effort and their thinking budget, as `spec` says.

    Effort is drawn for each turn by its name, so that it does not depend on which other sessions are asked. Where
    lengths are pinned the budget shortens the thinking and the answer keeps its length; where they are free the engine
    is told it. It counts tokens as they are asked: `token_scale` does not change it.
    """
    if not spec.effort and spec.thinking_budget is None:
        return lambda session: session
    levels = sorted(spec.effort)  # However the suite orders them
    bounds = list(accumulate(spec.effort[level] for level in levels))

    def effort_of(session: Session, turn: Turn) -> Effort | None:
        if not levels:
            return turn.effort
        name = f"{spec.seed}/{session.id}/{turn.index}".encode()
        rank = int.from_bytes(hashlib.blake2b(name, digest_size=6).digest()) / 2**48
        return levels[bisect(bounds, rank * bounds[-1])]

    def asked(session: Session) -> Session:
        turns = (replace(turn, effort=effort_of(session, turn)) for turn in session.turns)
        return replace(session, turns=tuple(_budgeted(turn, spec) for turn in turns))

    return asked


def _budgeted(turn: Turn, spec: WorkloadSpec) -> Turn:
    if spec.thinking_budget is None:
        return turn
    if spec.length_mode == "free":
        return replace(turn, thinking_budget=spec.thinking_budget)
    thinking = min(turn.thinking_tokens, spec.thinking_budget)
    answer = turn.output_tokens - turn.thinking_tokens
    return replace(turn, output_tokens=thinking + answer, thinking_tokens=thinking)
