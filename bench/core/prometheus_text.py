"""What a server tells at `/metrics`, in the text format of Prometheus, version 0.0.4.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\s*(\{(?P<labels>.*)\})?\s+(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float
    """Finite: a count or a gauge is nothing else."""


def samples(text: str, prefix: str) -> Iterator[Sample]:
    """The samples of `text` whose names begin with `prefix`. What is none, or has no finite value, is passed over."""
    for line in text.splitlines():
        if not line.startswith(prefix):
            continue
        sample = _SAMPLE.match(line)
        if sample is None or (value := _number(sample["value"])) is None:
            continue
        labels = {key: _ESCAPED.sub(_unescaped, told) for key, told in _LABEL.findall(sample["labels"] or "")}
        yield Sample(sample["name"], labels, value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
