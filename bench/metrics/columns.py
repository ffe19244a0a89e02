"""The turns table as numpy columns, in the order of sending."""

from __future__ import annotations

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
    chunk_turn: Ints
    """Row of the turn a chunk belongs to, ascending, (m,)."""
    chunk_t: Floats
    chunk_tokens: Ints
    warmup_turns: int
    """How many turns were left out as warm-up."""

    def __len__(self) -> int:
        return len(self.due)

    @property
    def sessions(self) -> int:
        return int(self.session.max()) + 1 if len(self) else 0

    @classmethod
    def of(cls, table: Any, *, start_ns: int) -> TurnColumns:
        """The columns of a turns table (`pyarrow.Table`, a row a TurnRow) of a run that began at `start_ns`.

        Raises InputError when a turn's chunks do not have one time and one count each, or a time is out of reach.
        """
        measured = table.filter(pc.invert(table["warmup"])).sort_by(
            [("t_send_ns", "ascending"), ("session_id", "ascending"), ("turn_index", "ascending")]
        )

        def column(name: str) -> Any:
            return measured[name].combine_chunks()

        def ints(name: str) -> Ints:
            return _ints(column(name))

        def time(name: str) -> Floats:
            try:
                return _floats(pc.subtract(column(name), start_ns))
            except pa.ArrowInvalid:
                raise InputError(f"{name} lies over 104 days from the run's start", where="turns table") from None

        if not column("chunk_t_ns").value_lengths().equals(column("chunk_tokens").value_lengths()):
            raise InputError("chunk_t_ns and chunk_tokens differ in length", where="turns table")
        chunk_turn, chunk_t = _chunk_times(column("chunk_t_ns"), start_ns)
        status = column("status")
        return cls(
            session=_ints(column("session_id").dictionary_encode().indices),
            foreground=_flags(column("foreground")),
            ok=_flags(pc.equal(status, "ok")),
            failed=_flags(pc.equal(status, "failed")),
            error=tuple(column("error").to_pylist()),
            due=time("t_due_ns"),
            send=time("t_send_ns"),
            hold=_floats(column("hold_ns")),
            first=time("t_first_ns"),
            answer=time("t_answer_ns"),
            last=time("t_last_ns"),
            done=time("t_done_ns"),
            prompt_tokens=ints("prompt_tokens"),
            shared_tokens=ints("shared_tokens"),
            cached_tokens=_floats(column("cached_tokens")),
            asked_output_tokens=ints("asked_output_tokens"),
            output_tokens=ints("output_tokens"),
            thinking_tokens=ints("thinking_tokens"),
            chunk_turn=chunk_turn,
            chunk_t=chunk_t,
            chunk_tokens=_ints(column("chunk_tokens").flatten()),
            warmup_turns=len(table) - len(measured),
        )


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
