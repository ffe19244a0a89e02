"""The workload of a case: the sessions that will be asked, and an account of everything that will not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.sessions import Session
from bench.core.spec import (
    AgenticSpec,
    ChatSpec,
    CodeCompletionSpec,
    FixedSpec,
    MultimodalSpec,
    RagSpec,
    ReasoningSpec,
    TasksSpec,
    TraceSpec,
    WorkloadSpec,
)
from bench.workload.agentic import draw_agentic
from bench.workload.chat_sessions import draw_chat
from bench.workload.code_completion import draw_code_completion
from bench.workload.fixed import fixed_sessions
from bench.workload.multimodal import draw_multimodal
from bench.workload.rag import draw_rag
from bench.workload.reasoning import draw_reasoning
from bench.workload.scaling import cap_delays, scale_session
from bench.workload.sessions_digest import digest_of_sessions
from bench.workload.stream import LeftOut, SessionStream
from bench.workload.tasks import task_sessions
from bench.workload.thinking import thinking_asked
from bench.workload.traces.format import Reading, estimated_tokens
from bench.workload.traces.importer import open_trace

TOO_LONG = "longer than the model's context"
OVER_BUDGET = "beyond max_turns"
TOO_EARLY = "before from_s"
TOO_LATE = "at until_s or later"


@dataclass(frozen=True)
class WorkloadSource:
    """What the sessions were made from. Every row is either used or left out: `rows_in_file` is the sum of both."""

    format: str
    attribution: str
    """Licence and whom to cite."""
    rows_in_file: int
    """Requests in the trace, sub-agents' included, or turns drawn from the profile or from what the trace says."""
    sessions_used: int
    turns_used: int
    source_input_tokens: int
    """Prompt tokens of the used rows as the source has them."""
    source_output_tokens: int
    input_tokens: int
    """The same after `token_scale`."""
    output_tokens: int
    left_out: dict[str, int]
    """Rows left out, by reason."""
    capped_delays: int
    """Used turns whose delay was longer than `idle_gap_cap_s` and is now that."""


@dataclass(frozen=True)
class Workload:
    sessions: tuple[Session, ...]
    digest: str
    """Names the sessions and how they are asked, wherever they came from."""
    source: WorkloadSource

    @property
    def has_pictures(self) -> bool:
        """Whether only an engine that takes images can be asked."""
        return any(part.picture for session in self.sessions for turn in session.turns for part in turn.prompt)


def build_workload(
    spec: WorkloadSpec, max_context_tokens: int, count_tokens: Callable[[str], int] | None = None
) -> Workload:
    """The sessions that `spec` asks for and that fit a context of `max_context_tokens`, prompt and output together.

    `count_tokens` counts the tokens of a trace's texts; without it they are estimated from their length.
    Nothing is ever cut short: a session with a turn that does not fit is left out, and so are, where the spec has a
    budget of turns, the first session that would exceed it and all after it; of a trace that sessions are drawn from,
    those are not drawn. Raises InputError where the source is broken or no session is left.
    """
    stream = _open(spec, Reading(count_tokens or estimated_tokens, spec.seed))
    selection = _Selection(spec, max_context_tokens)
    for item in stream.items:
        selection.consider(item)
        if stream.drawn and selection.is_over:
            break
    if not selection.sessions:
        reasons = ", ".join(f"{rows} rows {reason}" for reason, rows in selection.left_out.items())
        raise InputError(
            f"no session can be used: {reasons}",
            where=_place(spec),
            allowed=f"a session within {max_context_tokens} tokens after token_scale, within its window and max_turns"
            + (f": {selection.needed_turns} or more" if selection.needed_turns else ""),
        )
    sessions = tuple(selection.sessions)
    return Workload(sessions, digest_of_sessions(spec, sessions), selection.account(stream))


class _Selection:
    """Chooses sessions in the source's order and keeps the account."""

    def __init__(self, spec: WorkloadSpec, max_context_tokens: int) -> None:
        self._spec = spec
        self._window = spec if isinstance(spec, TraceSpec) and (spec.from_s or spec.until_s is not None) else None
        self._max_context_tokens = max_context_tokens
        self._thinking_asked = thinking_asked(spec)
        self._turns_left = spec.max_turns if isinstance(spec, TraceSpec) else None
        self._rows = self._capped = self._source_input = self._source_output = 0
        self.sessions: list[Session] = []
        self.left_out: Counter[str] = Counter()
        self.needed_turns = 0
        """Of the first session that exceeds the budget."""

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows can be chosen, where sessions come in the order of their arrival."""
        return self._turns_left == 0 or TOO_LATE in self.left_out

    def consider(self, item: Session | LeftOut) -> None:
        if isinstance(item, LeftOut):
            self._leave_out(item.reason, item.turns)
            return
        outside = None if self._window is None else _outside(self._window, item)
        if outside is not None:
            self._leave_out(outside, len(item.turns))
        elif self._turns_left == 0:
            # Most of a long trace: it is not worth making these as they would be asked, only to see whether they fit.
            self._leave_out(OVER_BUDGET, len(item.turns))
        else:
            self._choose(item)

    def _choose(self, item: Session) -> None:
        turns = len(item.turns)
        session, capped = self._as_asked(item)
        if session.peak_tokens > self._max_context_tokens:
            self._leave_out(TOO_LONG, turns)
        elif self._turns_left is not None and turns > self._turns_left:
            self._turns_left = 0  # Taking shorter sessions from further on instead would favour short ones.
            self.needed_turns = turns
            self._leave_out(OVER_BUDGET, turns)
        else:
            self._turns_left = None if self._turns_left is None else self._turns_left - turns
            self.sessions.append(session)
            self._rows += turns
            self._capped += capped
            self._source_input += _input_tokens(item)
            self._source_output += _output_tokens(item)

    def _as_asked(self, session: Session) -> tuple[Session, int]:
        """`session` with the suite's scale, delays and thinking, and how many of its delays were cut."""
        scaled = scale_session(session, self._spec.token_scale)
        return cap_delays(self._thinking_asked(scaled), self._spec.idle_gap_cap_s)

    def _leave_out(self, reason: str, rows: int) -> None:
        self._rows += rows
        self.left_out[reason] += rows

    def account(self, stream: SessionStream) -> WorkloadSource:
        return WorkloadSource(
            format=stream.format,
            attribution=stream.attribution,
            rows_in_file=self._rows,
            sessions_used=len(self.sessions),
            turns_used=sum(len(session.turns) for session in self.sessions),
            source_input_tokens=self._source_input,
            source_output_tokens=self._source_output,
            input_tokens=sum(map(_input_tokens, self.sessions)),
            output_tokens=sum(map(_output_tokens, self.sessions)),
            left_out=dict(self.left_out),
            capped_delays=self._capped,
        )


def _open(spec: WorkloadSpec, reading: Reading) -> SessionStream:
    match spec:
        case ReasoningSpec():
            return draw_reasoning(spec)
        case AgenticSpec():
            return draw_agentic(spec)
        case ChatSpec():
            return draw_chat(spec)
        case RagSpec():
            return draw_rag(spec)
        case CodeCompletionSpec():
            return draw_code_completion(spec)
        case MultimodalSpec():
            return draw_multimodal(spec)
        case FixedSpec():
            return fixed_sessions(spec)
        case TraceSpec():
            return open_trace(Path(spec.path).expanduser(), reading)
        case TasksSpec():
            return task_sessions(spec, reading.count_tokens)


def _place(spec: WorkloadSpec) -> str:
    match spec:
        case TraceSpec() | TasksSpec():
            return spec.path
        case FixedSpec():
            return "workload"
        case _:
            return f"workload.profile = {spec.profile}"


def _outside(window: TraceSpec, session: Session) -> str | None:
    """Why `session` is not in the part of the trace that is asked for; None where it is."""
    if session.arrival_s is None:
        raise InputError(
            f"session {session.id} says not when it began", where=window.path, allowed="no from_s and no until_s"
        )
    if session.arrival_s < window.from_s:
        return TOO_EARLY
    return TOO_LATE if window.until_s is not None and session.arrival_s >= window.until_s else None


def _input_tokens(session: Session) -> int:
    return sum(turn.prompt_tokens for turn in session.turns)


def _output_tokens(session: Session) -> int:
    return sum(turn.output_tokens for turn in session.turns)
