"""Where a gap between a client's figure and ours comes from, as terms that add up to it.

    gap = reported − ours
        = reported − its log over the whole run         its definition, one choice at a time, read in its log
        + its log − the server's truth of its run       how late the client saw it
        + the truth of its run − the truth of our run   what the server did otherwise
        + the truth of our run − our record             how late we saw it, as less
        + our record over the whole run − ours          our definition, read in our record

What stands between the first and the last line is of the whole run, from each request's sending, as all clients can be
read. Each term is measured: a gap is unexplained where what a client reports is not what its own log gives by its own
definition, where it saw what the server had not written, and where the server was not asked the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import mean
from typing import NamedTuple

from definitions import AIPERF, CHANGES, COUNTS, METRICS, OURS, VLLM, WHOLE_RUN, Definition, Load, measure, path
from exchanges import Cell, Exchange, Habits, Seen

BOUND_MS, BOUND_SHARE = 1.0, 0.02
"""A gap beyond either is explained."""
_SAME_MS, _SAME_SHARE = 0.05, 0.005
"""A figure that is computed twice is the same within either."""
_EARLY_MS = 0.5
"""A client cannot be earlier than its server by more than two clocks are read apart."""
_TOLD_SHARE = 0.1
"""Terms below this share of a gap are not told."""

DEFINITIONS = {"vllm bench serve": VLLM, "aiperf": AIPERF}

LATE, SERVER, OUR_LATE = "its own lateness", "the server itself, in its run", "our own lateness"
COUNTED = "the server's count of tokens, not the tokenizer's"


@dataclass(frozen=True)
class Term:
    cause: str
    amount: float
    """In the metric's unit."""


@dataclass(frozen=True)
class Gap:
    """One metric of one client beside ours."""

    metric: str
    reported: float
    ours: float
    ours_by_its_definition: float | None
    """None where our record keeps no chunk without a token and the definition takes one for a token."""
    its_whole_run: float
    """The client's log as we read ours, over the whole run."""
    truth: float
    """The same by the server's clock."""
    our_truth: float
    """And of our run."""
    terms: tuple[Term, ...]
    unexplained: tuple[str, ...]
    """Why the terms do not account for it; empty where they do."""

    @property
    def amount(self) -> float:
        return self.reported - self.ours

    @property
    def is_wide(self) -> bool:
        """Whether it has to be explained."""
        if self.ours and abs(self.amount / self.ours) > BOUND_SHARE:
            return True
        return is_time(self.metric) and abs(self.amount) > BOUND_MS

    @property
    def told_terms(self) -> list[Term]:
        return [term for term in self.terms if abs(term.amount) >= _TOLD_SHARE * abs(self.amount)]


def is_time(metric: str) -> bool:
    return "_ms " in metric


def gaps(client: Cell, ours: Cell, load: Load, habits: Habits) -> list[Gap]:
    """Every metric that both report of a server of these habits.

    Raises ValueError for a run of ours without a steady window.
    """
    definition = DEFINITIONS[client.seen.client]
    readings = _Readings(
        its=_steps(client, WHOLE_RUN, definition, load),
        ours=_steps(ours, OURS, WHOLE_RUN, load),
        truth=measure(client.truth, WHOLE_RUN, load),
        our_truth=measure(ours.truth, WHOLE_RUN, load),
    )
    by_its = _steps(ours, OURS, definition, load)[-1].values
    not_asked = _not_asked_alike(client.truth, ours.truth)
    told = []
    for metric in METRICS:
        if metric not in client.seen.reported or metric not in ours.seen.reported:
            continue
        known = not (habits.opens and definition.opening_is_token and metric.startswith(("ttft", "tpot", "itl")))
        told.append(
            Gap(
                metric=metric,
                reported=client.seen.reported[metric],
                ours=ours.seen.reported[metric],
                ours_by_its_definition=by_its[metric] if known else None,
                its_whole_run=readings.its[0].values[metric],
                truth=readings.truth[metric],
                our_truth=readings.our_truth[metric],
                terms=tuple(readings.terms(metric)),
                unexplained=(*not_asked, *_wrong(metric, client.seen, ours.seen, readings)),
            )
        )
    return told


def mean_gaps(rounds: Sequence[list[Gap]]) -> list[Gap]:
    """Of each metric that every round has, the mean of every figure; what spoke against one round still does."""
    by_metric = [{gap.metric: gap for gap in gaps} for gaps in rounds]
    metrics = [metric for metric in METRICS if all(metric in gaps for gaps in by_metric)]
    return [_mean_gap([gaps[metric] for gaps in by_metric]) for metric in metrics]


def _mean_gap(each: Sequence[Gap]) -> Gap:
    by_its = [gap.ours_by_its_definition for gap in each if gap.ours_by_its_definition is not None]
    terms = zip(*(gap.terms for gap in each), strict=True)
    return Gap(
        metric=each[0].metric,
        reported=mean(gap.reported for gap in each),
        ours=mean(gap.ours for gap in each),
        ours_by_its_definition=mean(by_its) if by_its else None,
        its_whole_run=mean(gap.its_whole_run for gap in each),
        truth=mean(gap.truth for gap in each),
        our_truth=mean(gap.our_truth for gap in each),
        terms=tuple(Term(of[0].cause, mean(term.amount for term in of)) for of in terms),
        unexplained=tuple(why for gap in each for why in gap.unexplained),
    )


class _Step(NamedTuple):
    """What a run gives by one definition, and the choice that made it of the one before; None for the first."""

    choice: str | None
    values: dict[str, float]


@dataclass(frozen=True)
class _Readings:
    """Two runs by every definition on the way from ours to the client's."""

    its: list[_Step]
    """From the whole run to the client's own definition."""
    ours: list[_Step]
    """From our definition to the whole run."""
    truth: dict[str, float]
    our_truth: dict[str, float]

    def terms(self, metric: str) -> Iterator[Term]:
        for before, after in chain(pairwise(self.ours), pairwise(self.its)):
            yield Term(CHANGES[after.choice or ""], after.values[metric] - before.values[metric])
        its, ours = self.its[0].values[metric], self.ours[-1].values[metric]
        if metric in COUNTS:
            # Clients that are told a server's count report that.
            yield Term(COUNTED, its - ours)
            return
        yield Term(LATE, its - self.truth[metric])
        yield Term(SERVER, self.truth[metric] - self.our_truth[metric])
        yield Term(OUR_LATE, self.our_truth[metric] - ours)


def _steps(cell: Cell, start: Definition, end: Definition, load: Load) -> list[_Step]:
    def values(definition: Definition) -> dict[str, float]:
        return measure(cell.seen.exchanges, definition, load, cell.seen.seconds)

    return [_Step(None, values(start)), *(_Step(choice, values(reached)) for choice, reached in path(start, end))]


def _wrong(metric: str, client: Seen, ours: Seen, readings: _Readings) -> list[str]:
    return [
        *_not_reproduced(metric, client.client, client.reported[metric], readings.its[-1].values[metric]),
        *_not_reproduced(metric, ours.client, ours.reported[metric], readings.ours[0].values[metric]),
        *_too_early(metric, client.client, readings.its[0].values, readings.truth),
        *_too_early(metric, ours.client, readings.ours[-1].values, readings.our_truth),
    ]


def _not_reproduced(metric: str, client: str, reported: float, again: float) -> list[str]:
    off = abs(reported - again)
    if off <= _SAME_SHARE * abs(reported) or (is_time(metric) and off <= _SAME_MS):
        return []
    return [f"{client} reports {reported:,.4g}, its own log gives {again:,.4g} by its definition"]


def _too_early(metric: str, client: str, seen: Mapping[str, float], truth: Mapping[str, float]) -> list[str]:
    """By the mean, in which every request counts alike. Gaps between tokens may be seen shorter than they were."""
    time = metric.partition(" ")[0]
    if time not in ("ttft_ms", "e2e_ms"):
        return []
    early = truth[f"{time} mean"] - seen[f"{time} mean"]
    return [f"{client} saw it {early:.2f} ms before the server wrote it"] if early > _EARLY_MS else []


def _not_asked_alike(truth: Sequence[Exchange], our_truth: Sequence[Exchange]) -> list[str]:
    """By the lengths that the server read and answered, in whatever order."""
    lengths, our_lengths = _lengths(truth), _lengths(our_truth)
    different = sum(one != other for one, other in zip(lengths, our_lengths, strict=False))
    different += abs(len(lengths) - len(our_lengths))
    return [f"the server was not asked the same: {different} requests of other lengths"] if different else []


def _lengths(truth: Sequence[Exchange]) -> list[tuple[int, int]]:
    return sorted((one.prompt_tokens, one.output_tokens) for one in truth)
