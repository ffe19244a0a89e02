"""Sessions without the words they are about."""

from __future__ import annotations

from dataclasses import replace

from bench.core.sessions import Session, Turn


def wordless(session: Session) -> Session:
    """`session` with tokens drawn in place of its words, as many, and nothing to check.

    Words are the same in every run, whatever its salt: a prefix cache that has seen them knows them again.
    """
    return replace(session, turns=tuple(_wordless(turn) for turn in session.turns))


def _wordless(turn: Turn) -> Turn:
    return replace(turn, prompt=tuple(replace(segment, text=None) for segment in turn.prompt), check=None)
