"""Sessions that are sent again and again: new names and plays each time, until the time is over."""

from __future__ import annotations

import pytest
from driving import CountedPrompts, chain, drive, spec

from bench.core.errors import InputError
from bench.core.sessions import Prompt, Turn
from bench.core.spec import ClosedLoadSpec
from bench.load.share import whole_load

RECYCLED = ClosedLoadSpec(kind="closed", concurrency=2, recycle=True)


class Plays(CountedPrompts):
    """Notes which play every prompt is of."""

    def __init__(self) -> None:
        self.realised: list[tuple[str, int]] = []
        self.shared: list[tuple[str, int]] = []

    def realise(self, turn: Turn, play: int = 0) -> Prompt:
        self.realised.append((turn.prompt[0].key, play))
        return super().realise(turn, play)

    def shared_tokens(self, turn: Turn, play: int = 0) -> int:
        self.shared.append((turn.prompt[0].key, play))
        return 0


def test_every_play_has_a_name_and_a_salt_of_its_own() -> None:
    prompts = Plays()
    rows, driver = drive([chain(f"s{i}", 1) for i in range(3)], RECYCLED, prompts=prompts, max_seconds=0.13)
    # Two lanes, 35 ms a session: 4 rounds of 2 begin before 130 ms.
    assert [row.session_id for row in rows] == ["s0", "s1", "s2", "s0+1", "s1+1", "s2+1", "s0+2", "s1+2"]
    assert prompts.shared == [(f"s{i % 3}/0", i // 3) for i in range(8)]
    assert prompts.realised[:8] == prompts.shared
    assert driver.progress.turns_planned == driver.progress.turns_done == 8
    assert not driver.progress.not_sent


def test_concurrency_is_kept_until_the_end() -> None:
    rows, driver = drive([chain("a", 3), chain("b", 1)], RECYCLED, max_seconds=1.0)
    changes = sorted([(row.t_send_ns, 1) for row in rows] + [(row.t_done_ns or 0, -1) for row in rows])
    alive, seen = 0, set()
    for t_ns, change in changes:
        alive += change
        if change == 1 and 0 < t_ns < 1_000_000_000:
            seen.add(alive)
    assert seen <= {1, 2}
    assert max(row.t_send_ns for row in rows) < 1_000_000_000
    assert driver.progress.cut_sessions <= {row.session_id for row in rows}


def test_endless_recycling_is_refused() -> None:
    with pytest.raises(InputError, match=r"driven: load.recycle = true would never end \(allowed: measure.max_seconds"):
        whole_load(spec(RECYCLED), [chain("a", 1)])
    assert whole_load(spec(RECYCLED, max_seconds=1.0), [chain("a", 1)]).places == 1
