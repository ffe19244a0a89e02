"""Sessions, prompts and a driver on virtual time, for tests of the load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.core.clock import VirtualClock, run_virtual
from bench.core.records import TurnRow
from bench.core.sessions import Prompt, Segment, Session, Turn
from bench.core.spec import LoadSpec, MeasureSpec, MockEngineSpec, ModelSpec, ReasoningSpec, Spec
from bench.engine.mock import MockEngine
from bench.load.driver import Driver

MS = 1_000_000
MOCK = MockEngineSpec(kind="mock", ttft_ms=20, tpot_ms=5)
"""A turn of one token takes 20 ms, one of four 35 ms."""


class CountedPrompts:
    """Zero tokens of the right number, shared with nothing."""

    def realise(self, turn: Turn, play: int = 0) -> Prompt:
        return Prompt((0,) * turn.prompt_tokens)

    def shared_tokens(self, turn: Turn, play: int = 0) -> int:
        return 0

    def text_of(self, token_ids: tuple[int, ...]) -> str:
        return " ".join(map(str, token_ids))


def chain(name: str, turns: int, delay_s: float = 0.0, output: int = 4, thinking: int = 1) -> Session:
    return Session(
        name,
        tuple(
            Turn(
                index=i,
                prompt=(Segment(f"{name}/{i}", 8 * (i + 1)),),
                output_tokens=output,
                thinking_tokens=thinking,
                after=(i - 1,) if i else (),
                delay_s=delay_s if i else 0.0,
            )
            for i in range(turns)
        ),
    )


def turn(index: int, after: tuple[int, ...], output: int = 1, **fields: Any) -> Turn:
    return Turn(index=index, prompt=(Segment(str(index), index + 1),), output_tokens=output, after=after, **fields)


def spec(load: LoadSpec, **measure: Any) -> Spec:
    return Spec(
        name="driven",
        model=ModelSpec(path="none"),
        workload=ReasoningSpec(kind="reasoning", sessions=1),
        load=load,
        measure=MeasureSpec(**measure),
    )


def drive(
    sessions: Sequence[Session], load: LoadSpec, *, engine: Any = None, prompts: Any = None, **measure: Any
) -> tuple[list[TurnRow], Driver]:
    """What was logged of `sessions`, and the driver; `engine` makes one for a clock, and measure is the spec's."""
    rows: list[TurnRow] = []

    async def main() -> Driver:
        clock = VirtualClock()
        answering = engine(clock) if engine else MockEngine(MOCK, clock=clock)
        driver = Driver(answering, clock, prompts or CountedPrompts(), rows.append, spec(load, **measure))
        await driver.drive(sessions)
        return driver

    driver = run_virtual(main())
    return rows, driver
