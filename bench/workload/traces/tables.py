"""Reading a trace in CSV: columns by name, values of a stated kind, every mistake told by its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.core.errors import InputError
from bench.workload.traces.lines import numbered_lines

_MOST_DIGITS = 12


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The values of `columns`, in that order, of each row of the CSV at `path`, with the row's line.

    Other columns are passed over, and a value that a short row lacks is empty. Raises InputError, naming the line,
    where a column is missing, a row is not CSV, or there is none.
    """
    lines = numbered_lines(path)
    number, header = next(lines, (1, ""))
    names = cells(header, f"{path}:{number}")
    missing = next((column for column in columns if column not in names), None)
    if missing is not None:
        raise InputError(
            f"column {missing} is missing", where=f"{path}:{number}", allowed=f"columns {', '.join(columns)}"
        )
    places = [names.index(column) for column in columns]
    last, in_order = max(places), places == list(range(len(names)))
    empty = True
    for number, line in lines:
        empty = False
        values = line.split(",") if '"' not in line else list(cells(line, f"{path}:{number}"))
        if len(values) <= last:
            values += [""] * (last + 1 - len(values))
        yield number, values if in_order else [values[place] for place in places]
    if empty:
        raise InputError("the trace has a header but no row", where=f"{path}:{number}", allowed="one row or more")


def cells(line: str, where: str) -> tuple[str, ...]:
    """The values in one line. Raises InputError where it is not CSV."""
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line]), []))
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", where=where, allowed="values with commas between them") from error


def count(text: str, column: str, path: Path, number: int) -> int:
    """`text` as a whole number of 0 or more. Raises InputError where it is none."""
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)
    text = text.strip()
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise InputError(f"{column} = {_short(text)}", where=f"{path}:{number}", allowed="a whole number, 0 or more")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
