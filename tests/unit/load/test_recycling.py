"""Sessions that are sent again and again: new names and plays each time, until the time is over."""

from __future__ import annotations

import pytest
from driving import CountedPrompts, chain, drive, spec

from bench.core.errors import InputError
from bench.core.sessions import Prompt, Turn
from bench.core.spec import ClosedLoadSpec
from bench.load.share import whole_load
from bench.workload import shared_prefix
from bench.workload.shared_prefix import Piece, SharedPrefix

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


def test_lanes_beyond_the_sessions_begin_with_the_next_play() -> None:
    load = RECYCLED.model_copy(update={"concurrency": 5})
    rows, _ = drive([chain("a", 2), chain("b", 2)], load, max_seconds=1.0)
    begun_at_once = {row.session_id for row in rows if row.t_due_ns == 0}
    assert begun_at_once == {"a", "b", "a+1", "b+1", "a+2"}


def test_as_many_plays_are_remembered_as_are_sent_at_once() -> None:
    sent = SharedPrefix()
    grown = [[Piece("a", 0, 8)], [Piece("a", 0, 8), Piece("b", 0, 4)]]
    assert [sent.add(grown[0], play=play) for play in range(40)] == [0] * 40
    assert [sent.add(grown[1], play=play) for play in range(40)] == [8] * 40


def test_plays_that_nothing_is_sent_of_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_prefix, "_KEPT_NODES", 0)
    sent = SharedPrefix()
    for play in range(9):
        sent.add([Piece("a", 0, 8)], play=play)
    assert [sent.add([Piece("a", 0, 8)], play=play) for play in (8, 1, 0)] == [8, 8, 0]
