"""Conversions between the units that stand in names."""

from __future__ import annotations

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
SECONDS_PER_HOUR = 3600
HOURS_PER_YEAR = 8760
TOKENS_PER_MILLION = 1_000_000


def seconds_from_ns(ns: float) -> float:
    return ns / NS_PER_S


def ns_from_seconds(seconds: float) -> int:
    return round(seconds * NS_PER_S)
