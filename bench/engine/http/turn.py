"""A turn in flight: its request's exchange, read in slices and told to its sink at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from bench.core.protocols import Sink
from bench.core.records import Chunk, Finish, FinishReason
from bench.core.sessions import TurnRequest
from bench.engine.http.answer import AnswerReader, DocumentReader, StreamReader
from bench.engine.http.completion import AnswerFormat, told_error
from bench.engine.http.exchange import Exchange
from bench.engine.http.failures import ExchangeError, one_line
from bench.engine.http.message import Answer

_PIECES_A_STEP = 64
_CHUNKS_A_STEP = 256
_KEPT_ERROR_BYTES = 65_536


class TurnOwner(Protocol):
    """Who runs turns."""

    secret: str | None
    """What no record may show."""
    answers: AnswerFormat

    def later(self, turn: HttpTurn, *, urgent: bool) -> None:
        """Call `turn.step` when there is time."""

    def broke(self, turn: HttpTurn) -> None:
        """What arrives is no answer, and the rest of it is not wanted."""

    def again(self, turn: HttpTurn, failure: ExchangeError) -> bool:
        """Send `turn`, which has no token, again if that is asked for after `failure`. Returns whether it is."""

    def answered_by(self, model: str) -> tuple[str, ...]:
        """Notes on the server's name for the model it answered with. Raises ExchangeError for one not asked for."""

    def done(self, turn: HttpTurn, finish: Finish) -> None:
        """`turn` told its sink all but its end."""

    def now_ns(self) -> int: ...


class HttpTurn(Exchange):
    """Its sink hears nothing before the end: only then is it known how many tokens the server says there were."""

    __slots__ = (
        "_chunks",
        "_error_body",
        "_finish",
        "_over",
        "_owner",
        "_queued",
        "_reader",
        "_told",
        "request",
        "retries",
        "retry",
        "sink",
        "tokens",
    )

    def __init__(self, request: TurnRequest, sink: Sink, owner: TurnOwner, deadline_ns: int) -> None:
        self.request = request
        self.sink = sink
        self.retries = 0
        self.retry: asyncio.TimerHandle | None = None
        """Its next sending, while it waits for that."""
        self._owner = owner
        super().__init__(request.body, deadline_ns)

    def restart(self) -> None:
        super().restart()
        self._reader: AnswerReader | None = None
        self._error_body = b""
        self._over = False
        self._queued = False
        self._finish: Finish | None = None
        self._chunks: Iterator[Chunk] = iter(())
        self._told = False
        self.tokens = 0
        """Of its answer, or of what there was of one when it failed or was cancelled."""

    def grew(self) -> None:
        if not self._queued:
            self._queued = True
            self._owner.later(self, urgent=False)

    def ended(self) -> None:
        self._over = True
        self._owner.later(self, urgent=True)

    def step(self) -> bool:
        """Read some of what arrived, or tell some of what was read."""
        if self._finish is None:
            try:
                self._read(_PIECES_A_STEP)
                if self.bodies:
                    return False
                if not self._over:
                    self._queued = False
                    return True
                self._conclude_whole()
            except ExchangeError as failure:
                if not self._over:
                    self._owner.broke(self)
                if not self._any_token and self._owner.again(self, failure):
                    return True
                self._conclude_broken("failed", error=str(failure))
        return self._tell(_CHUNKS_A_STEP)

    @property
    def _any_token(self) -> bool:
        return self._reader is not None and self._reader.partial().tokens > 0

    def cancelled(self) -> None:
        """Tell what arrived, and that no more of it is wanted. The exchange has been stopped."""
        if self._finish is None:
            with contextlib.suppress(ExchangeError):
                self._read(len(self.bodies))
            self._conclude_broken("cancelled")
        self._tell(None)

    def _read(self, pieces: int) -> None:
        if not self.bodies:
            return
        stamps, bodies = self.stamps, self.bodies
        if len(bodies) > pieces:
            self.stamps, self.bodies = stamps[pieces:], bodies[pieces:]
            del stamps[pieces:], bodies[pieces:]
        else:
            self.stamps, self.bodies = [], []
        self.body_bytes = 0
        if self.status != 200:
            self._error_body += b"".join(bodies)[: _KEPT_ERROR_BYTES - len(self._error_body)]
            return
        reader = self._reader or self._opened_reader()
        begin, end = 0, 1
        while begin < len(bodies):
            while end < len(bodies) and stamps[end] == stamps[begin]:
                end += 1
            # What came in one packet is read as one, however many chunks of HTTP it was.
            reader.read(stamps[begin], bodies[begin] if end == begin + 1 else b"".join(bodies[begin:end]))
            begin, end = end, end + 1

    def _opened_reader(self) -> AnswerReader:
        kind = (self.header(b"content-type") or "text/event-stream").lower()
        if "html" in kind:
            raise ExchangeError("garbage", f"content of type {one_line(kind, self._owner.secret)}")
        encoding = self.header(b"content-encoding") or "identity"
        if encoding.lower() != "identity":
            raise ExchangeError("garbage", f"content encoded as {one_line(encoding, self._owner.secret)}")
        self._reader = (DocumentReader if "json" in kind else StreamReader)(
            self.request, self._owner.answers, self._owner.secret
        )
        return self._reader

    def _conclude_whole(self) -> None:
        if self.status not in (0, 200):
            raise self._refusal()  # whatever became of the rest of it
        if self.failure is not None:
            raise self.failure
        answer = (self._reader or self._opened_reader()).answer()
        notes = answer.notes
        if answer.model is not None:
            notes = (*notes, *self._owner.answered_by(answer.model))
        self._take(answer)
        if self.request.ignore_eos and answer.tokens != self.request.max_tokens:
            notes = (*notes, "fewer_tokens" if answer.tokens < self.request.max_tokens else "more_tokens")
        self._finish = Finish(
            self.heard_ns,
            answer.reason,
            cached_tokens=answer.usage.cached_tokens if answer.usage is not None else None,
            prompt_tokens=answer.usage.prompt_tokens if answer.usage is not None else None,
            retries=self.retries,
            notes=(*notes, "reconnect") if self.reconnected else notes,
        )

    def _conclude_broken(self, reason: FinishReason, error: str | None = None) -> None:
        if self._reader is not None:
            self._take(self._reader.partial())
        notes = ("reconnect",) if self.reconnected else ()
        self._finish = Finish(self._owner.now_ns(), reason, error=error, retries=self.retries, notes=notes)

    def _take(self, answer: Answer) -> None:
        self._chunks, self.tokens = answer.chunks, answer.tokens

    def _refusal(self) -> ExchangeError:
        """An answer that says no. A Retry-After that is a date is not heeded."""
        seconds = self.header(b"retry-after")
        retry_after_s = float(seconds) if seconds is not None and seconds.isdecimal() else None
        told = [] if retry_after_s is None else [f"Retry-After {retry_after_s:g} s"]
        if location := self.header(b"location"):
            told.append(one_line(f"moved to {location}", self._owner.secret))
        told += [line] if (line := told_error(self._error_body, self._owner.secret)) else []
        return ExchangeError(f"http_{self.status}", "; ".join(told), retry_after_s=retry_after_s)

    def _tell(self, most: int | None) -> bool:
        """Give the sink `most` further chunks, and its end after the last. Returns whether it has all."""
        assert self._finish is not None
        if self._told:
            return True  # it was queued twice, or cancelled meanwhile
        chunks = list(islice(self._chunks, most))
        for chunk in chunks:
            self.sink.chunk(chunk)
        if len(chunks) == most:
            return False
        self._told = True
        self._owner.done(self, self._finish)
        self.sink.finish(self._finish)
        return True
