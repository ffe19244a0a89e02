"""What was measured as tables, with the aims and what other clients reached beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from published import PEERS

_OTHER_SITTING = "(2026-11-22)"


def render(measured: dict[str, Any]) -> str:
    """Markdown: a table for each scenario that was measured."""
    sections = {
        "precision": _precision,
        "throughput": _throughput,
        "many_streams": _many_streams,
        "open_loop": _open_loop,
        "start": _start,
    }
    told = ["\n".join(sections[name](rows)) for name, rows in measured.items()]
    return "\n\n".join([*told, f"{_OTHER_SITTING}: measured 2026-11-22, other sitting, each once"])


def _precision(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Errors in ms, reported minus true: 50 ms to the first of 64 tokens, 10 ms between them"
    head = (
        "client",
        "open",
        "TTFT p50",
        "TTFT p99",
        "gap p50",
        "gap p99",
        "each TTFT p99",
        "req/s",
        "core taken by others",
    )
    body = [
        (
            row["client"],
            row["open"],
            *(f"{row[name]:.2f}" for name in ("ttft_p50", "ttft_p99")),
            f"{row['gap_p50']:.3f}",
            *(f"{row[name]:.2f}" for name in ("gap_p99", "request_p99")),
            f"{row['requests_per_s']:.1f}",
            f"{row['waited_share']:.0%}",
        )
        for row in rows
    ]
    aims = [("aim", "each", "< 1", "< 5", "< 0.1", "", "", "≥ 370 at 256", "")]
    peers = [
        (
            f"{peer.client} {_OTHER_SITTING}",
            open_streams,
            *(f"{error:g}" for error in peer.ttft_errors_ms[open_streams]),
            "",
            f"{peer.gap_p99_errors_ms[open_streams]:g}",
            "",
            f"{peer.requests_per_s.get(open_streams, '')}",
            "",
        )
        for peer in PEERS
        for open_streams in peer.ttft_errors_ms
    ]
    yield from _table(head, [*body, *aims, *peers])


def _throughput(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "## One core, no delay: 1 token at 64 open, 256 tokens at 16 open"
    head = (
        "client",
        "req/s",
        "CPU s per 1,000 requests",
        "events/s",
        "CPU µs an event",
        "peak MB",
        "core taken by others",
    )
    body = [
        (
            row["client"],
            f"{row['requests_per_s']:,.0f}",
            f"{row['cpu_s_per_1000_requests']:.3f}",
            f"{row['events_per_s']:,.0f}",
            f"{row['cpu_us_per_event']:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{row['waited_share']:.0%}",
        )
        for row in rows
    ]
    aims = [("aim", "≥ 10,000", "≤ 0.1", "≥ 250,000", "≤ 4", "", "")]
    peers = [
        (
            f"{peer.client} {_OTHER_SITTING}",
            f"{peer.one_token_requests_per_s:,.0f}",
            f"{peer.cpu_s_per_1000_requests:g}",
            f"{peer.events_per_s:,.0f}",
            "",
            f"{peer.peak_mb:g}",
            "",
        )
        for peer in PEERS
    ]
    yield from _table(head, [*body, *aims, *peers])


def _many_streams(row: dict[str, Any]) -> Iterator[str]:
    yield "## Many streams"
    peers = ", ".join(f"{peer.client} {peer.connections_for_3000_requests:,}" for peer in PEERS)
    body = [
        (f"peak MB with {row['streams']:,} streams", f"{row['peak_mb']:.0f}", "< 1,024 with 15,000", ""),
        ("of them open at once, by the server", f"{row['open_at_most']:,}", "all", ""),
        ("connections for 3,000 requests, 64 open", row["connections_for_3000_requests"], "64 and a few", peers),
    ]
    yield from _table(("", "measured", "aim", _OTHER_SITTING), body)


def _open_loop(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Open loop, constant, 8 tokens"
    head = ("asked req/s", "achieved", "off", "gap error p99 ms, at the server", "as sent", _OTHER_SITTING)
    body = [
        (
            f"{row['asked_per_s']:g}",
            f"{row['achieved_per_s']:.2f}",
            f"{100 * (row['achieved_per_s'] / row['asked_per_s'] - 1):+.2f} %",
            f"{row['gap_error_p99_ms']:.2f}",
            f"{row['sent_gap_error_p99_ms']:.2f}",
            ", ".join(
                f"{peer.client} {peer.achieved_per_s[int(row['asked_per_s'])]:g}"
                for peer in PEERS
                if int(row["asked_per_s"]) in peer.achieved_per_s
            ),
        )
        for row in rows
    ]
    yield from _table(head, [*body, ("aim", "", "within 0.5 %", "< 2", "< 2", "")])


def _start(row: dict[str, Any]) -> Iterator[str]:
    yield "## Start"
    seconds = sorted(row["seconds_to_first_request"])
    peers = ", ".join(f"{peer.client} {peer.seconds_of_two_requests:g}" for peer in PEERS)
    body = [
        ("neobench", f"{seconds[len(seconds) // 2]:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})", "< 1"),
        (f"a whole run of two requests {_OTHER_SITTING}", peers, ""),
    ]
    yield from _table(("", "seconds to the first request", "aim"), body)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield ""
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
