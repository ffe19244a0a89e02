"""Judging answers while the run goes on, away from the event loop and one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench.core.records import TurnRow
from bench.core.sessions import Check
from bench.load.row_log import RowLog
from bench.load.turn_sink import Answer

LIMIT_S = 10.0
"""Longest that one answer is judged."""


class Judge:
    """Says of each answered turn that has a check whether it is correct, and then logs it."""

    def __init__(self, rows: RowLog, text_of: Callable[[tuple[int, ...]], str]) -> None:
        self._rows = rows
        self._text_of = text_of
        self._waiting: asyncio.Queue[tuple[TurnRow, Check, Answer]] = asyncio.Queue()

    def add(self, row: TurnRow, check: Check, answer: Answer) -> None:
        self._waiting.put_nowait((row, check, answer))

    async def keep_judging(self) -> None:
        """Judge until this is cancelled."""
        while True:
            row, check, answer = await self._waiting.get()
            try:
                row.correct = await asyncio.to_thread(self._correct, check, answer)
            finally:
                self._rows.add(row)
                self._waiting.task_done()

    async def finished(self) -> None:
        """Return once everything that was added is judged."""
        await self._waiting.join()

    def give_up(self) -> None:
        """Log what is not judged yet as it is."""
        while not self._waiting.empty():
            row, _, _ = self._waiting.get_nowait()
            self._rows.add(row)

    def _correct(self, check: Check, answer: Answer) -> bool:
        from bench.load.checks import passes  # few workloads have answers to check

        try:
            text = answer.text
            return passes(check, self._text_of(answer.token_ids) if text is None else text, LIMIT_S)
        except Exception:  # noqa: BLE001 - an answer that breaks its check is no correct one
            return False
