"""Numbers that grow while a server runs, in the text format that Prometheus reads, version 0.0.4.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counts:
    """A counter for each combination of values of its labels, which have to be few."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._about = about
        self._labels = labels
        self._values: dict[tuple[str, ...], int] = {} if labels else {(): 0}

    def add(self, *values: str, by: int = 1) -> None:
        self._values[values] = self._values.get(values, 0) + by

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, self._about, "counter")
        for values, count in sorted(self._values.items()):
            yield _line(self._name, dict(zip(self._labels, values, strict=True)), count)


class Histogram:
    """Seconds, counted by the least of `bounds` that they do not exceed."""

    def __init__(self, name: str, about: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._about = about
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, self._about, "histogram")
        upto = list(accumulate(self._counts))
        for bound, count in zip([*map(str, self._bounds), "+Inf"], upto, strict=True):
            yield _line(f"{self._name}_bucket", {"le": bound}, count)
        yield _line(f"{self._name}_sum", {}, self._sum_s)
        yield _line(f"{self._name}_count", {}, upto[-1])


def gauge(name: str, about: str, value: float, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """A value as it is now."""
    yield from _head(name, about, "gauge")
    yield _line(name, labels or {}, value)


def counter(name: str, about: str, value: float) -> Iterator[str]:
    """A total that somebody else keeps."""
    yield from _head(name, about, "counter")
    yield _line(name, {}, value)


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    escaped = about.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {escaped}\n"
    yield f"# TYPE {name} {kind}\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{told}}} {value}\n" if told else f"{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
