"""Prompt lookup finds what followed the newest tokens, as a search of the whole text would."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.native.request import Request, Slice
from bench.native.speculative.ngram import NgramIndex, NgramSpeculator


def search(text: list[int], longest: int, tokens: int) -> list[int]:
    """The definition: the longest run first, then the latest place."""
    for length in range(min(longest, len(text)), 0, -1):
        for end in range(len(text) - 1, length - 1, -1):
            if text[end - length : end] == text[-length:]:
                copied = list(text)
                for index in range(end, end + tokens):
                    copied.append(copied[index])
                return copied[len(text) :]
    return []


@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 4), max_size=30), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_the_index_finds_what_a_search_of_the_text_finds(prompt: list[int], said: list[int], longest: int) -> None:
    text = array("i", prompt)
    index = NgramIndex(text, longest)
    assert index.following(5) == search(prompt, longest, 5)
    for token in said:
        text.append(token)
        assert index.following(5) == search(list(text), longest, 5)


@given(st.lists(st.integers(0, 3), min_size=5, max_size=30), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_several_tokens_may_come_between_two_looks(said: list[int], at_once: int) -> None:
    text = array("i", [0, 1])
    index = NgramIndex(text, 3)
    for start in range(0, len(said), at_once):
        text.extend(said[start : start + at_once])
        assert index.following(4) == search(list(text), 3, 4)


def test_token_ids_of_a_large_vocabulary_are_told_apart() -> None:
    text = array("i", [150_000, 150_001, 7, 8, 9, 150_001, 150_000, 5, 6, 150_000, 150_001])
    assert NgramIndex(text, 2).following(3) == [7, 8, 9]


def decoding(row: int, said: int, max_tokens: int) -> Request:
    request = Request(row, prompt_tokens=6, max_tokens=max_tokens)
    request.row, request.total, request.computed = row, 6 + said, 5 + said
    return request


def test_no_more_is_planned_than_the_output_has_room_for() -> None:
    speculator = NgramSpeculator(tokens=4, match_tokens=3, max_running=2)
    text = array("i", [1, 2, 3, 1, 2, 3, 1])
    # Drafts and the token behind them have to fit: of ten tokens one is said.
    for max_tokens, planned in ((10, 4), (5, 3), (3, 1), (2, 0)):
        request = decoding(1, said=1, max_tokens=max_tokens)
        speculator.begin(request, text)
        assert speculator.plan(request) == planned


def test_nothing_is_planned_before_the_prompt_is_computed() -> None:
    speculator = NgramSpeculator(tokens=4, match_tokens=3, max_running=1)
    request = Request(0, prompt_tokens=6, max_tokens=9)
    request.row = 0
    speculator.begin(request, array("i", [1, 2, 1, 2, 1, 2]))
    assert speculator.plan(request) == 0


def test_a_slice_gets_as_many_drafts_as_it_was_granted() -> None:
    speculator = NgramSpeculator(tokens=4, match_tokens=3, max_running=3)
    requests = [decoding(row, said=1, max_tokens=20) for row in range(3)]
    for request, text in zip(requests, ([1, 2, 3, 4, 1, 2], [5, 6, 5], [7, 8, 9]), strict=True):
        speculator.begin(request, array("i", text))
    assert [speculator.plan(request) for request in requests] == [4, 4, 0]
    granted = [Slice(requests[0], 3, 2), Slice(requests[1], 1, 0), Slice(requests[2], 1, 0)]
    assert speculator.draft(granted).tokens == [[3, 4], [], []]


def test_a_row_that_is_given_away_forgets_its_text() -> None:
    speculator = NgramSpeculator(tokens=2, match_tokens=2, max_running=1)
    first, second = decoding(0, 1, 20), decoding(0, 1, 20)
    speculator.begin(first, array("i", [1, 2, 3, 1, 2]))
    speculator.begin(second, array("i", [1, 2, 4, 1, 2]))
    speculator.plan(second)
    assert speculator.draft([Slice(second, 3, 2)]).tokens == [[4, 1]]
