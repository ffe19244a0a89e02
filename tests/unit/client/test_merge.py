"""Several clients' rows as one log: shared tokens by the order in which all clients sent."""

from __future__ import annotations

import random

from driving import CountedPrompts, chain

from bench.client.merge import Merge
from bench.client.messages import Sent, decode_rows, encode_rows
from bench.core.records import TurnRow
from bench.core.sessions import Session, Turn


class Counting(CountedPrompts):
    """Says of each turn how many were asked about before."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def shared_tokens(self, turn: Turn, play: int = 0) -> int:
        self.asked.append((turn.prompt[0].key, play))
        return len(self.asked) - 1


def row(session_id: str, index: int, t_send_ns: int) -> TurnRow:
    return TurnRow(session_id, index, False, True, 8, 0, 4, 1, t_send_ns, t_send_ns, status="ok")


def merged(sessions: list[Session], clients: int) -> tuple[Merge, Counting, list[TurnRow]]:
    prompts, rows = Counting(), list[TurnRow]()
    return Merge(sessions, prompts, clients, rows.append), prompts, rows


def test_a_row_waits_until_every_client_has_told_of_the_time_it_was_sent() -> None:
    merge, prompts, rows = merged([chain("a", 1), chain("b", 1)], 2)
    merge.add(0, 100, [Sent(50, "a", 0, 0)], [row("a", 0, 50)])
    assert rows == []
    merge.add(1, 40, [Sent(30, "b", 0, 0)], [])
    assert rows == []
    merge.add(1, 60, [], [row("b", 0, 30)])
    assert [(one.session_id, one.shared_tokens) for one in rows] == [("a", 1), ("b", 0)]
    assert prompts.asked == [("b/0", 0), ("a/0", 0)]


def test_a_client_that_ended_or_was_lost_holds_nothing_back() -> None:
    merge, _, rows = merged([chain("a", 2)], 2)
    merge.add(0, 100, [Sent(50, "a", 0, 0)], [row("a", 0, 50)])
    merge.end(1)
    assert len(rows) == 1
    merge.add(0, 150, [], [row("a", 1, 0)])  # never sent: cancelled on its way
    merge.finish()
    assert [one.turn_index for one in rows] == [0, 1]


def test_plays_are_told_apart() -> None:
    merge, prompts, rows = merged([chain("a+1", 1), chain("a", 1)], 1)
    sent = [Sent(1, "a+1", 0, 0), Sent(2, "a", 0, 0), Sent(3, "a+1+1", 0, 1), Sent(4, "a+2", 0, 2)]
    merge.add(0, 10, sent, [row(one.session_id, 0, one.t_ns) for one in sent])
    assert prompts.asked == [("a+1/0", 0), ("a/0", 0), ("a+1/0", 1), ("a/0", 2)]
    assert [one.shared_tokens for one in rows] == [0, 1, 2, 3]


def test_any_batching_gives_the_order_of_sending() -> None:
    chance = random.Random(4)
    sessions = [chain(f"s{i}", 3) for i in range(40)]
    sent = [
        Sent(t_ns, session.id, index, 0)
        for t_ns, (session, index) in enumerate(chance.sample([(s, i) for s in sessions for i in range(3)], 120))
    ]
    merge, prompts, rows = merged(sessions, 3)
    client_of = [chance.randrange(3) for _ in sent]
    told = [0, 0, 0]
    while any(until < 120 for until in told):
        client = chance.randrange(3)
        until = min(120, told[client] + chance.randrange(30))
        batch = [
            one for one, of in zip(sent, client_of, strict=True) if of == client and told[client] <= one.t_ns < until
        ]
        merge.add(client, until - 1, batch, [row(one.session_id, one.turn_index, one.t_ns) for one in batch])
        told[client] = until
    merge.finish()
    assert len(rows) == 120
    assert [one.shared_tokens for one in rows] == [one.t_send_ns for one in rows]
    assert prompts.asked == [(f"{one.session_id}/{one.turn_index}", 0) for one in sent]


def test_rows_pass_between_processes_unchanged() -> None:
    sent = row("a", 3, 1)
    sent.chunk_t_ns, sent.chunk_tokens, sent.correct, sent.notes = [2**62, 1], [1, 2], True, "no_usage late"
    assert decode_rows(encode_rows([sent, row("b", 0, 2)])) == [sent, row("b", 0, 2)]
