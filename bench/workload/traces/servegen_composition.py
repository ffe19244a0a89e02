"""What a ServeGen client composition says: how often each client asks, and how long its requests are.

One client a line: `trace_csv` has its windows, each `t,rate,cv,dist,shape,scale` with t in seconds and the rate in
requests a second; `dataset` has its length histograms, each set valid from its time until the next set's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.workload.traces.documents import documents

PUBLISHED_WINDOW_S = 600.0
"""Length of a window where the file has only one, which does not tell."""
_LEAST_SHAPE, _MOST_SHAPE = 1e-3, 1e9
_MOST_RATE = 1e6
_MOST_SECONDS = 1e9
_MOST_TOKENS = 10**9
_SUM_TOLERANCE = 1e-3
_WINDOW = "t,rate,cv,dist,shape,scale: numbers of 0 or more, dist Gamma or Weibull where the rate is above 0"
_HISTOGRAM = "{value: share, ...}: values of 0 or more, shares that sum to 1"
_COMPOSITION = "windows of one length in order of time, the same for every client"


class ClientRow(msgspec.Struct):
    """A line of the file."""

    category: str
    client_id: int | str
    trace_csv: list[str]
    dataset: dict[str, dict[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """How a client asks for a while."""

    start_s: float
    rate: float
    """Requests a second."""
    cv: float
    """Coefficient of variation of its gaps, as published."""
    gaps: Literal["Gamma", "Weibull"] | None
    """How they are distributed; None where nothing is asked."""
    shape: float


@dataclass(frozen=True)
class Histogram:
    values: NDArray[np.float64]
    """Ascending."""
    shares: NDArray[np.float64]

    @cached_property
    def _cumulated(self) -> NDArray[np.float64]:
        cumulated = np.cumsum(self.shares)
        return np.asarray(cumulated / cumulated[-1])

    def draw(self, generator: np.random.Generator, n: int) -> NDArray[np.float64]:
        return self.values[np.searchsorted(self._cumulated, generator.random(n), side="right")]

    def quantiles(self, ranks: Sequence[float]) -> list[float]:
        """For each rank from 0 to 1 the least value that at least this share is not above."""
        places = np.minimum(np.searchsorted(self._cumulated, ranks), len(self.values) - 1)
        return [float(value) for value in self.values[places]]

    @property
    def mean(self) -> float:
        return math.fsum(self.values * self.shares) / math.fsum(self.shares)


@dataclass(frozen=True)
class Client:
    id: str
    windows: tuple[Window, ...]
    histograms: tuple[tuple[float, dict[str, Histogram]], ...]
    """By field, from when on; in order of time. A set without fields says nothing of its time."""

    def lengths(self, time_s: float) -> dict[str, Histogram]:
        """The histograms that hold at `time_s`."""
        valid: dict[str, Histogram] = {}
        for start_s, fields in self.histograms:
            if start_s <= time_s:
                valid = fields
        return valid


@dataclass(frozen=True)
class Composition:
    clients: tuple[Client, ...]
    window_s: float

    @property
    def start_s(self) -> float:
        return self.clients[0].windows[0].start_s

    @property
    def fields(self) -> tuple[str, ...]:
        """What has histograms, in the file's order."""
        return tuple(dict.fromkeys(name for client in self.clients for _, sets in client.histograms for name in sets))

    def field_quantiles(self, name: str, ranks: Sequence[float]) -> list[float]:
        """Quantiles of a field over all clients, each histogram weighted by the rate of the windows it holds in."""
        return self._pooled(name).quantiles(ranks)

    def field_mean(self, name: str) -> float:
        return self._pooled(name).mean

    def rates(self) -> NDArray[np.float64]:
        """Requests a second of all clients together, by window."""
        return np.asarray(np.sum([[window.rate for window in client.windows] for client in self.clients], axis=0))

    def window_cvs(self) -> NDArray[np.float64]:
        """The published CV of the gaps of each client's every window in which it asks."""
        return np.array([w.cv for client in self.clients for w in client.windows if w.gaps is not None])

    def _pooled(self, name: str) -> Histogram:
        values, weights = [], []
        for client in self.clients:
            for window in client.windows:
                histogram = client.lengths(window.start_s).get(name)
                if histogram is not None and window.rate > 0:
                    values.append(histogram.values)
                    weights.append(histogram.shares * window.rate)
        if not values:
            raise InputError(f"no client that asks has a histogram of {name}", allowed=", ".join(self.fields))
        distinct, places = np.unique(np.concatenate(values), return_inverse=True)
        return Histogram(distinct, np.bincount(places, np.concatenate(weights)).astype(np.float64))


def composition(path: Path) -> Composition:
    """The composition in the file at `path`, held whole: a few megabytes for a day of a hundred clients.

    Raises InputError, naming the line, where it is broken.
    """
    clients: list[Client] = []
    ids: set[str] = set()
    for number, row in documents(path, ClientRow):
        where = f"{path}:{number}"
        client = _client(row, where)
        if client.id in ids:
            raise InputError(f"a second client {client.id}", where=where, allowed="each client_id once")
        if clients and [w.start_s for w in client.windows] != [w.start_s for w in clients[0].windows]:
            raise InputError(f"client {client.id} has other windows than the first", where=where, allowed=_COMPOSITION)
        ids.add(client.id)
        clients.append(client)
    if not clients:
        raise InputError("the composition has no client", where=path, allowed="one a line")
    return Composition(tuple(clients), _window_s(clients[0].windows, path))


def _client(row: ClientRow, where: str) -> Client:
    if not row.trace_csv:
        raise InputError("trace_csv is empty", where=where, allowed=_WINDOW)
    windows = tuple(_window(line, f"{where}: trace_csv[{i}]") for i, line in enumerate(row.trace_csv))
    histograms = sorted(_histogram_sets(row.dataset or {}, where), key=lambda timed: timed[0])
    return Client(str(row.client_id), windows, tuple(histograms))


def _window(line: str, where: str) -> Window:
    cells = line.split(",")
    try:
        start_s, rate, cv, shape = (float(cells[i]) for i in (0, 1, 2, 4))
    except (ValueError, IndexError):
        raise InputError(f"{line[:60]!r} is not a window", where=where, allowed=_WINDOW) from None
    if not (0 <= start_s <= _MOST_SECONDS and 0 <= rate <= _MOST_RATE and 0 <= cv < math.inf):
        raise InputError(f"{line[:60]!r} is not a window", where=where, allowed=_WINDOW)
    if rate == 0:
        return Window(start_s, 0.0, cv, None, shape)
    if not _LEAST_SHAPE <= shape <= _MOST_SHAPE:
        allowed = f"from {_LEAST_SHAPE:g} to {_MOST_SHAPE:g} where the rate is above 0"
        raise InputError(f"shape = {shape:g}", where=where, allowed=allowed)
    match cells[3]:
        case "Gamma" | "Weibull" as gaps:
            return Window(start_s, rate, cv, gaps, shape)
        case other:
            raise InputError(f"dist = {other!r}", where=where, allowed="Gamma or Weibull where the rate is above 0")


def _window_s(windows: Sequence[Window], path: Path) -> float:
    gaps = np.diff([window.start_s for window in windows])
    if not len(gaps):
        return PUBLISHED_WINDOW_S
    if gaps[0] <= 0 or not np.allclose(gaps, gaps[0], rtol=1e-9):
        raise InputError("windows of several lengths, or out of order", where=path, allowed=_COMPOSITION)
    return float(gaps[0])


def _histogram_sets(dataset: dict[str, dict[str, str]], where: str) -> Iterator[tuple[float, dict[str, Histogram]]]:
    for start, fields in dataset.items():
        try:
            start_s = float(start)
        except ValueError:
            start_s = math.nan
        if not math.isfinite(start_s):
            raise InputError(f"dataset has the time {start!r}", where=where, allowed="seconds")
        filled = {name: text for name, text in fields.items() if text.strip(" {}")}
        yield start_s, {name: _histogram(text, name, f"{where}: dataset[{start}]") for name, text in filled.items()}


def _histogram(text: str, name: str, where: str) -> Histogram:
    """The histogram that is written as a Python dictionary of numbers."""
    try:
        pairs = np.array(text.strip(" {}").replace(":", ",").split(","), dtype=np.float64).reshape(-1, 2)
    except ValueError:
        raise InputError(f"{name} is no histogram", where=where, allowed=_HISTOGRAM) from None
    values, shares = pairs[np.argsort(pairs[:, 0], kind="stable")].T
    if name == "reason_ratio":
        fit, allowed = (values >= 0) & (values <= 1), "values from 0 to 1"
    else:
        fit, allowed = (values == np.floor(values)) & (values >= 0) & (values <= _MOST_TOKENS), "whole values from 0"
    if not np.all(fit & (shares >= 0)):
        raise InputError(
            f"{name} has values or shares it cannot have", where=where, allowed=f"{allowed}, shares from 0"
        )
    if not abs(math.fsum(shares) - 1) <= _SUM_TOLERANCE:
        raise InputError(f"the shares of {name} sum to {math.fsum(shares):g}", where=where, allowed=_HISTOGRAM)
    return Histogram(values, shares)
