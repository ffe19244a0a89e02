"""Where one turn's tokens land: arrival times and counts, straight into the row that will be written."""

from __future__ import annotations

import asyncio

from bench.core.records import Chunk, Finish, TurnRow


class TurnSink:
    """Fills a TurnRow as its turn is answered; `done` is set when nothing more will arrive.

    With pinned lengths the answer begins at the declared token index, because EOS and tags mean nothing then;
    with free lengths it begins where the engine saw it begin. `answer`, where it is given, keeps what was answered
    after the thinking.
    """

    __slots__ = ("_engine_last_ns", "_pinned", "answer", "done", "row")

    def __init__(self, row: TurnRow, done: asyncio.Future[None], *, pinned: bool, answer: Answer | None = None) -> None:
        self.row = row
        self.done = done
        self.answer = answer
        self._pinned = pinned
        self._engine_last_ns: int | None = None

    def chunk(self, chunk: Chunk) -> None:
        row = self.row
        if self.answer is not None and chunk.kind == "answer":
            self.answer.add(chunk)
        if chunk.n_tokens == 0:
            return
        if row.t_last_ns is None:
            row.t_first_ns = chunk.t_ns
        if chunk.t_ns == row.t_last_ns:
            # Thinking that ends and an answer that begins in one packet: what arrived together has no gap.
            row.chunk_tokens[-1] += chunk.n_tokens
        else:
            row.chunk_t_ns.append(chunk.t_ns - (row.t_last_ns or 0))
            row.chunk_tokens.append(chunk.n_tokens)
            row.t_last_ns = chunk.t_ns
            if chunk.t_engine_ns is not None:
                row.chunk_t_engine_ns.append(chunk.t_engine_ns - (self._engine_last_ns or 0))
                self._engine_last_ns = chunk.t_engine_ns
        row.output_tokens += chunk.n_tokens
        if self._pinned:
            row.thinking_tokens = min(row.output_tokens, row.asked_thinking_tokens)
            answering = row.output_tokens > row.asked_thinking_tokens
        else:
            answering = chunk.kind == "answer"
            row.thinking_tokens += 0 if answering else chunk.n_tokens
        if answering and row.t_answer_ns is None:
            row.t_answer_ns = chunk.t_ns

    def finish(self, finish: Finish) -> None:
        row = self.row
        row.t_done_ns = finish.t_ns
        row.finish = finish.reason
        row.cached_tokens = finish.cached_tokens
        row.error = finish.error
        row.engine_prompt_tokens = finish.prompt_tokens
        row.retries = finish.retries
        row.notes = " ".join(finish.notes) or None
        row.status = finish.reason if finish.reason in ("failed", "cancelled") else "ok"
        if not self.done.done():  # whoever waited for it may have been cancelled
            self.done.set_result(None)


class Answer:
    """The words of an answer, as text or as tokens, whichever an engine gives."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._token_ids: list[int] = []

    @property
    def text(self) -> str | None:
        """What came as text; None where only tokens came."""
        return "".join(self._texts) if self._texts or not self._token_ids else None

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(self._token_ids)

    def add(self, chunk: Chunk) -> None:
        if chunk.text is not None:
            self._texts.append(chunk.text)
        elif chunk.token_ids is not None:
            self._token_ids += chunk.token_ids
