"""A gap is the sum of its terms, and one that something speaks against is not explained."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from attribution import LATE, SERVER, Gap, gaps, mean_gaps
from crosscheck_table import Comparison, render
from definitions import AIPERF, OURS, VLLM, Definition, measure
from exchanges import Cell, Exchange, Habits, Seen

from bench.core.load_spec import ClosedLoadSpec
from bench.core.units import NS_PER_MS

LOAD = ClosedLoadSpec(kind="closed", concurrency=1)
TOKENS = 4
SECONDS = 3.0


def run(ttft_ms: float, *, opens: bool = False, prompt_tokens: int = 8) -> list[Exchange]:
    """One request after another, 10 ms between tokens, each with a finish at the last of them."""
    exchanges = []
    for place in range(20):
        sent_ns = 100.0 * place * NS_PER_MS
        tokens = tuple(sent_ns + (ttft_ms + 10 * token) * NS_PER_MS for token in range(TOKENS))
        opened_ns = sent_ns + NS_PER_MS if opens else None
        exchanges.append(
            Exchange(sent_ns, sent_ns, tokens, (1,) * TOKENS, prompt_tokens, TOKENS, opened_ns, tokens[-1])
        )
    return exchanges


def cell(client: str, definition: Definition, exchanges: list[Exchange], truth: list[Exchange]) -> Cell:
    return Cell(Seen(client, exchanges, measure(exchanges, definition, LOAD, SECONDS), SECONDS), truth)


def told(client: Cell, ours: Cell | None = None, *, opens: bool = False) -> dict[str, Gap]:
    beside = ours or cell("neobench", OURS, run(50.25), run(50))
    return {gap.metric: gap for gap in gaps(client, beside, LOAD, Habits(opens=opens, closes=True))}


@pytest.mark.parametrize("opens", [True, False])
def test_every_gap_is_the_sum_of_its_terms(opens: bool) -> None:
    found = told(cell("vllm bench serve", VLLM, run(55, opens=opens), run(51)), opens=opens)
    assert len(found) == 20
    for gap in found.values():
        assert math.isclose(math.fsum(term.amount for term in gap.terms), gap.amount, abs_tol=1e-9), gap.metric
        assert gap.unexplained == ()


def test_a_client_that_is_late_is_told_from_a_server_that_is() -> None:
    gap = told(cell("aiperf", AIPERF, run(55), run(51)))["ttft_ms p50"]
    amounts = {term.cause: term.amount for term in gap.terms}
    assert gap.amount == pytest.approx(4.75)
    assert amounts[LATE] == pytest.approx(4)
    assert amounts[SERVER] == pytest.approx(1)
    assert gap.is_wide
    assert gap.ours_by_its_definition == pytest.approx(50.25)


def test_what_takes_a_role_for_a_token_cannot_be_read_in_our_record() -> None:
    found = told(cell("vllm bench serve", VLLM, run(50, opens=True), run(50)), opens=True)
    assert found["ttft_ms p50"].ours_by_its_definition is None
    assert found["e2e_ms p50"].ours_by_its_definition is not None


def test_a_report_that_its_own_log_does_not_give_is_not_explained() -> None:
    client = cell("aiperf", AIPERF, run(55), run(51))
    client.seen.reported["ttft_ms p50"] = 70.0
    found = told(client)
    assert "reports 70, its own log gives 55" in found["ttft_ms p50"].unexplained[0]
    assert found["ttft_ms p90"].unexplained == ()


def test_nobody_sees_a_token_before_it_is_written() -> None:
    found = told(cell("aiperf", AIPERF, run(45), run(51)))
    assert found["ttft_ms p50"].unexplained == ("aiperf saw it 6.00 ms before the server wrote it",)
    assert found["tpot_ms p50"].unexplained == ()


def test_clients_that_asked_something_else_are_not_compared() -> None:
    other = [replace(one, prompt_tokens=9) for one in run(51)]
    found = told(cell("aiperf", AIPERF, run(55), other))
    assert all("not asked the same: 20 requests" in gap.unexplained[0] for gap in found.values())


def test_rounds_are_averaged_term_by_term() -> None:
    one, other = (told(cell("aiperf", AIPERF, run(late), run(51))) for late in (53, 57))
    (gap,) = (gap for gap in mean_gaps([[*one.values()], [*other.values()]]) if gap.metric == "ttft_ms p50")
    assert gap.amount == pytest.approx(4.75)
    assert math.fsum(term.amount for term in gap.terms) == pytest.approx(gap.amount)
    assert {term.cause: term.amount for term in gap.terms}[LATE] == pytest.approx(4)


def test_the_page_names_causes_and_what_has_none() -> None:
    client = cell("aiperf", AIPERF, run(55), run(51))
    client.seen.reported["e2e_ms p50"] = 200.0
    comparison = Comparison("bench mock", "chat, 1 open", "aiperf", list(told(client).values()), 1)
    page = render([comparison], {"measured": "today"}, ["bench serve: did not start"])
    assert "* measured: today" in page
    assert "its own lateness +4.00; the server itself, in its run +1.00" in page
    assert page.count("**UNEXPLAINED**") == len(comparison.unexplained) == 1
    (row,) = (line for line in page.splitlines() if line.startswith("| bench mock | chat, 1 open | aiperf |"))
    metrics, within, explained, unexplained = map(int, row.split("|")[4:8])
    assert (within + explained + unexplained, unexplained) == (metrics, 1)
    assert "* bench serve: did not start" in page
