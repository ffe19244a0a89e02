"""The turns table as numpy columns, in the order of sending."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.core.errors import InputError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TurnColumns:
    """Every turn but the warm-up's, n of them, sorted by time of sending.

    Times are nanoseconds since the run's start as float64, which is exact for 104 days; NaN is "never happened".
    Chunks of all turns lie flat, m of them; `chunk_turn` says whose each is.
    """

    session: Ints
    """Number of the turn's session, (n,)."""
    session_ids: tuple[str, ...]
    """By that number."""
    turn_index: Ints
    foreground: Flags
    ok: Flags
    failed: Flags
    error: tuple[str | None, ...]
    due: Floats
    send: Floats
    hold: Floats
    """Duration, not a time."""
    first: Floats
    answer: Floats
    last: Floats
    done: Floats
    prompt_tokens: Ints
    shared_tokens: Ints
    cached_tokens: Floats
    """NaN where the engine does not say."""
    asked_output_tokens: Ints
    output_tokens: Ints
    thinking_tokens: Ints
    delay: Floats
    """Duration of what was waited for before the turn was due."""
    after_tool: Flags
    """Whether that was a tool."""
    after_human: Flags
    effort: tuple[str | None, ...]
    engine_prompt_tokens: Floats
    """NaN where the engine does not count them."""
    retries: Ints
    correct: Floats
    """1 and 0; NaN where the answer was not checked."""
    notes: tuple[str | None, ...]
    whole: Flags
    """Of each session: whether the run began and ended it, (sessions,)."""
    cut: Flags
    """Of each session: whether the end of the run did, (sessions,)."""
    chunk_turn: Ints
    """Row of the turn a chunk belongs to, ascending, (m,)."""
    chunk_t: Floats
    chunk_engine_t: Floats
    """The engine's own stamps; NaN where it has none."""
    chunk_tokens: Ints
    warmup_turns: int
    """How many turns were left out as warm-up."""

    def __len__(self) -> int:
        return len(self.due)

    @property
    def sessions(self) -> int:
        return int(self.session.max()) + 1 if len(self) else 0

    @classmethod
    def of(cls, table: Any, *, start_ns: int, cut_sessions: Collection[str] = ()) -> TurnColumns:
        """The columns of a turns table (`pyarrow.Table`, a row a TurnRow) of a run that began at `start_ns`.

        A session with a warm-up turn within the run began somewhere in its middle. Raises InputError when a turn's
        chunks do not have one time and one count each, or a time is out of reach.
        """
        rows = _Rows(table.filter(pc.invert(table["warmup"])), start_ns)
        chunk_turn, chunk_t = rows.chunks()
        status, sessions = rows.column("status"), rows.column("session_id").dictionary_encode()
        cut = _among(sessions.dictionary, cut_sessions)
        return cls(
            session=_ints(sessions.indices),
            session_ids=tuple(sessions.dictionary.to_pylist()),
            turn_index=rows.ints("turn_index"),
            foreground=_flags(rows.column("foreground")),
            ok=_flags(pc.equal(status, "ok")),
            failed=_flags(pc.equal(status, "failed")),
            error=rows.texts("error"),
            due=rows.time("t_due_ns"),
            send=rows.time("t_send_ns"),
            hold=rows.floats("hold_ns"),
            first=rows.time("t_first_ns"),
            answer=rows.time("t_answer_ns"),
            last=rows.time("t_last_ns"),
            done=rows.time("t_done_ns"),
            prompt_tokens=rows.ints("prompt_tokens"),
            shared_tokens=rows.ints("shared_tokens"),
            cached_tokens=rows.floats("cached_tokens"),
            asked_output_tokens=rows.ints("asked_output_tokens"),
            output_tokens=rows.ints("output_tokens"),
            thinking_tokens=rows.ints("thinking_tokens"),
            delay=np.nan_to_num(rows.floats("delay_ns")),
            after_tool=_flags(pc.equal(rows.column("delay_class"), "tool").fill_null(False)),
            after_human=_flags(pc.equal(rows.column("delay_class"), "human").fill_null(False)),
            effort=rows.texts("effort"),
            engine_prompt_tokens=rows.floats("engine_prompt_tokens"),
            retries=_ints(rows.column("retries").fill_null(0)),
            correct=rows.floats("correct"),
            notes=rows.texts("notes"),
            whole=~cut & ~_among(sessions.dictionary, _begun_in_the_middle(table, start_ns)),
            cut=cut,
            chunk_turn=chunk_turn,
            chunk_t=chunk_t,
            chunk_engine_t=rows.engine_stamps(chunk_turn),
            chunk_tokens=_ints(rows.column("chunk_tokens").flatten()),
            warmup_turns=len(table) - len(rows.table),
        )


_LATER_COLUMNS = {
    "delay_class": pa.string(),
    "delay_ns": pa.int64(),
    "effort": pa.string(),
    "engine_prompt_tokens": pa.int64(),
    "retries": pa.int64(),
    "correct": pa.bool_(),
    "notes": pa.string(),
}
"""Columns that an earlier version did not write: its turns say nothing there."""


class _Rows:
    """Turns in the order of sending, a column at a time."""

    def __init__(self, table: Any, start_ns: int) -> None:
        order = [("t_send_ns", "ascending"), ("session_id", "ascending"), ("turn_index", "ascending")]
        self.table = table.sort_by(order)
        self._start_ns = start_ns

    def column(self, name: str) -> Any:
        if name in _LATER_COLUMNS and name not in self.table.column_names:
            return pa.nulls(len(self.table), _LATER_COLUMNS[name])
        return self.table[name].combine_chunks()

    def ints(self, name: str) -> Ints:
        return _ints(self.column(name))

    def floats(self, name: str) -> Floats:
        return _floats(self.column(name))

    def texts(self, name: str) -> tuple[str | None, ...]:
        return tuple(self.column(name).to_pylist())

    def time(self, name: str) -> Floats:
        try:
            return _floats(pc.subtract(self.column(name), self._start_ns))
        except pa.ArrowInvalid:
            raise InputError(f"{name} lies over 104 days from the run's start", where="turns table") from None

    def chunks(self) -> tuple[Ints, Floats]:
        """Owner and time of each chunk."""
        times = self.column("chunk_t_ns")
        if not times.value_lengths().equals(self.column("chunk_tokens").value_lengths()):
            raise InputError("chunk_t_ns and chunk_tokens differ in length", where="turns table")
        return _chunk_times(times, self._start_ns)

    def engine_stamps(self, chunk_turn: Ints) -> Floats:
        """The engine's time of each chunk, given whose it is; NaN for all of a turn that has not one for each."""
        stamps = self.column("chunk_t_engine_ns")
        stamped = _ints(stamps.value_lengths()) == _ints(self.column("chunk_t_ns").value_lengths())
        found = np.full(len(chunk_turn), np.nan)
        owner, times = _chunk_times(stamps, self._start_ns)
        found[stamped[chunk_turn]] = times[stamped[owner]]
        return found


def _begun_in_the_middle(table: Any, start_ns: int) -> set[str]:
    """Sessions whose prompt up to some turn was warmed within the run."""
    warmed = table.filter(pc.and_(table["warmup"], pc.greater_equal(table["t_send_ns"], start_ns)))
    return set(warmed["session_id"].to_pylist())


def _among(names: Any, chosen: Collection[str]) -> Flags:
    return _flags(pc.is_in(names, value_set=pa.array(sorted(chosen), pa.string())))


def _chunk_times(deltas: Any, start_ns: int) -> tuple[Ints, Floats]:
    """Owner and time of each chunk from per-turn lists: the first absolute, the rest differences to the one before."""
    counts = _ints(deltas.value_lengths())
    running = np.cumsum(_ints(deltas.flatten()))  # may wrap around int64, which the subtraction undoes
    begins = np.cumsum(counts) - counts
    turns = np.flatnonzero(counts)
    before = np.zeros(len(counts), dtype=np.int64)
    before[turns] = np.where(begins[turns] > 0, running[begins[turns] - 1], 0)
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, (running - before[owner] - start_ns).astype(np.float64)


def _ints(array: Any) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)


def _floats(array: Any) -> Floats:
    return np.asarray(pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _flags(array: Any) -> Flags:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
