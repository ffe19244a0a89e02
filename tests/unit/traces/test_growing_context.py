"""Prompts made of kept and new tokens share, by their segments' keys, what they were said to keep."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Segment
from bench.workload.traces.growing_context import GrowingContext

COUNTS = st.integers(0, 30)


def shared(one: tuple[Segment, ...], other: tuple[Segment, ...]) -> int:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(segment.tokens for segment, _ in pairs)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=12))
def test_prompts_share_what_they_keep_of_each_other(turns: list[tuple[int, int, int]]) -> None:
    context = GrowingContext("s")
    written: list[int] = []  # The same, token by token: each new token is a number of its own
    asked: list[list[int]] = []
    fresh = 0
    for kept, new, answered in turns:
        context.ask(kept, new)
        context.answer(answered)
        asked.append([*written[:kept], *range(fresh, fresh + new)])
        written = [*asked[-1], *range(fresh + new, fresh + new + answered)]
        fresh += new + answered
    assert context.tokens == len(written)
    prompts = context.prompts()
    assert [sum(part.tokens for part in prompt) for prompt in prompts] == [len(prompt) for prompt in asked]
    for i, one in enumerate(prompts):
        for j, other in enumerate(prompts):
            same = takewhile(lambda pair: pair[0] == pair[1], zip(asked[i], asked[j], strict=False))
            assert shared(one, other) == sum(1 for _ in same)


def test_an_answer_is_the_assistants() -> None:
    context = GrowingContext("s")
    context.ask(0, 5)
    context.answer(3)
    context.ask(8, 2)
    assert [(part.tokens, part.role) for part in context.prompts()[1]] == [(5, "user"), (3, "assistant"), (2, "user")]
