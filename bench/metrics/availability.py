"""Availability as observed: the share of the watched time in which an engine answered, with an interval.

Times to failure and times to repair are taken as exponential. The ratio of mean repair to mean time to failure, which
is all that availability depends on, then has an F-interval (Gray and Lewis 1967, "A Confidence Interval for the
Availability Ratio", Technometrics 9(3)); because watching ends at a time and not at a failure, its upper end counts
one failure more.

Of 2,000 simulated histories each (failures each 2 h of being up, repairs of 3 min on average, watched for 3, 10, 40 and
200 h; numpy seeds [20261123, 3, hours]) the interval at 95 % held the true value in these shares. Repairs that resemble
one another, as restarts do, make it wider than it had to be; rare long ones among short ones make it much too narrow,
and few repairs need not show that there are such.

    exponential repairs                         98 %   96 %   96 %   97 %
    all alike                                  100 %   99 %  100 %   99 %
    log-normal, sigma 1                         97 %   96 %   94 %   91 %
    log-normal, sigma 2                         85 %   64 %   54 %   45 %
    36 s, and 25 min of one in ten              95 %   46 %   77 %   71 %
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.core.records import Headline
from bench.core.units import SECONDS_PER_HOUR
from bench.metrics.distributions import f_quantile, gamma_quantile
from bench.metrics.statistics import absent

F_RATIO = "F-interval of mean repair over mean time to failure, both exponential"
_SCATTERED = 1.5
"""Standard deviation of the repairs over their mean, 1 of exponential ones, from which the interval is said to be too
narrow."""
POISSON = "exact interval of a Poisson count"


@dataclass(frozen=True)
class Availability:
    observed: float | None
    """Up over up and down; None where nothing was observed."""
    low: float | None
    high: float | None
    level: float
    method: str
    """How the interval was made, or why there is none."""
    up_s: float
    down_s: float
    outages: int
    unobserved_s: float
    """Neither up nor down: planned starts, records being written, time in which nobody watched."""


def availability(
    up_s: float,
    repairs_s: Sequence[float],
    *,
    level: float,
    unrepaired_s: Sequence[float] = (),
    start_s: float | None = None,
    unobserved_s: float = 0.0,
) -> Availability:
    """Availability from `up_s` seconds up and the length of each outage that ended, `repairs_s`.

    `unrepaired_s` are the lengths of those that had not ended when watching did. `start_s`, what the engine takes to
    start, stands for a repair where none was seen: then the interval is one-sided, from the most frequent failures that
    would still show none in `up_s` with probability 1 − `level`.
    """
    outages = len(repairs_s) + len(unrepaired_s)
    down_s = math.fsum([*repairs_s, *unrepaired_s])
    watched_s = up_s + down_s
    low, high, method = _interval(up_s, down_s, outages, repairs_s, level, start_s)
    return Availability(
        observed=up_s / watched_s if watched_s > 0 else None,
        low=low,
        high=high,
        level=level,
        method=method,
        up_s=up_s,
        down_s=down_s,
        outages=outages,
        unobserved_s=unobserved_s,
    )


def failures_per_hour(up_s: float, failures: int, *, level: float) -> Headline:
    """How often it fails while it is up, with the exact interval of a Poisson count (Garwood 1936, Biometrika 28, 437).

    Without a failure the interval is one-sided, so it ends where `availability` takes the rate from.
    """
    if up_s <= 0:
        return absent("it was never seen up", level, n=failures)
    hours = up_s / SECONDS_PER_HOUR
    if failures == 0:
        high = gamma_quantile(1, level) / hours
        return Headline(0.0, 0.0, high, level, f"{POISSON}, one-sided", 0, "measured")
    tail = (1 - level) / 2
    low, high = gamma_quantile(failures, tail), gamma_quantile(failures + 1, 1 - tail)
    return Headline(failures / hours, low / hours, high / hours, level, POISSON, failures, "measured")


def _interval(
    up_s: float, down_s: float, outages: int, repairs_s: Sequence[float], level: float, start_s: float | None
) -> tuple[float | None, float | None, str]:
    """Low, high and the method."""
    if up_s <= 0:
        return None, None, "no interval: it was never seen up"
    if outages == 0:
        return _without_failure(up_s, level, start_s)
    tail = (1 - level) / 2
    ratio, repairs = down_s / up_s, len(repairs_s)
    shortest = ratio * outages / max(repairs, 1) * f_quantile(2 * outages, 2 * max(repairs, 1), tail)
    if repairs == 0:
        return 0.0, 1 / (1 + shortest), f"{F_RATIO}; no outage ended, so nothing bounds it from below"
    longest = ratio * (outages + 1) / repairs * f_quantile(2 * (outages + 1), 2 * repairs, 1 - tail)
    return 1 / (1 + longest), 1 / (1 + shortest), F_RATIO + _caution(repairs_s)


def _caution(repairs_s: Sequence[float]) -> str:
    """What is to be said of an interval whose repairs are no exponential ones."""
    scatter = stdev(repairs_s) / fmean(repairs_s) if len(repairs_s) > 1 and any(repairs_s) else 0.0
    if scatter <= _SCATTERED:
        return ""
    return f"; too narrow: the repairs scatter by {scatter:.2g} times their mean, and exponential ones do by 1"


def _without_failure(up_s: float, level: float, start_s: float | None) -> tuple[float | None, float | None, str]:
    most = -math.log(1 - level)
    told = f"no failure: one-sided, at most {most:.2f} of them in the time it was up"
    if start_s is None:
        return None, 1.0, f"{told}; how long one would take to repair is not known"
    low = 1 / (1 + most * start_s / up_s)
    return low, 1.0, f"{told}, each repaired in the {start_s:.3g} s that the engine starts in"
