"""The CSV format of the Azure LLM inference traces: one request a row, no sessions, no shared prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.core.errors import InputError
from bench.core.sessions import Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.tables import count, rows, shortened
from bench.workload.traces.turns import unshared

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII)
_NS_PER_S = 1_000_000_000


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """Each row as a session of one turn. Raises InputError with file and line for a row that is not one."""
    del reading
    stamps, clock = _Stamps(), ArrivalClock(path)
    for number, (stamp, context, generated) in rows(path, _COLUMNS):
        prompt_tokens = count(context, "ContextTokens", path, number)
        output_tokens = count(generated, "GeneratedTokens", path, number)
        since_ns = clock.since_first(stamps.ns(stamp, path, number), number)
        name = f"line-{number}"
        yield Session(name, (Turn(0, unshared(name, prompt_tokens), output_tokens),), since_ns / _NS_PER_S)


class _Stamps:
    """Reads time stamps whose fractions have more digits than `datetime` keeps; neighbours mostly share a second."""

    def __init__(self) -> None:
        self._text = ""
        self._s = 0

    def ns(self, text: str, path: Path, number: int) -> int:
        """`text` in nanoseconds since 1970. Raises InputError where it is no time."""
        parts = _STAMP.fullmatch(text.strip())
        try:
            if parts is None:
                raise ValueError
            second, fraction = parts.groups("")
            if second != self._text:
                self._s = int(datetime.fromisoformat(second).replace(tzinfo=UTC).timestamp())
                self._text = second
        except ValueError:
            raise InputError(
                f"TIMESTAMP = {shortened(text)}",
                where=f"{path}:{number}",
                allowed="a time as 2023-11-16 18:15:46.6805900",
            ) from None
        return self._s * _NS_PER_S + int(fraction.ljust(9, "0"))


def _recognises(head: Head) -> bool:
    return bool({"ContextTokens", "GeneratedTokens"} & set(head.columns))


FORMAT = TraceFormat(
    "azure-csv",
    f"a CSV row a request, of the Azure LLM inference traces: {', '.join(_COLUMNS)}",
    "format of the Azure LLM inference traces; Microsoft's own files (github.com/Azure/AzurePublicDataset) "
    "are CC-BY-4.0, to be cited as Patel et al., Splitwise, ISCA 2024",
    _recognises,
    sessions,
)
