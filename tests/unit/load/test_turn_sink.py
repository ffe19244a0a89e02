"""A row keeps when tokens arrived: one entry for what arrived together, and every gap between entries."""

from __future__ import annotations

import asyncio

from bench.core.records import Chunk, TurnRow
from bench.load.turn_sink import TurnSink


def landed(*chunks: Chunk) -> TurnRow:
    row = TurnRow("session", 0, False, True, 8, 0, 8, 0, t_due_ns=0)
    loop = asyncio.new_event_loop()
    sink = TurnSink(row, loop.create_future(), pinned=False)
    for chunk in chunks:
        sink.chunk(chunk)
    loop.close()
    return row


def test_thinking_and_answer_of_one_packet_have_no_gap() -> None:
    row = landed(
        Chunk(10, 4, 1, "thinking"),
        Chunk(30, 24, 2, "thinking"),
        Chunk(30, 25, 3, "answer"),
        Chunk(35, 29, 1, "answer"),
    )
    assert (row.chunk_t_ns, row.chunk_tokens) == ([10, 20, 5], [1, 5, 1])
    assert row.chunk_t_engine_ns == [4, 20, 5]
    assert (row.output_tokens, row.thinking_tokens) == (7, 3)
    assert (row.t_first_ns, row.t_answer_ns, row.t_last_ns) == (10, 30, 35)


def test_words_without_a_token_are_no_arrival() -> None:
    row = landed(Chunk(10, None, 0, "answer", text="a"), Chunk(20, None, 1, "answer", text="b"))
    assert (row.t_first_ns, row.chunk_t_ns, row.chunk_tokens) == (20, [20], [1])
