"""What a client reported against what its server knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from clients import Ran

from bench.core.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True)
class Errors:
    """Reported minus true, in milliseconds: of a percentile over requests the percentiles' difference."""

    ttft_p50: float
    ttft_p99: float
    gap_p50: float
    gap_p99: float
    request_p99: float
    """p99 over requests of how far the reported TTFT of each is from its own true one."""
    requests_per_s: float
    waited_share: float
    """Of the time, how much the client was ready to run and its core did something else."""


def errors(ran: Ran) -> Errors:
    """Requests are matched in the order in which one side sent and the other read them."""
    received = np.array([request["t_received_ns"] for request in ran.truth.requests])
    order = np.argsort(received, kind="stable")
    writes = [np.array(ran.truth.requests[index]["t_writes_ns"]) for index in order]
    true_ttft = np.array([one[0] for one in writes]) - received[order]
    ttft = ran.first_ns - ran.sent_ns
    gaps, true_gaps = _gaps(ran.chunks_ns), _gaps(writes)
    return Errors(
        _difference(ttft, true_ttft, 50),
        _difference(ttft, true_ttft, 99),
        _difference(gaps, true_gaps, 50),
        _difference(gaps, true_gaps, 99),
        float(np.percentile(np.abs(ttft - true_ttft), 99)) / NS_PER_MS,
        len(ttft) / ran.seconds,
        ran.waited_seconds / ran.seconds,
    )


@dataclass(frozen=True)
class Pace:
    """How evenly an open loop sent, as the server read it."""

    asked_per_s: float
    achieved_per_s: float
    gap_error_p99_ms: float
    """Of the distance between each gap and the asked one."""
    sent_gap_error_p99_ms: float
    """The same by the client's own times of sending."""


def pace(ran: Ran, asked_per_s: float) -> Pace:
    received = np.sort([request["t_received_ns"] for request in ran.truth.requests])
    achieved = (len(received) - 1) * NS_PER_S / float(received[-1] - received[0])
    return Pace(asked_per_s, achieved, _gap_error(received, asked_per_s), _gap_error(ran.sent_ns, asked_per_s))


def open_at_most(ran: Ran) -> int:
    """Most answers that the server had in flight at once."""
    begins = [(request["t_received_ns"], 1) for request in ran.truth.requests]
    ends = [(request["t_end_ns"], -1) for request in ran.truth.requests]
    return int(np.cumsum([change for _, change in sorted(begins + ends)]).max())


def _gap_error(times_ns: np.ndarray, asked_per_s: float) -> float:
    return float(np.percentile(np.abs(np.diff(times_ns) - NS_PER_S / asked_per_s), 99)) / NS_PER_MS


def _gaps(times: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.diff(one) for one in times])


def _difference(reported: np.ndarray, true: np.ndarray, percentile: float) -> float:
    if not len(reported) or not len(true):
        return float("nan")
    return float(np.percentile(reported, percentile) - np.percentile(true, percentile)) / NS_PER_MS
