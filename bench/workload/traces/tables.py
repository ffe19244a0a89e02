"""Reading a trace in CSV: columns by name, values of a stated kind, every mistake told by its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.core.errors import InputError
from bench.workload.traces.format import MOST
from bench.workload.traces.lines import numbered_lines

_MOST_DIGITS = len(str(MOST)) - 1


def rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """The values of `columns` and then of `optional` in each row of the CSV at `path`, with the row's line.

    Other columns are passed over. Empty is what a short row lacks, and an optional column that is not there. Raises
    InputError, naming the line, where a column is missing or there twice, a row is not CSV, or there is none.
    """
    lines = numbered_lines(path)
    number, header = next(lines, (1, ""))
    names = cells(header, f"{path}:{number}")
    wrong = next((column for column in columns if names.count(column) != 1), None)
    if wrong is not None:
        raise InputError(
            f"column {wrong} is {'there twice' if wrong in names else 'missing'}",
            where=f"{path}:{number}",
            allowed=f"columns {', '.join(columns)}, each once",
        )
    places = [names.index(column) for column in columns]
    # An absent optional column is read from one past a row's last value.
    places += [names.index(column) if column in names else len(names) for column in optional]
    in_order = places == list(range(len(names)))
    empty = True
    for number, line in lines:
        empty = False
        values = line.split(",") if '"' not in line else list(cells(line, f"{path}:{number}"))
        if len(values) > len(names):
            raise InputError(
                f"{len(values)} values", where=f"{path}:{number}", allowed=f"one for each column: {len(names)}"
            )
        if in_order and len(values) == len(names):
            yield number, values
        else:
            values += [""] * (len(names) + 1 - len(values))
            yield number, [values[place] for place in places]
    if empty:
        raise InputError("the trace has a header but no row", where=f"{path}:{number}", allowed="one row or more")


def cells(line: str, where: str) -> tuple[str, ...]:
    """The values in one line. Raises InputError where it is not CSV."""
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line], strict=True), []))
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", where=where, allowed="values with commas between them") from error


def count(text: str, column: str, path: Path, number: int) -> int:
    """`text` as a whole number of 0 or more. Raises InputError where it is none."""
    digits = text.strip()
    if digits.isdecimal() and digits.isascii() and len(digits) <= _MOST_DIGITS:
        return int(digits)
    raise InputError(f"{column} = {shortened(digits)}", where=f"{path}:{number}", allowed="a whole number, 0 or more")


def amount(text: str, column: str, path: Path, number: int) -> float:
    """`text` as a number from 0 to `MOST`. Raises InputError where it is none."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= MOST and "_" not in text:
        return value
    raise InputError(
        f"{column} = {shortened(text.strip())}", where=f"{path}:{number}", allowed=f"a number from 0 to {MOST:g}"
    )


def shortened(text: str) -> str:
    """`text` in quotes, as much of it as a line of a message holds."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
