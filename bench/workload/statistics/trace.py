"""One pass over a trace: everything `bench traces show` tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.sessions import DelayClass, Session, Turn
from bench.workload.shared_prefix import SharedPrefix, pieces_of
from bench.workload.statistics.arrivals import ArrivalCounter, Arrivals
from bench.workload.statistics.distribution import Distribution, PositiveValues, WholeNumbers
from bench.workload.stream import LeftOut, SessionStream

COMPACTED_SHARE = 0.1
"""A turn that lost more than this share of the prompt before it was compacted, or its prefix was broken."""
_BUCKETS = 48
"""Of the histograms that are plotted: half an octave each, from 1 token to 16 million."""


@dataclass(frozen=True)
class Reuse:
    """What a prefix cache that never forgets would serve, turn by turn in the file's order."""

    token_share: float
    """Prompt tokens it would serve, of all."""
    block_share: float | None
    """Hashed blocks it would serve, of all; None where the trace has none."""
    uncached_tokens: Distribution | None
    """Prompt tokens that a turn leaves to compute."""
    compacted_turns: int
    """Turns that keep less than nine tenths of what they could of the turn they follow."""


@dataclass(frozen=True)
class SubAgents:
    sessions: int
    """Sessions that have any."""
    agents: int
    background: int
    """Agents that nobody waits for."""
    fan_out: Distribution | None
    """Agents that one turn launched."""
    turns: Distribution | None
    """Of an agent."""


@dataclass(frozen=True)
class TraceStatistics:
    format: str
    attribution: str
    rows: int
    sessions: int
    left_out: Mapping[str, int]
    """Rows that are no request that can be asked, by reason."""
    input_tokens: Distribution | None
    output_tokens: Distribution | None
    thinking_share: Distribution | None
    """Of outputs with thinking: formats do not tell none from unknown."""
    turns: Distribution | None
    """Of a session."""
    peak_tokens: Distribution | None
    """Longest prompt of a session."""
    arrivals: Arrivals | None
    """Of the sessions."""
    reuse: Reuse | None
    delays_s: Mapping[DelayClass, Distribution]
    """Time between turns, tool and human apart."""
    sub_agents: SubAgents | None
    pictures: int
    histograms: Mapping[str, tuple[int, ...]]
    """Turns by half octaves of their `input` and `output` tokens, from 1 on."""


def count_trace(stream: SessionStream) -> TraceStatistics:
    """Read `stream` to its end and count it. Raises InputError where the trace is broken.

    Memory: counters up to the longest prompt, a counter a second of the trace, and, where prompts can share tokens, a
    node for each distinct segment that can be met again.
    """
    counter = _Counter(stream)
    for item in stream.items:
        if isinstance(item, LeftOut):
            counter.left_out[item.reason] += item.turns
        else:
            counter.add(item)
    return counter.summary()


class _Counter:
    def __init__(self, stream: SessionStream) -> None:
        self._stream = stream
        self._rows = self._sessions = self._pictures = 0
        self.left_out: Counter[str] = Counter()
        self._input, self._output = WholeNumbers("a prompt"), WholeNumbers("an output")
        self._turns, self._peak = WholeNumbers("a session"), WholeNumbers("a prompt")
        self._thinking = PositiveValues()
        self._arrivals = ArrivalCounter()
        self._reuse = _ReuseCounter(stream)
        self._delays: dict[DelayClass, PositiveValues] = {}
        self._sub_agents = _SubAgentCounter()

    def add(self, session: Session) -> None:
        self._sessions += 1
        self._rows += len(session.turns)
        self._turns.add(len(session.turns))
        lengths = [turn.prompt_tokens for turn in session.turns]
        self._peak.add(max(lengths))
        if session.arrival_s is not None:
            self._arrivals.add(session.arrival_s)
        self._reuse.add(session, lengths)
        for turn, tokens in zip(session.turns, lengths, strict=True):
            self._input.add(tokens)
            self._add_turn(turn)
        self._sub_agents.add(session)

    def _add_turn(self, turn: Turn) -> None:
        self._output.add(turn.output_tokens)
        if turn.thinking_tokens:
            self._thinking.add(turn.thinking_tokens / turn.output_tokens)
        if turn.delay_class != "none":
            self._delays.setdefault(turn.delay_class, PositiveValues()).add(turn.delay_s)
        self._pictures += sum(segment.picture is not None for segment in turn.prompt)

    def summary(self) -> TraceStatistics:
        delays = {name: values.summary() for name, values in self._delays.items()}
        return TraceStatistics(
            format=self._stream.format,
            attribution=self._stream.attribution,
            rows=self._rows + sum(self.left_out.values()),
            sessions=self._sessions,
            left_out=dict(self.left_out),
            input_tokens=self._input.summary(),
            output_tokens=self._output.summary(),
            thinking_share=self._thinking.summary(),
            turns=self._turns.summary(),
            peak_tokens=self._peak.summary(),
            arrivals=self._arrivals.summary(),
            reuse=self._reuse.summary(),
            delays_s={name: told for name, told in delays.items() if told is not None},
            sub_agents=self._sub_agents.summary(),
            pictures=self._pictures,
            histograms={"input": _half_octaves(self._input), "output": _half_octaves(self._output)},
        )


class _ReuseCounter:
    """Shared tokens of each turn, through the same tree that a run's turns are held to."""

    def __init__(self, stream: SessionStream) -> None:
        self._block_tokens = stream.block_tokens
        self._drawn = stream.drawn
        self._prompts = SharedPrefix()
        self._uncached = WholeNumbers("a prompt")
        self._tokens = self._shared = self._blocks = self._shared_blocks = self._compacted = 0
        self._can_share = False

    def add(self, session: Session, lengths: Sequence[int]) -> None:
        """`lengths`: prompt tokens of each turn."""
        # What is drawn and a lone prompt that is not taken apart share nothing: millions must not be remembered.
        lone = self._block_tokens is None and len(session.turns) == 1 and len(session.turns[0].prompt) < 2
        alone = self._drawn or lone
        self._can_share |= not alone
        for turn, tokens in zip(session.turns, lengths, strict=True):
            shared = 0 if alone else self._prompts.add(pieces_of(turn.prompt))
            before = max((lengths[index] for index in turn.after), default=0)
            self._tokens += tokens
            self._shared += shared
            self._uncached.add(tokens - shared)
            self._compacted += shared < (1 - COMPACTED_SHARE) * before
            if self._block_tokens is not None:
                self._blocks += -(-tokens // self._block_tokens)
                self._shared_blocks += -(-shared // self._block_tokens)

    def summary(self) -> Reuse | None:
        if not self._can_share or self._tokens == 0:
            return None
        return Reuse(
            token_share=self._shared / self._tokens,
            block_share=self._shared_blocks / self._blocks if self._blocks else None,
            uncached_tokens=self._uncached.summary(),
            compacted_turns=self._compacted,
        )


class _SubAgentCounter:
    def __init__(self) -> None:
        self._sessions = self._agents = self._background = 0
        self._turns, self._fan_out = WholeNumbers("a sub-agent"), WholeNumbers("a fan-out")

    def add(self, session: Session) -> None:
        if not any(turn.agent for turn in session.turns):
            return
        turns = Counter(turn.agent for turn in session.turns if turn.agent)
        first = {turn.agent: turn for turn in reversed(session.turns) if turn.agent}
        for length in turns.values():
            self._turns.add(length)
        for launched in Counter(turn.after for turn in first.values()).values():
            self._fan_out.add(launched)
        self._sessions += 1
        self._agents += len(turns)
        self._background += sum(not turn.foreground for turn in first.values())

    def summary(self) -> SubAgents | None:
        if self._agents == 0:
            return None
        return SubAgents(self._sessions, self._agents, self._background, self._fan_out.summary(), self._turns.summary())


def _half_octaves(numbers: WholeNumbers) -> tuple[int, ...]:
    values, counts = numbers.counted()
    buckets = [0] * _BUCKETS
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        # 2 log2 of the value, rounded down: bit_length of its square less one.
        buckets[min(max((value * value).bit_length() - 1, 0), _BUCKETS - 1)] += count
    return tuple(buckets)
