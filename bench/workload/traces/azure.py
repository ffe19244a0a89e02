"""The CSV format of the Azure LLM inference traces: one request a row, no sessions, no shared prefixes.

Arrival times are not replayed: the load decides when a session starts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import InputError
from bench.core.records import Segment, Session, Turn
from bench.workload.stream import NO_OUTPUT, NO_PROMPT, LeftOut
from bench.workload.traces.lines import numbered_lines

FORMAT = "azure-csv"
ATTRIBUTION = (
    "format of the Azure LLM inference traces; Microsoft's own files (github.com/Azure/AzurePublicDataset) "
    "are CC-BY-4.0, to be cited as Patel et al., Splitwise, ISCA 2024"
)
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


_MOST_DIGITS = 12


def cells(line: str, where: str) -> list[str]:
    """The values in one line. Raises InputError where it is not CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader([line]))]
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", where=where, allowed=f"columns {', '.join(COLUMNS)}") from error


def sessions(path: Path) -> Iterator[Session | LeftOut]:
    """Each row as a session of one turn. Raises InputError with file and line for a row that is not one."""
    lines = numbered_lines(path)
    number, first = next(lines)
    names = cells(first, f"{path}:{number}")
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise InputError(
            f"column {missing[0]} is missing", where=f"{path}:{number}", allowed=f"columns {', '.join(COLUMNS)}"
        )
    empty = True
    for number, line in lines:
        empty = False
        where = f"{path}:{number}"
        yield _session(dict(zip(names, cells(line, where), strict=False)), where, number)
    if empty:
        raise InputError("the trace has a header but no row", where=f"{path}:{number}", allowed="one row or more")


def _session(row: dict[str, str], where: str, number: int) -> Session | LeftOut:
    prompt_tokens = _tokens(row, "ContextTokens", where)
    output_tokens = _tokens(row, "GeneratedTokens", where)
    if prompt_tokens == 0:
        return LeftOut(NO_PROMPT, 1)
    if output_tokens == 0:
        return LeftOut(NO_OUTPUT, 1)
    name = f"line-{number}"
    return Session(name, (Turn(0, (Segment(name, prompt_tokens),), output_tokens),))


def _tokens(row: dict[str, str], column: str, where: str) -> int:
    text = row.get(column, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InputError(f"{column} = {text!r}", where=where, allowed="a whole number, 0 or more")
    return int(text)
