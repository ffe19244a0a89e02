"""A stop string ends a text wherever its borders fall, and nothing is kept back longer than it may be one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from bench.native.server.stop_strings import StopStrings

TEXTS = st.text(alphabet="ab\n", max_size=30)
STRINGS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), min_size=1, max_size=4)


@example("a\na", ["\n", "a\na"], [2])
@given(TEXTS, STRINGS, st.lists(st.integers(0, 30), max_size=10))
def test_what_passes_is_the_text_before_the_first_of_them(text: str, strings: list[str], cuts: list[int]) -> None:
    stops = StopStrings(strings)
    borders = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    passed = ""
    for begin, end in pairwise(borders):
        passed += stops.push(text[begin:end])
        if stops.matched:
            break
        kept = text[len(passed) : end]
        # Only what may yet be one is kept back, and all of it.
        assert kept == next((text[at:end] for at in range(end) if begins_one(text[at:end], strings)), "")
    if not stops.matched:
        passed += stops.flush()
    found = [(text.find(string) + len(string), text.find(string)) for string in strings if string in text]
    assert stops.matched == bool(found)
    assert passed == (text[: min(found)[1]] if found else text)


def begins_one(text: str, strings: list[str]) -> bool:
    return any(string.startswith(text) and string != text for string in strings)


def test_the_first_of_two_that_overlap_wins() -> None:
    stops = StopStrings(["bcd", "abc"])
    assert (stops.push("xab"), stops.push("cd"), stops.matched) == ("x", "", True)
    assert stops.flush() == ""
