"""Rows of sessions that run at the same time, gathered while a trace is read once and never held whole.

A session is complete when none of its rows came for `IDLE_S` of the trace's own time. Sessions leave in the order they
began, so one that goes on holds back those that began after it; when `MOST_HELD` rows are held, the oldest session is
taken for complete all the same. What comes later of a session that left begins another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

IDLE_S = 3600.0
MOST_HELD = 100_000

Row = TypeVar("Row")


@dataclass(slots=True)
class Gathered(Generic[Row]):
    """The rows of one session, in the trace's order."""

    rows: list[Row] = field(default_factory=list)
    names: list[Hashable] = field(default_factory=list)
    """What its rows are found by."""
    last_s: float = 0.0


class OpenSessions(Generic[Row]):
    """Every session that may go on, and those complete ones that began after one of them."""

    def __init__(self) -> None:
        self._began: deque[Gathered[Row]] = deque()
        self._open: dict[Hashable, Gathered[Row]] = {}
        self._held = 0

    def __len__(self) -> int:
        """Rows held."""
        return self._held

    def __contains__(self, name: Hashable) -> bool:
        return name in self._open

    def add(self, row: Row, now_s: float, *, joins: Hashable = None, name: Hashable = None) -> bool:
        """`row` joins the session found by `joins`, or begins one; later rows find it by `name`. Says if it began one.

        With neither it is a session of its own. `now_s` never falls.
        """
        session = self._open.get(joins) if joins is not None else None
        begins = session is None or session.last_s + IDLE_S <= now_s
        if session is None or begins:
            session = Gathered()
            self._began.append(session)
        session.rows.append(row)
        session.last_s = now_s if name is not None else -IDLE_S  # Nothing can join what has no name.
        if name is not None and self._open.get(name) is not session:
            session.names.append(name)
            self._open[name] = session
        self._held += 1
        return begins

    def complete(self, now_s: float) -> Iterator[list[Row]]:
        """Sessions that are complete, and whose turn it is to leave."""
        while self._began and (self._began[0].last_s + IDLE_S <= now_s or self._held > MOST_HELD):
            yield self._leave()

    def rest(self) -> Iterator[list[Row]]:
        """All that is left at the trace's end."""
        while self._began:
            yield self._leave()

    def _leave(self) -> list[Row]:
        session = self._began.popleft()
        for name in session.names:
            if self._open.get(name) is session:
                del self._open[name]
        self._held -= len(session.rows)
        return session.rows
