"""Shifts of the level of a series, found by circular binary segmentation (Olshen et al. 2004, Biostatistics 5(4), 557).

The stretch whose level differs most from that of the rest is cut out if that explains more than any cut through noise
would, and then each part is looked at by itself; a stretch that reaches an end is a single shift. Noise is what is left
around the two levels, taken as an autoregression whose innovations are drawn from those seen (the sieve bootstrap:
Bühlmann 1997, Bernoulli 3(2), 123), so that a series that wanders slowly raises few alarms.

False alarms among 200 series without a shift, at a level of 0.95, of so many values (tests/unit/soak/test_constancy.py
draws some of them, from seeds that nothing here was chosen by; 10 would be 5 %, and a count of 10 is known to about 6):

                                                     30    60   120   300
    autoregression of 0                               0     4     3     7
    of 0.3                                            0     7     7     6
    of 0.6                                            2     6     2     7
    of 0.7                                            1     5     9     6
    heavy tails, Student's t of 3 degrees             0     5    11    11
    those under an autoregression of 0.5              0     2     8    17
    white noise over as much wander of 0.8            2     7    12    11
    over as much of 0.9                               3    21    24    28

So it keeps what it says for an autoregression, and not where the wander is slow and hidden. Of shifts by three standard
deviations in the middle so many of 200 were found within a twentieth of the length:

                                                     30    60   120
    autoregression of 0                              27   171   200
    of 0.3                                           21   124   199
    of 0.5                                           18    69   185
    of 0.6                                           17    57   155
    of 0.7                                            9    40   112
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.metrics.autocorrelation import ORDER, autoregression, group_means
from bench.metrics.columns import Floats, Ints

RESAMPLES = 499
LEAST_VALUES = 30
"""A shorter series has too little left beside two levels to tell how its noise resembles itself."""
LEAST_STRETCH = 5
"""Values on either side of a shift: fewer are an outlier and no level."""
MOST_VALUES = 300
"""A longer series is averaged in equal groups: the work grows with the square of the number."""
METHOD = f"circular binary segmentation, each cut against {RESAMPLES} sieve-bootstrapped series without one"
_FITTED = 6
"""Figures that fitting two levels at the two best places comes to, in what it takes off the noise: chosen by
simulation, on other series than those of the tables above."""
_HELD = 0.8
"""Of the false alarms that are allowed, those that a cut may raise were its noise known; not knowing it adds some."""
_OUTLYING = 4.0
_BURN_IN = 50


@dataclass(frozen=True)
class Shift:
    at: int
    """Index of the first value of the new level."""
    before: float
    """Median of the stretch up to the shift."""
    after: float
    """Median of the stretch from it on."""


@dataclass(frozen=True)
class Shifts:
    found: tuple[Shift, ...]
    """In order."""
    reason: str | None = None
    """Why there is nothing to say, or why what was found is no shift; None where `found` stands."""
    tested: bool = True
    """Whether the series was long enough to be looked at."""


def level_shifts(values: Sequence[float], *, level: float, seed: int) -> Shifts:
    """The shifts of `values`, equally spaced in time. A series without any shows none with probability `level`.

    A series that a straight line explains better than its steps do has a trend and no shift. Deterministic in `seed`.
    """
    group = math.ceil(len(values) / MOST_VALUES)
    series = group_means(values, group)
    if len(series) < LEAST_VALUES:
        told = f"a shift needs {LEAST_VALUES} values to be told from noise, there are {len(series)}"
        return Shifts((), told, tested=False)
    series = _without_outliers(series)
    bounds = _pruned(series, [0, *sorted(_cuts(series, 0, _HELD * (1 - level), seed)), len(series)])
    if len(bounds) == 2:
        return Shifts(())
    if _line_explains_more(series, bounds):
        return Shifts((), "a straight line explains the series better than steps: it has a trend")
    medians = [float(np.median(series[start:end])) for start, end in pairwise(bounds)]
    found = zip(bounds[1:-1], pairwise(medians), strict=True)
    return Shifts(tuple(Shift(cut * group, before, after) for cut, (before, after) in found))


def _without_outliers(series: Floats) -> Floats:
    """Values drawn in to _OUTLYING robust standard deviations from the median of their neighbours."""
    from scipy.ndimage import median_filter

    middle = median_filter(series, 2 * LEAST_STRETCH - 1, mode="nearest")
    away = series - middle
    most = _OUTLYING * 1.4826 * np.median(np.abs(away))
    return np.asarray(middle + np.clip(away, -most, most))


def _cuts(series: Floats, offset: int, alpha: float, seed: int) -> list[int]:
    """Where the series is cut, counted from `offset`."""
    if len(series) < LEAST_VALUES or np.ptp(series) == 0:
        return []
    explained, ((start, end),), (residuals,) = _best_stretch(series[None, :])
    if _share_of_noise(float(explained[0]), residuals, seed) > alpha:
        return []
    cuts = [int(cut) for cut in (start, end) if 0 < cut < len(series)]
    parts = pairwise([0, *cuts, len(series)])
    deeper = [inner for first, last in parts for inner in _cuts(series[first:last], offset + first, alpha, seed)]
    return [*(offset + cut for cut in cuts), *deeper]


def _best_stretch(series: Floats) -> tuple[Floats, Ints, Floats]:
    """Of each series, (series, n): how much the stretch explains that differs most from the rest of it, its first index
    and the one after its last, (series, 2), and what is left around the two levels, (series, n).

    The first is the variance between the two levels over the long-run variance of what is left.
    """
    n = series.shape[1]
    centred = series - series.mean(axis=1, keepdims=True)
    sums = np.concatenate([np.zeros((len(series), 1)), np.cumsum(centred, axis=1)], axis=1)
    best, stretch = np.full(len(series), -1.0), np.zeros((len(series), 2), np.int64)
    for length in range(LEAST_STRETCH, n - LEAST_STRETCH + 1):
        starts = _starts(n, length)
        between = (sums[:, starts + length] - sums[:, starts]) ** 2 * (n / (length * (n - length)))
        chosen = between.argmax(axis=1)
        largest = np.take_along_axis(between, chosen[:, None], axis=1)[:, 0]
        better = largest > best
        best = np.where(better, largest, best)
        stretch[better] = np.stack([starts[chosen], starts[chosen] + length], axis=1)[better]
    residuals = _around_two_levels(centred, stretch)
    noise = autoregression(residuals, _FITTED).long_run_variance
    without_noise = np.where(best > 0, math.inf, 0.0)
    return np.divide(best, noise, out=without_noise, where=noise > 0), stretch, residuals


def _starts(n: int, length: int) -> Ints:
    """Where a stretch of `length` may begin, so that what lies before and after it is nothing or long enough."""
    starts = np.arange(n - length + 1)
    after = n - length - starts
    return np.asarray(starts[((starts == 0) | (starts >= LEAST_STRETCH)) & ((after == 0) | (after >= LEAST_STRETCH))])


def _around_two_levels(series: Floats, stretch: Ints) -> Floats:
    places = np.arange(series.shape[1])
    inside = (places >= stretch[:, :1]) & (places < stretch[:, 1:])
    means = [(series * part).sum(axis=1) / part.sum(axis=1) for part in (inside, ~inside)]
    return np.asarray(series - np.where(inside, means[0][:, None], means[1][:, None]))


def _share_of_noise(explained: float, residuals: Floats, seed: int) -> float:
    """Share of the series with one level and the noise of `residuals` whose best stretch explains that much or more."""
    from scipy.signal import lfilter

    coefficients = autoregression(residuals, _FITTED).coefficients
    past = np.lib.stride_tricks.sliding_window_view(residuals, ORDER)[:-1, ::-1]
    innovations = residuals[ORDER:] - past @ coefficients
    # Raw bits, because numpy promises that a seed's bit stream never changes but not what Generator makes of it.
    draws = np.random.PCG64(seed).random_raw(RESAMPLES * (len(residuals) + _BURN_IN)).reshape(RESAMPLES, -1)
    drawn = (innovations - innovations.mean())[(draws % np.uint64(len(innovations))).astype(np.int64)]
    noise = lfilter([1.0], [1.0, *-coefficients], drawn, axis=1)[:, _BURN_IN:]
    by_noise, _, _ = _best_stretch(noise)
    return (1 + int((by_noise >= explained).sum())) / (RESAMPLES + 1)


def _pruned(series: Floats, bounds: list[int]) -> list[int]:
    """`bounds` without the shifts between two stretches that, seen alone, are worth less than a level and a place."""
    while len(bounds) > 2:
        noise = float(autoregression(series - _steps(series, bounds), _FITTED).long_run_variance)
        worth = [
            _worth(series[a:b], series[b:c], noise) for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False)
        ]
        least = int(np.argmin(worth))
        if worth[least] >= 2 * math.log(len(series)):
            break
        bounds = bounds[: least + 1] + bounds[least + 2 :]
    return bounds


def _worth(before: Floats, after: Floats, noise: float) -> float:
    """Squared difference of two levels over its variance."""
    variance = noise * (1 / len(before) + 1 / len(after))
    return math.inf if variance == 0 else float((after.mean() - before.mean()) ** 2 / variance)


def _steps(series: Floats, bounds: Sequence[int]) -> Floats:
    return np.concatenate([np.full(end - start, series[start:end].mean()) for start, end in pairwise(bounds)])


def _line_explains_more(series: Floats, bounds: Sequence[int]) -> bool:
    """Whether a straight line has the lower Bayesian information criterion, of as many values as are independent."""
    n = len(series)
    t = np.arange(n) - (n - 1) / 2
    around_line = series - series.mean() - t * (t @ series) / (t @ t)
    around_steps = series - _steps(series, bounds)
    by_line, by_steps = (float((rest**2).sum()) for rest in (around_line, around_steps))
    if by_steps == 0:
        return by_line == 0
    independent = n / float(autoregression(around_steps, _FITTED).inflation)
    gain = independent * math.log(by_line / by_steps) if by_line > 0 else -math.inf
    return gain <= (2 * len(bounds) - 5) * math.log(independent)
