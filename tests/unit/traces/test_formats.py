"""Every format is told from its content, and its rows become sessions as its page says."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from bench.core.sessions import Session, Turn
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace, recognise

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "traces"


def sessions_of(name: str) -> list[Session]:
    path = FIXTURES / name
    items = list(recognise(path).sessions(path, Reading()))
    assert all(isinstance(item, Session) for item in items)
    return [item for item in items if isinstance(item, Session)]


def lengths(session: Session) -> list[tuple[int, int]]:
    return [(turn.prompt_tokens, turn.output_tokens) for turn in session.turns]


def links(session: Session) -> list[tuple[tuple[int, ...], float, str]]:
    return [(turn.after, round(turn.delay_s, 9), turn.delay_class) for turn in session.turns]


def shared(a: Turn, b: Turn) -> int:
    """Leading tokens that two prompts have in common, by their segments' keys."""
    tokens = 0
    for left, right in zip(a.prompt, b.prompt, strict=False):
        if left.key != right.key:
            break
        tokens += min(left.tokens, right.tokens)
        if left.tokens != right.tokens:
            break
    return tokens


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("azure.csv", "azure-csv"),
        ("burstgpt.csv", "burstgpt-csv"),
        ("vidur.csv", "vidur-csv"),
        ("tracelab.csv", "tracelab-csv"),
        ("mooncake.jsonl", "mooncake-jsonl"),
        ("mooncake_sessions.jsonl", "mooncake-jsonl"),
        ("bailian.jsonl", "bailian-jsonl"),
        ("weka.json", "weka-json"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda raw: pyarrow.Codec("zstd").compress(raw, asbytes=True)])
def test_a_format_is_told_from_its_content(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str, form: str
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(pack((FIXTURES / name).read_bytes()))
    stream = open_trace(path, Reading())
    assert stream.format == form
    assert list(stream.items) == list(open_trace(FIXTURES / name, Reading()).items)


def test_azure_keeps_every_digit_of_a_time_and_rows_without_output() -> None:
    sessions = sessions_of("azure.csv")
    assert [session.arrival_s for session in sessions] == [0.0, 1e-7, 1e-7, 1.5000001]
    assert [lengths(session) for session in sessions] == [[(374, 44)], [(396, 109)], [(12, 0)], [(879, 55)]]
    assert len({session.turns[0].prompt[0].key for session in sessions}) == 4
    asked = list(open_trace(FIXTURES / "azure.csv", Reading()).items)
    assert asked == [*sessions[:2], LeftOut("no output tokens", 1), sessions[3]]


def test_burstgpt_rows_of_one_session_are_its_turns() -> None:
    first, second, alone = sessions_of("burstgpt.csv")
    assert [session.arrival_s for session in (first, second, alone)] == [0.0, 15.0, 40.0]
    assert lengths(first) == [(472, 18), (417, 0), (500, 276), (800, 9)]
    # 113 s between arrivals less 2.5 s of answer, 6 s less 3 s, and one that came before the answer was there.
    assert links(first) == [
        ((), 0.0, "none"), ((0,), 110.5, "human"), ((1,), 3.0, "human"), ((2,), 0.0, "human"),
    ]  # fmt: skip
    assert links(second) == [((), 0.0, "none"), ((0,), 102.0, "human")]
    assert shared(first.turns[0], first.turns[2]) == 0
    assert lengths(alone) == [(1087, 230)]


def test_a_turn_without_output_is_left_out_and_its_delay_goes_to_the_next() -> None:
    left_out, first, *_ = open_trace(FIXTURES / "burstgpt.csv", Reading()).items
    assert left_out == LeftOut("no output tokens", 1)
    assert isinstance(first, Session)
    assert links(first) == [((), 0.0, "none"), ((0,), 113.5, "human"), ((1,), 0.0, "human")]


def test_vidur_rows_have_lengths_and_nothing_else() -> None:
    assert [lengths(session) for session in sessions_of("vidur.csv")] == [[(3772, 54)], [(2015, 156)]]
    assert [session.arrival_s for session in sessions_of("vidur.csv")] == [None, None]


def test_vidur_rows_may_say_when_they_arrived(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n3.5,10,2\n4.75,20,3\n")
    items = list(open_trace(path, Reading()).items)
    assert [item.arrival_s for item in items if isinstance(item, Session)] == [0.0, 1.25]


def test_tracelab_prompts_share_what_their_prefix_says() -> None:
    first, second = sessions_of("tracelab.csv")
    assert (first.arrival_s, second.arrival_s) == (0.0, 0.75)
    assert lengths(first) == [(2000, 100), (2500, 50), (1500, 80)]
    assert links(first) == [((), 0.0, "none"), ((0,), 0.3, "tool"), ((1,), 1.5, "tool")]
    assert [shared(a, b) for a, b in ((first.turns[0], first.turns[1]), (first.turns[1], first.turns[2]))] == [
        2000, 1200,
    ]  # fmt: skip
    assert lengths(second) == [(1400, 10), (1500, 20)]
    assert shared(first.turns[0], second.turns[0]) == 0


def test_tracelab_also_writes_id_and_may_know_no_arrivals(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,input_len,output_len,round_idx,tool_wait_after_ms,prefix_len\nx,10,5,0,7,0\nx,3,5,1,0,15\n")
    (item,) = open_trace(path, Reading()).items
    assert isinstance(item, Session)
    assert (item.arrival_s, lengths(item), links(item)[1]) == (None, [(10, 5), (18, 5)], ((0,), 0.007, "tool"))


def test_mooncake_rows_share_blocks_with_every_other() -> None:
    sessions = sessions_of("mooncake.jsonl")
    assert [session.arrival_s for session in sessions] == [0.0, 3.0, 3.0, 27.482, 27.5]
    assert [lengths(session)[0][0] for session in sessions] == [1300, 1024, 700, 655, 672]
    turns = [session.turns[0] for session in sessions]
    assert [shared(turns[0], other) for other in turns[1:]] == [1024, 512, 0, 0]
    assert shared(turns[3], turns[4]) == 655


def test_mooncake_rows_of_a_session_tell_only_what_is_new() -> None:
    first, second = sessions_of("mooncake_sessions.jsonl")
    assert (first.arrival_s, second.arrival_s) == (0.0, 0.5)
    assert lengths(first) == [(600, 40), (600 + 40 + 512, 30)]
    assert links(first)[1] == ((0,), 2.5, "human")
    assert shared(*first.turns) == 600
    assert [segment.role for segment in first.turns[1].prompt] == ["user", "assistant", "user"]
    assert lengths(second) == [(100, 10), (130, 5)]
    assert links(second)[1] == ((0,), 8.0, "human")


def test_bailian_chats_follow_their_parents() -> None:
    first, second, orphan = sessions_of("bailian.jsonl")
    assert [session.arrival_s for session in (first, second, orphan)] == [0.0, 2.5, 81.0]
    assert lengths(first) == [(40, 12), (70, 9), (64, 3)]
    assert links(first) == [((), 0.0, "none"), ((0,), 61.0, "human"), ((0,), 80.5, "human")]
    assert shared(first.turns[0], first.turns[1]) == 32
    assert shared(first.turns[1], first.turns[2]) == 48
    assert shared(first.turns[0], second.turns[0]) == 16
    assert lengths(orphan) == [(16, 3)]
