"""What is drawn from the published compositions is what they say, as far as chance allows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.core.sessions import Session
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Reading
from bench.workload.traces.servegen import sessions
from bench.workload.traces.servegen_composition import composition

TRACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces"
REASONING = TRACES / "servegen_reason_deepseek-r1.jsonl.gz"
LARGE = TRACES / "servegen_language_m-large.jsonl.gz"
BUSIEST = "client-35/"
WINDOWS = 12
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two hours of the reasoning clients; the half day that is published takes six times as long to draw."""
    path = tmp_path_factory.mktemp("servegen") / "two_hours.jsonl"
    with gzip.open(REASONING, "rt") as published, path.open("w") as kept:
        for line in published:
            client = json.loads(line)
            kept.write(json.dumps({**client, "trace_csv": client["trace_csv"][:WINDOWS]}) + "\n")
    return path


@pytest.fixture(scope="module")
def drawn(composed: Path) -> dict[str, np.ndarray]:
    """Their requests, and whether they are of the busiest client."""
    rows = np.fromiter(
        (_row(item) for item in sessions(composed, Reading()) if isinstance(item, Session)), np.dtype((float, 5))
    )
    return dict(zip(("time", "prompt", "output", "thinking", "of_busiest"), rows.T, strict=True))


def _row(session: Session) -> tuple[float, ...]:
    turn = session.turns[0]
    of_busiest = session.id.startswith(BUSIEST)
    return (session.arrival_s or 0.0, turn.prompt_tokens, turn.output_tokens, turn.thinking_tokens, of_busiest)


def test_as_many_requests_come_as_the_rates_say_when_they_say(composed: Path, drawn: dict[str, np.ndarray]) -> None:
    expected = composition(composed).rates() * 600
    assert np.all(np.diff(drawn["time"]) >= 0)
    by_window = np.histogram(drawn["time"], bins=WINDOWS, range=(0, 600 * WINDOWS))[0]
    assert by_window.sum() == pytest.approx(expected.sum(), rel=0.01)
    assert np.corrcoef(by_window, expected)[0, 1] > 0.99


@pytest.mark.parametrize(("column", "field"), [("prompt", "input_tokens"), ("output", "output_tokens")])
def test_lengths_have_the_quantiles_of_the_composition(
    composed: Path, drawn: dict[str, np.ndarray], column: str, field: str
) -> None:
    ranks = np.linspace(0.05, 0.95, 19)
    quantiles = composition(composed).field_quantiles(field, list(ranks))
    # Of whole numbers, a quantile's own share lies on both sides of its rank.
    assert all(np.mean(drawn[column] <= q) > rank - 0.01 for q, rank in zip(quantiles, ranks, strict=True))
    assert all(np.mean(drawn[column] < q) < rank + 0.01 for q, rank in zip(quantiles, ranks, strict=True))


def test_thinking_is_the_published_share(composed: Path, drawn: dict[str, np.ndarray]) -> None:
    share = composition(composed).field_mean("reason_ratio")
    assert np.mean(drawn["thinking"] / drawn["output"]) == pytest.approx(share, abs=0.005)


def test_fields_of_one_client_are_independent(drawn: dict[str, np.ndarray]) -> None:
    chosen = drawn["of_busiest"] > 0
    assert chosen.sum() > 10_000
    assert abs(stats.spearmanr(drawn["prompt"][chosen], drawn["output"][chosen]).statistic) < 0.03


def test_clients_without_histograms_are_a_third_of_the_rate() -> None:
    first = next(iter(sessions(LARGE, Reading())))
    assert first == LeftOut("of clients without length histograms, 31.2% of the rate", 2_125_388)
