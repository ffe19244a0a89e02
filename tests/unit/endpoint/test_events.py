"""Server-sent events come out whole however the bytes were cut, and nothing else comes out as one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine.http.events import EventSplitter
from bench.engine.http.failures import ExchangeError

BODY = (
    b': hello\n\nevent: message\nid: 7\ndata: {"a": 1}\n\ndata:no space\r\n\r\n'
    b"data: two\ndata: lines\n\nretry: 5\n\ndata: last\n\n"
)
EVENTS = [b'{"a": 1}', b"no space", b"two\nlines", b"last"]


def split(*pieces: bytes) -> list[list[bytes]]:
    splitter = EventSplitter()
    return [*(splitter.feed(piece) for piece in pieces), splitter.flush()]


@given(cuts=st.sets(st.integers(1, len(BODY) - 1)))
def test_any_cut_gives_the_same_events(cuts: set[int]) -> None:
    places = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[begin:end] for begin, end in pairwise(places)]
    assert [event for events in split(*pieces) for event in events] == EVENTS


def test_an_event_comes_with_the_piece_that_holds_its_blank_line() -> None:
    assert split(b"data: a\n\ndata: b\n", b"\nda", b"ta: c\n\n") == [[b"a"], [b"b"], [b"c"], []]


def test_plain_pieces_and_odd_ones_may_follow_each_other() -> None:
    assert split(b"data: a\n\ndata: b\n\n", b": ping\n\n", b"data: c\n\n") == [[b"a", b"b"], [], [b"c"], []]


@pytest.mark.parametrize("comment", [b"data: a\n: ping\n\n", b"event: x\ndata: a\n\n", b"data: a\r\n\r\n"])
def test_what_is_no_data_is_left_out(comment: bytes) -> None:
    assert split(comment) == [[b"a"], []]


def test_what_lacks_its_blank_line_is_told_at_the_end() -> None:
    assert split(b"data: a\n\ndata: [DONE]\n") == [[b"a"], [b"[DONE]"]]


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ExchangeError, match="garbage: a line of more than"):
        split(*[b"x" * 2**20] * 17)
