"""What other clients reached against such a server: measured 2026-11-22, in another sitting on a machine of this kind.

Each ran once, on one core with the server on the other: vllm 0.32, sglang 0.5.23, aiperf 0.13.0, inference-perf 0.7.0,
guidellm 0.8.1. They stand beside what is measured now and are compared with by eye: the machine's speed drifts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    client: str
    one_token_requests_per_s: float
    events_per_s: float
    cpu_s_per_1000_requests: float
    peak_mb: float
    connections_for_3000_requests: int
    seconds_of_two_requests: float
    """The whole run, most of which is its start."""
    ttft_errors_ms: dict[int, tuple[float, float]]
    """p50 and p99, reported minus true, by open streams."""
    gap_p99_errors_ms: dict[int, float]
    requests_per_s: dict[int, float]
    """At 64 and at 256 open streams, where 94 and 376 are possible."""
    achieved_per_s: dict[int, float]
    """Of an open loop, by the rate that was asked."""


_OPEN = (1, 16, 64, 256)


def _peer(
    client: str,
    figures: tuple[float, float, float, float, int, float],
    ttft: tuple[tuple[float, float], ...],
    gaps: tuple[float, ...],
    rates: tuple[float, float],
    achieved: tuple[float, float, float],
) -> Peer:
    return Peer(
        client,
        *figures,
        dict(zip(_OPEN, ttft, strict=True)),
        dict(zip(_OPEN, gaps, strict=True)),
        dict(zip((64, 256), rates, strict=True)),
        dict(zip((50, 200, 500), achieved, strict=True)),
    )


PEERS = (
    _peer(
        "vllm bench serve",
        (2_503, 143_000, 0.29, 614, 66, 23.0),
        ((1.7, 1.9), (2.7, 8.1), (10, 60), (67, 126)),
        (0.1, 0.9, 3.6, 15),
        (91, 325),
        (50.0, 199.8, 498.8),
    ),
    _peer(
        "sglang bench_serving",
        (1_636, 97_000, 0.93, 918, 3_004, 18.4),
        ((1.1, 1.8), (4.1, 9.5), (11, 24), (52, 363)),
        (1.2, 3.8, 4.1, 12),
        (90, 289),
        (47.8, 181, 421),
    ),
    _peer(
        "aiperf",
        (467, 22_000, 1.60, 638, 66, 14.2),
        ((0.8, 6.7), (10, 34), (17, 86), (94, 434)),
        (3.7, 9.2, 29, 106),
        (78, 180),
        (50, 200, 377),
    ),
    _peer(
        "inference-perf",
        (457, 55_000, 2.71, 384, 65, 11.2),
        ((0.8, 3.1), (0.5, 7.1), (0.8, 9.4), (1.9, 146)),
        (1.2, 1.8, 4.1, 18),
        (89, 233),
        (50, 200, 500),
    ),
    _peer(
        "guidellm",
        (146, 18_500, 14.1, 1_321, 3_002, 21.5),
        ((0.8, 5.1), (4, 32), (17, 74), (185, 1143)),
        (-0.1, 0.4, 0.5, 13),
        (73, 96),
        (50, 187, 133),
    ),
)
