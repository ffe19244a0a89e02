"""Arrival processes: when each session of an open loop begins."""

from __future__ import annotations

import random


def poisson_arrivals(sessions_per_s: float, sessions: int, seed: int) -> list[float]:
    """Seconds from the start at which `sessions` arrive: independent exponential gaps of mean 1/`sessions_per_s`."""
    draw = random.Random(seed)
    arrivals: list[float] = []
    now_s = 0.0
    for _ in range(sessions):
        now_s += draw.expovariate(sessions_per_s)
        arrivals.append(now_s)
    return arrivals
