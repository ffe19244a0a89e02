"""What each client's definitions make of the same exchanges."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_neobench import read_neobench
from definitions import AIPERF, OURS, VLLM, WHOLE_RUN, measure, path
from exchanges import Exchange, Habits

from bench.core.load_spec import ClosedLoadSpec, ConstantLoadSpec
from bench.core.units import NS_PER_MS

RESULTS = Path(__file__).parents[3] / "results"
CLOSED = ClosedLoadSpec(kind="closed", concurrency=1)
OPEN = ConstantLoadSpec(kind="constant", sessions_per_s=10)


def exchange(sent_ms: float, *token_ms: float, due_ms: float | None = None, **around: float) -> Exchange:
    """Times since the sending, but for the first and `due_ms`; `around` are `opened_ns` and `closed_ns`, in ms, too."""
    told = {name: (sent_ms + since) * NS_PER_MS for name, since in around.items()}
    return Exchange(
        due_ns=(sent_ms if due_ms is None else due_ms) * NS_PER_MS,
        sent_ns=sent_ms * NS_PER_MS,
        token_ns=tuple((sent_ms + since) * NS_PER_MS for since in token_ms),
        chunk_tokens=(1,) * len(token_ms),
        prompt_tokens=8,
        output_tokens=len(token_ms),
        **told,
    )


def test_a_committed_record_is_found_again_from_its_turns() -> None:
    folder = next(RESULTS.glob("*/*-reasoning-*"))
    seen = read_neobench(folder, Habits(opens=False, closes=False))
    again = measure(seen.exchanges, OURS, ClosedLoadSpec(kind="closed", concurrency=8))
    assert len(seen.reported) > 10
    assert again | seen.reported == pytest.approx(again, rel=1e-6)


def test_a_role_taken_for_a_token_comes_early_and_slows_the_rest() -> None:
    asked = [exchange(0, 50, 60, 70, opened_ns=1, closed_ns=70)]
    ours, theirs = (measure(asked, definition, CLOSED) for definition in (WHOLE_RUN, VLLM))
    assert (ours["ttft_ms p50"], theirs["ttft_ms p50"]) == (50, 1)
    assert (ours["tpot_ms p50"], theirs["tpot_ms p50"]) == (10, 34.5)
    assert (ours["itl_ms mean"], theirs["itl_ms mean"]) == (10, pytest.approx(69 / 4))
    assert ours["e2e_ms p50"] == theirs["e2e_ms p50"] == 70


def test_tokens_of_one_read_have_no_gap_by_ours_and_an_empty_one_by_theirs() -> None:
    together = Exchange(0, 0, (NS_PER_MS, 3 * NS_PER_MS), (1, 2), 8, 3)
    ours, theirs = (measure([together], definition, CLOSED)["itl_ms mean"] for definition in (without_window(), AIPERF))
    assert (ours, theirs) == (2, 1)


def without_window() -> object:
    """Ours, of all requests: these few have no steady window."""
    return next(reached for choice, reached in path(OURS, WHOLE_RUN) if choice == "steady_window")


def test_rates_are_of_the_window_the_run_or_the_clients_own_time() -> None:
    one_after_another = [exchange(100 * place, 10, 50, 90) for place in range(11)]
    ours = measure(one_after_another, OURS, CLOSED)
    whole = measure(one_after_another, WHOLE_RUN, CLOSED)
    own = measure(one_after_another, AIPERF, CLOSED, seconds=2.0)
    assert whole["output_tokens_per_s"] == pytest.approx(33 / 1.09)
    assert own["output_tokens_per_s"] == 16.5
    assert own["requests_per_s"] == 5.5
    assert ours["output_tokens_per_s"] == pytest.approx(30, rel=0.05)
    assert whole["prompt_tokens"] == 88


def test_an_open_loop_is_timed_from_when_it_was_due_by_ours() -> None:
    late = [exchange(100 * place + 3, 10, 20, due_ms=100 * place) for place in range(11)]
    assert measure(late, OURS, OPEN)["ttft_ms p50"] == 13
    assert measure(late, WHOLE_RUN, OPEN)["ttft_ms p50"] == 10


def test_a_run_without_a_steady_window_has_no_figures_by_ours() -> None:
    with pytest.raises(ValueError, match="no steady window"):
        measure([exchange(0, 10, 20)], OURS, OPEN)


def test_the_way_from_one_definition_to_another_changes_one_choice_at_a_time() -> None:
    way = path(OURS, VLLM)
    assert way[-1][1] == VLLM
    assert [choice for choice, _ in way][:3] == ["from_due", "steady_window", "apart"]
    assert path(AIPERF, AIPERF) == []
