"""Prompts share by segment keys exactly what they share by hash ids, in any format of blocks."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.sessions import Segment, Session
from bench.workload.prompts import PromptSynthesizer
from bench.workload.shared_prefix import SharedPrefix, pieces_of
from bench.workload.traces.blocks import check_blocks, segments_of_blocks
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace

ROOT = Path(__file__).resolve().parents[3]
Prompt = tuple[list[int], int]
"""Its hash ids and tokens."""


def shared_by_ids(a: Prompt, b: Prompt, block_tokens: int) -> int:
    common = next((n for n, (x, y) in enumerate(zip(a[0], b[0], strict=False)) if x != y), min(len(a[0]), len(b[0])))
    return min(common * block_tokens, a[1], b[1])


def shared_by_keys(a: tuple[Segment, ...], b: tuple[Segment, ...]) -> int:
    tokens = 0
    for left, right in zip(a, b, strict=False):
        if left.key != right.key:
            break
        tokens += min(left.tokens, right.tokens)
        if left.tokens != right.tokens:
            break
    return tokens


@st.composite
def prompts(draw: st.DrawFn, block_tokens: int) -> list[Prompt]:
    """Any few ids, so that runs of them meet, part, and meet elsewhere; the last block may be filled in part."""
    ids = st.lists(st.integers(0, 6), min_size=1, max_size=9)
    return [
        (blocks, len(blocks) * block_tokens - draw(st.integers(0, block_tokens - 1)))
        for blocks in draw(st.lists(ids, min_size=2, max_size=6))
    ]


@given(prompts(block_tokens=4))
def test_segments_share_what_ids_share(prompts: list[Prompt]) -> None:
    told = [segments_of_blocks(blocks, tokens, 4) for blocks, tokens in prompts]
    for (blocks, tokens), segments in zip(prompts, told, strict=True):
        assert sum(segment.tokens for segment in segments) == tokens
        assert all(segment.tokens > 0 for segment in segments), blocks
    for (a, one), (b, other) in combinations(zip(prompts, told, strict=True), 2):
        assert shared_by_keys(one, other) == shared_by_ids(a, b, 4)


@given(prompts(block_tokens=16))
def test_what_a_cache_may_hit_is_what_some_prompt_before_shares_most(prompts: list[Prompt]) -> None:
    sent = SharedPrefix()
    for index, (blocks, tokens) in enumerate(prompts):
        most = max((shared_by_ids((blocks, tokens), before, 16) for before in prompts[:index]), default=0)
        assert sent.add(pieces_of(segments_of_blocks(blocks, tokens, 16))) == most


@pytest.mark.parametrize(("form", "block_tokens"), [("mooncake", 512), ("bailian", 16)])
def test_a_file_of_blocks_shares_what_its_ids_share(tmp_path: Path, form: str, block_tokens: int) -> None:
    path = tmp_path / "trace.jsonl"
    asked = [
        ([0, 1, 2, 3], 4),
        ([0, 1, 2, 4], 4),
        ([0, 1], 2),
        ([4, 1, 2], 3),
        ([0, 1, 2, 3, 4, 5], 6),
        ([0, 1, 2], 2.5),
    ]
    prompts = [(ids, int(blocks * block_tokens)) for ids, blocks in asked]
    chat = {"parent_chat_id": -1} if form == "bailian" else {}
    rows = [
        {"timestamp": n, "input_length": tokens, "output_length": 5, "hash_ids": ids, "chat_id": n, **chat}
        for n, (ids, tokens) in enumerate(prompts)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    items = list(open_trace(path, Reading()).items)
    told = [item.turns[0].prompt for item in items if isinstance(item, Session)]
    for (a, one), (b, other) in combinations(zip(prompts, told, strict=True), 2):
        assert shared_by_keys(one, other) == shared_by_ids(a, b, block_tokens)


def test_ids_that_count_up_are_one_segment() -> None:
    assert segments_of_blocks(range(100, 400), 299 * 16 + 5, 16, "s/") == (Segment("s/100", 299 * 16 + 5),)
    assert segments_of_blocks([7, 8, 3], 40, 16) == (Segment("7", 32), Segment("3", 8))
    assert segments_of_blocks([7], 0, 16) == ()


@pytest.mark.parametrize(
    ("tokens", "blocks", "fits"),
    [(0, 0, True), (1, 1, True), (16, 1, True), (16, 2, True), (17, 2, True), (0, 2, False), (1, 2, False),
     (17, 1, False), (17, 3, False), (16, 0, False)],
)  # fmt: skip
def test_there_is_a_block_for_each_that_the_prompt_or_the_answer_begins(tokens: int, blocks: int, fits: bool) -> None:
    if fits:
        check_blocks(range(blocks), tokens, 16, Path("trace"), 3)
        return
    with pytest.raises(InputError, match=rf"trace:3: {blocks} hash_ids for {tokens} tokens \(allowed: one for each"):
        check_blocks(range(blocks), tokens, 16, Path("trace"), 3)


@pytest.mark.parametrize(
    "name", ["mooncake.jsonl", "mooncake_sessions.jsonl", "bailian.jsonl", "tracelab.csv", "weka.json"]
)
def test_reuse_in_a_trace_is_reuse_in_tokens_and_nothing_else_is(name: str) -> None:
    prompts = PromptSynthesizer(ROOT / "configs" / "models" / "tiny", "salt", framing=False)
    items = open_trace(ROOT / "tests" / "fixtures" / "traces" / name, Reading()).items
    turns = [turn for item in items if isinstance(item, Session) for turn in item.turns]
    ids = [prompts.realise(turn).ids for turn in turns]
    for (a, one), (b, other) in combinations(zip(turns, ids, strict=True), 2):
        shared = shared_by_keys(a.prompt, b.prompt)
        assert one[:shared] == other[:shared]
        chance = 3  # so many tokens behind that may be the same by chance
        assert one[shared : shared + chance] != other[shared : shared + chance] or shared == min(len(one), len(other))
