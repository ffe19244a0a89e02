"""What was measured as one table, with the aim beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from paired_ratio import Ratio, paired_ratio

AIM = 0.95
"""Of the tokens a second that the engine reaches in process."""


@dataclass(frozen=True)
class Compared:
    """One model, in as many rounds as the lists are long."""

    model: str
    in_process: list[float]
    """Tokens a second."""
    served: list[float]
    """Tokens a second."""
    server_s_per_token: list[float]
    vllm_s_per_token: list[float]
    """Of vLLM's API server; empty where it was not asked."""

    @property
    def ratio(self) -> Ratio:
        return paired_ratio(self.served, self.in_process)


def render(rows: Sequence[Compared]) -> str:
    """Markdown: a line a model. Rates are medians over its rounds, costs means: a round's is in coarse steps."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Compared]) -> Iterator[str]:
    head = (
        "model",
        "rounds",
        "in process, tok/s",
        "bench serve, tok/s",
        "served over in process (95 %)",
        f"aim ≥ {AIM}",
        "CPU µs a token, bench serve",
        "vLLM's API server",
    )
    yield _line(head)
    yield _line(["---"] * len(head))
    for row in rows:
        rates = (f"{median(rate):,.0f}" for rate in (row.in_process, row.served))
        costs = (_microseconds(cost) for cost in (row.server_s_per_token, row.vllm_s_per_token))
        yield _line((row.model, len(row.served), *rates, row.ratio, verdict(row.ratio), *costs))


def verdict(ratio: Ratio) -> str:
    """Whether the aim is met; it is said to be certain where the whole interval lies on one side of it."""
    met = "met" if ratio.value >= AIM else "missed"
    return met if ratio.low >= AIM or ratio.high < AIM else f"{met}, not certain"


def _microseconds(seconds: Sequence[float]) -> str:
    return f"{1e6 * fmean(seconds):.1f}" if seconds else "not asked"


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
