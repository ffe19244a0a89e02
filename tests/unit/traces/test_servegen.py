"""Requests drawn from a client composition have its rates, gaps and lengths, each field by itself."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.core.errors import InputError
from bench.core.sessions import Session
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace, recognise
from bench.workload.traces.servegen import arrivals, sessions
from bench.workload.traces.servegen_composition import Histogram, Window, composition

FIXTURES = Path(__file__).parents[2] / "fixtures" / "traces"
CLIENTS = FIXTURES / "servegen.jsonl"
IMAGES = FIXTURES / "servegen_images.jsonl"


def drawn(path: Path, seed: int = 0) -> list[Session]:
    return [item for item in sessions(path, Reading(seed=seed)) if isinstance(item, Session)]


def of_client(client: int, found: list[Session], until_s: float = 1e9) -> list[Session]:
    return [
        s for s in found if s.id.startswith(f"client-{client}/") and s.arrival_s is not None and s.arrival_s < until_s
    ]


def test_the_format_is_recognised_and_said_to_be_drawn() -> None:
    assert recognise(CLIENTS).name == recognise(IMAGES).name == "servegen"
    assert open_trace(CLIENTS, Reading()).drawn


def test_equal_seeds_draw_equal_sessions_and_others_do_not() -> None:
    assert drawn(CLIENTS, 3) == drawn(CLIENTS, 3)
    assert drawn(CLIENTS, 3) != drawn(CLIENTS, 4)


def test_clients_are_merged_in_order_of_time_and_ask_only_in_their_windows() -> None:
    found = drawn(CLIENTS)
    times = [session.arrival_s or 0.0 for session in found]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 1800
    assert len({session.id for session in found}) == len(found)
    assert not [s for s in of_client(0, found) if 600 <= (s.arrival_s or 0) < 1200]
    assert max(s.arrival_s or 0 for s in of_client(1, found)) < 1200


def test_as_many_are_drawn_as_the_rates_say() -> None:
    counts = np.array(
        [[len(of_client(client, found)) for client in (0, 1)] for found in (drawn(CLIENTS, s) for s in range(20))]
    )
    expected = np.array([600 * 2 + 600 * 4, 600 * 0.5 + 600 * 0.25])
    assert np.all(np.abs(counts.mean(axis=0) / expected - 1) < 0.06)


def test_clients_without_lengths_or_with_audio_are_counted_by_their_rate() -> None:
    left_out = [item for item in sessions(CLIENTS, Reading()) if isinstance(item, LeftOut)]
    assert left_out == [LeftOut("of clients without length histograms, 12.9% of the rate", 600)]
    left_out = [item for item in sessions(IMAGES, Reading()) if isinstance(item, LeftOut)]
    assert left_out == [LeftOut("of clients that send audio or video, 33.3% of the rate", 300)]


@pytest.mark.parametrize(
    ("kind", "shape", "cv"),
    [("Gamma", 0.25, 2.0), ("Gamma", 16.0, 0.25), ("Weibull", 1.0, 1.0), ("Weibull", 0.6, 1.758)],
)
def test_gaps_have_the_shape_and_the_rate_of_their_window(kind: Any, shape: float, cv: float) -> None:
    window = Window(0.0, 50.0, cv, kind, shape)
    times = np.concatenate(list(arrivals(window, 2000.0, np.random.default_rng(1))))
    gaps = np.diff(times)
    assert gaps.min() >= 0
    assert len(times) == pytest.approx(100_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    mean = 1 / 50
    scale = mean / shape if kind == "Gamma" else mean / stats.weibull_min(shape).mean()
    law = stats.gamma(shape, scale=scale) if kind == "Gamma" else stats.weibull_min(shape, scale=scale)
    assert stats.kstest(gaps[::20], law.cdf).pvalue > 0.001


@pytest.mark.parametrize("kind", ["Gamma", "Weibull"])
def test_rare_bursts_come_at_the_published_rate_too(kind: Any) -> None:
    window = Window(0.0, 0.01, 3.0, kind, 0.3)
    generator = np.random.default_rng(2)
    counts = [sum(len(times) for times in arrivals(window, 600.0, generator)) for _ in range(4000)]
    assert np.mean(counts) == pytest.approx(6.0, rel=0.1)


def test_lengths_follow_the_histograms_of_their_time() -> None:
    found = of_client(0, [session for seed in range(4) for session in drawn(CLIENTS, seed)])
    early = [s.turns[0] for s in found if (s.arrival_s or 0) < 600]
    late = [s.turns[0] for s in found if (s.arrival_s or 0) >= 1200]
    assert {(turn.prompt_tokens, turn.output_tokens, turn.thinking_tokens) for turn in late} == {(50, 60, 30)}
    for values, shares in (
        ([turn.prompt_tokens for turn in early], {10: 0.25, 20: 0.25, 30: 0.25, 4000: 0.25}),
        ([turn.output_tokens for turn in early], {1: 0.1, 100: 0.4, 200: 0.3, 900: 0.2}),
    ):
        observed = [values.count(value) for value in shares]
        assert sum(observed) == len(values)
        assert stats.chisquare(observed, np.array(list(shares.values())) * len(values)).pvalue > 0.001


def test_an_answer_follows_all_thinking() -> None:
    turns = [session.turns[0] for session in of_client(0, drawn(CLIENTS), until_s=600)]
    assert all(0 <= turn.thinking_tokens < turn.output_tokens for turn in turns)
    assert {t.thinking_tokens for t in turns if t.output_tokens == 100} == {25, 90, 99}


def test_fields_of_a_request_are_independent() -> None:
    turns = [s.turns[0] for seed in range(4) for s in of_client(0, drawn(CLIENTS, seed), until_s=600)]
    lengths = np.array([(turn.prompt_tokens, turn.output_tokens) for turn in turns])
    ratios = [turn.thinking_tokens / turn.output_tokens for turn in turns]
    assert len(turns) > 4000
    for one, other in ((lengths[:, 0], lengths[:, 1]), (lengths[:, 0], ratios)):
        assert abs(stats.spearmanr(one, other).statistic) < 0.06


def test_images_are_segments_before_the_text_and_count_their_tokens() -> None:
    found = [session for session in drawn(IMAGES) if session.turns[0].output_tokens]
    for session in found:
        *images, text = session.turns[0].prompt
        assert text.picture is None
        assert text.tokens in (40, 60)
        assert {image.tokens for image in images} <= {4, 100}
        for image in images:
            assert image.picture is not None
            assert image.picture.width * image.picture.height == image.tokens * 28**2
    assert {len(session.turns[0].prompt) - 1 for session in found} == {0, 1, 3}
    assert 0 <= (found[0].arrival_s or 0.0) < 60


def test_requests_without_output_are_left_out_when_asked() -> None:
    reasons = [item.reason for item in open_trace(IMAGES, Reading()).items if isinstance(item, LeftOut)]
    assert reasons.count("no output tokens") == pytest.approx(60, abs=30)


def test_histograms_are_weighted_by_the_rate_of_the_windows_they_hold_in() -> None:
    composed = composition(CLIENTS)
    # 2 + 4 requests a second of client 0, 0.5 + 0.25 of client 1
    assert composed.field_mean("input_tokens") == pytest.approx((2 * 1015 + 4 * 50 + 0.75 * 550) / 6.75)
    assert composed.field_quantiles("output_tokens", [0.0, 0.5, 0.999, 1.0]) == [1, 60, 900, 900]
    assert composed.fields == ("input_tokens", "output_tokens", "reason_ratio")
    assert composed.rates().tolist() == [3.5, 0.25, 4.0]
    assert composed.window_cvs().tolist() == [1.0, 2.0, 1.5, 1.5, 1.0]


def test_drawing_is_as_lazy_as_reading() -> None:
    assert len(list(islice(open_trace(CLIENTS, Reading()).items, 5))) == 5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 1.0)), min_size=1, max_size=8, unique_by=lambda p: p[0]),
    st.integers(0, 99),
)
def test_drawn_lengths_are_those_of_the_histogram(pairs: list[tuple[int, float]], seed: int) -> None:
    pairs = sorted(pairs)
    histogram = Histogram(np.array([float(v) for v, _ in pairs]), np.array([share for _, share in pairs]))
    values = histogram.draw(np.random.default_rng(seed), 2000)
    assert set(values) <= {value for value, _ in pairs}
    assert values.mean() == pytest.approx(histogram.mean, abs=5 * values.std() / 2000**0.5 + 1e-9)


def with_change(tmp_path: Path, **changes: object) -> Path:
    rows = [json.loads(line) for line in CLIENTS.read_text().splitlines()]
    rows[1].update(changes)
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


WINDOWS = ["0,0.5,1.5,Weibull,0.6,0.01", "600,0,0,,0,0", "1200,0,0,,0,0"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"client_id": 0}, "a second client 0"),
        ({"client_id": None}, "client_id"),
        ({"trace_csv": []}, "trace_csv is empty"),
        ({"trace_csv": WINDOWS[:2]}, "other windows than the first"),
        ({"trace_csv": ["0,1,1,Pareto,1,1", *WINDOWS[1:]]}, "dist = 'Pareto'"),
        ({"trace_csv": ["0,-1,1,Gamma,1,1", *WINDOWS[1:]]}, "is not a window"),
        ({"trace_csv": ["0,nan,1,Gamma,1,1", *WINDOWS[1:]]}, "is not a window"),
        ({"trace_csv": ["0,1e99,1,Gamma,1,1", *WINDOWS[1:]]}, "is not a window"),
        ({"trace_csv": ["0,1,1,Gamma", *WINDOWS[1:]]}, "is not a window"),
        ({"trace_csv": ["0,1,1,Gamma,0,1", *WINDOWS[1:]]}, "shape = 0"),
        ({"trace_csv": ["0,1,1,Weibull,1e-9,1", *WINDOWS[1:]]}, "shape = 1e-09"),
        ({"dataset": {"zero": {"input_tokens": "{1: 1.0}"}}}, "dataset has the time 'zero'"),
        ({"dataset": {"0": {"input_tokens": "{1: 0.5}"}}}, "the shares of input_tokens sum to 0.5"),
        ({"dataset": {"0": {"input_tokens": "{1: -0.5, 2: 1.5}"}}}, "values or shares it cannot have"),
        ({"dataset": {"0": {"input_tokens": "{1.5: 1.0}"}}}, "values or shares it cannot have"),
        ({"dataset": {"0": {"input_tokens": "{1: nan}"}}}, "values or shares it cannot have"),
        ({"dataset": {"0": {"reason_ratio": "{1.5: 1.0}"}}}, "values or shares it cannot have"),
        ({"dataset": {"0": {"input_tokens": "{__import__('os'): 1.0}"}}}, "input_tokens is no histogram"),
        ({"dataset": {"0": {"input_tokens": "{1: 1.0, 2}"}}}, "input_tokens is no histogram"),
        ({"dataset": {"0": {"input_tokens": {"1": 1.0}}}}, "str"),
    ],
)
def test_mistakes_are_told_by_their_line(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    path = with_change(tmp_path, **changes)
    with pytest.raises(InputError, match=f"^{path}:2") as raised:
        list(sessions(path, Reading()))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_windows_of_several_lengths_are_refused(tmp_path: Path) -> None:
    row = json.loads(CLIENTS.read_text().splitlines()[0])
    row["trace_csv"][2] = "1300,4.0,2.0,Gamma,0.25,1.0"
    path = tmp_path / "uneven.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match="windows of several lengths"):
        composition(path)
