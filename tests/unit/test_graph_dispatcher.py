"""The dispatcher: which graph a step of each shape runs in, what it is padded to, and why others run eagerly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.axes import GraphMode, GraphSizes
from bench.native.batch import BatchItem, HostBatch
from bench.native.graphs.dispatcher import BatchKey, Decision, Dispatcher
from bench.native.graphs.modes import GraphSettings
from bench.native.graphs.statistics import StepCounts

MODES: tuple[GraphMode, ...] = ("none", "decode_full", "full", "piecewise", "full_and_piecewise")


def dispatcher(mode: GraphMode, **changes: Any) -> Dispatcher:
    values = {"sizes": "vllm", "max_tokens": 512, "max_running": 64, "step_tokens": 2048, **changes}
    settings = GraphSettings(mode, **values)
    drafts = settings.drafted_tokens
    whole_decodes = mode in ("decode_full", "full_and_piecewise")
    return Dispatcher(mode, settings, ((1, 1 + drafts) if drafts else (1,)) if whole_decodes else ())


def decode(requests: int, query_len: int = 1) -> BatchKey:
    return BatchKey(requests * query_len, requests, query_len)


MIXED = BatchKey(100, 7)


def test_keys_are_read_off_the_step() -> None:
    def key(*lens: int) -> BatchKey:
        return BatchKey.of(HostBatch.of([BatchItem([0] * count, 0, [0] * count) for count in lens], 1))

    assert key(1, 1, 1) == BatchKey(3, 3, 1)
    assert key(4, 4) == BatchKey(8, 2, 4)
    assert key(1, 5) == BatchKey(6, 2)
    assert key(9) == BatchKey(9, 1, 9)


@pytest.mark.parametrize(
    ("mode", "decode_key", "mixed_key"),
    [
        ("none", "eager", "eager"),
        ("decode_full", "full/40x40q1", "eager"),
        ("full", "full/40x65", "full/104x65"),
        ("piecewise", "piecewise/40", "piecewise/104"),
        ("full_and_piecewise", "full/40x40q1", "piecewise/104"),
    ],
)
def test_each_mode(mode: GraphMode, decode_key: str, mixed_key: str) -> None:
    chosen = dispatcher(mode)
    assert chosen.dispatch(decode(37), 37).graph_key == decode_key
    assert chosen.dispatch(MIXED, 7).graph_key == mixed_key


def test_why_steps_run_eagerly() -> None:
    assert dispatcher("none").dispatch(MIXED, 7) == Decision("eager", MIXED, "graphs are off")
    assert dispatcher("decode_full").dispatch(MIXED, 7).reason == "not a decode step"
    large = BatchKey(513, 3)
    for mode in ("full", "piecewise", "full_and_piecewise"):
        assert dispatcher(mode).dispatch(large, 3).reason == "more tokens than the largest graph"
    assert dispatcher("decode_full", max_tokens=8).dispatch(decode(9), 9).reason == "more tokens than the largest graph"
    assert dispatcher("piecewise").dispatch(MIXED, 65).reason == "more rows of logits than the graph gives"


def test_no_graph_is_larger_than_the_largest_step() -> None:
    chosen = dispatcher("full_and_piecewise", max_running=20, step_tokens=300)
    assert chosen.decode_sizes[1][-1] == 20
    assert chosen.mixed_sizes[-1] == 300


def test_steps_that_verify_drafts_have_graphs_of_their_own() -> None:
    chosen = dispatcher("full_and_piecewise", drafted_tokens=3)
    assert all(size % 4 == 0 for size in chosen.decode_sizes[4])
    assert chosen.decode_sizes[4][-1] == 64 * 4
    assert chosen.dispatch(decode(5, 4), 20).graph_key == "full/24x6q4"
    # Nobody drafted anything in this one, and somebody did in the next.
    assert chosen.dispatch(decode(5), 5).graph_key == "full/8x8q1"
    assert chosen.dispatch(BatchKey(14, 5), 14).graph_key == "piecewise/16"
    assert chosen.logit_rows(BatchKey(512, 65)) == 64 * 4


def test_graphs_come_largest_first() -> None:
    graphs = dispatcher("full_and_piecewise", sizes="pow2", max_running=4, max_tokens=8).graphs()
    assert [graph.graph_key for graph in graphs] == [
        "piecewise/8",
        "full/4x4q1",
        "piecewise/4",
        "full/2x2q1",
        "piecewise/2",
        "full/1x1q1",
        "piecewise/1",
    ]
    assert dispatcher("none").graphs() == []


@given(
    mode=st.sampled_from(MODES),
    sizes=st.sampled_from(("pow2", "vllm", "exact")),
    drafts=st.integers(0, 4),
    lens=st.lists(st.integers(1, 40), min_size=1, max_size=24),
    uniform=st.booleans(),
)
def test_whatever_is_chosen_was_captured_and_fits(
    mode: GraphMode, sizes: GraphSizes, drafts: int, lens: list[int], uniform: bool
) -> None:
    if uniform:
        lens = [1 + drafts] * len(lens)
    chosen = dispatcher(mode, sizes=sizes, drafted_tokens=drafts, max_running=24, max_tokens=256)
    step = HostBatch.of([BatchItem([0] * count, 0, [0] * count, min(count, 1 + drafts)) for count in lens], 1)
    decision = chosen.dispatch(BatchKey.of(step), len(step.logit_rows))
    if decision.mode == "eager":
        assert decision.reason is not None
        assert decision.key == BatchKey.of(step)
        return
    assert decision.reason is None
    assert decision in chosen.graphs()
    padded = step.padded(decision.key.tokens, decision.key.requests, chosen.logit_rows(decision.key))
    assert BatchKey.of(padded).tokens == decision.key.tokens
    if decision.key.uniform_query_len is not None:
        assert BatchKey.of(padded) == decision.key


def test_counts_say_what_padding_cost_and_why_steps_were_eager() -> None:
    chosen, counts = dispatcher("full_and_piecewise"), StepCounts()
    for key in (decode(3), decode(3), MIXED, BatchKey(700, 2)):
        counts.add(chosen.dispatch(key, key.requests), key.tokens)
    summary = counts.summary()
    assert summary["steps"] == 4
    assert summary["share_of_steps"] == {"eager": 0.25, "full": 0.5, "piecewise": 0.25}
    assert summary["steps_by_graph"] == {"eager": 1, "full/4x4q1": 2, "piecewise/104": 1}
    assert summary["padding_tokens"] == 1 + 1 + 4
    assert summary["padding_share"] == pytest.approx(6 / (4 + 4 + 104 + 700))
    assert summary["eager_reasons"] == {"more tokens than the largest graph": 1}


def test_nothing_ran() -> None:
    assert StepCounts().summary()["padding_share"] is None
