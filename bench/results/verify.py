"""Checking a result without the machine that made it: files, contents, case id, and every computed number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.core.digest import file_digest
from bench.core.errors import InputError
from bench.results.record import SCHEMA, Record
from bench.results.result import MANIFEST_FILE, Result
from bench.results.tables import Tables, content_digest

RELATIVE_TOLERANCE = 1e-12
_LATER_FACTS = {"health", "power"}
"""Of `run`: records of this schema lack them that were made before the numbers which follow from them."""

Recompute: TypeAlias = Callable[[Record, Tables], Mapping[str, Any]]
"""Gives the computed sections of a record from its case, its `run` facts and the tables. May raise InputError."""


@dataclass(frozen=True, slots=True)
class Difference:
    what: str
    """The file, or the path inside the record: `latency.ttft_ms.p50.value`."""
    stored: Any
    recomputed: Any


@dataclass(frozen=True)
class Report:
    """What `verify` found. Numbers agree within RELATIVE_TOLERANCE, everything else exactly.

    A record of an earlier version is held to the numbers it has.
    """

    path: Path
    compared: int
    """Values that were recomputed and compared, files and digests included."""
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


def verify(path: str | Path, recompute: Recompute) -> Report:
    """Recompute what the result at `path` says of itself. Raises InputError when it holds no readable record."""
    result = Result.open(path)
    pairs = [*_files(result), _case_id(result.record), *_contents(result, recompute)]
    return Report(result.path, len(pairs), tuple(pair for pair in pairs if not _agree(pair.stored, pair.recomputed)))


def compare(path: Path, stored: Mapping[str, Any], recomputed: Mapping[str, Any]) -> Report:
    """What the document at `path` says against what it must, every value of either."""
    pairs = [pair for key in {**stored, **recomputed} for pair in _leaves(key, stored.get(key), recomputed.get(key))]
    return Report(path, len(pairs), tuple(pair for pair in pairs if not _agree(pair.stored, pair.recomputed)))


def _files(result: Result) -> Iterator[Difference]:
    """SHA-256 of each file against the manifest."""
    try:
        document = json.loads((result.path / MANIFEST_FILE).read_text(encoding="utf-8"))
        files = dict(document["files"])
    except FileNotFoundError:
        yield Difference(MANIFEST_FILE, "missing: the run was not finished", "a manifest")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Difference(MANIFEST_FILE, f"unreadable: {error}", "a manifest")
        return
    present = {file.name for file in result.path.iterdir()} - {MANIFEST_FILE}
    for name in sorted(present | files.keys()):
        found = file_digest(result.path / name) if name in present else "missing"
        yield Difference(name, files.get(name, "not in the manifest"), found)


def _case_id(record: Record) -> Difference:
    return Difference("case.id", record.case.id, record.case.id_as_stored())


def _contents(result: Result, recompute: Recompute) -> Iterator[Difference]:
    """The tables against their seals, and the record's sections against what the tables give."""
    record = result.record
    try:
        tables = result.tables()
        sections = recompute(record, tables) if record.run is not None else {}
    except InputError as error:
        yield Difference("tables", "readable", str(error))
        return
    for name, table in tables.items():
        seal = record.tables.get(name)
        yield Difference(f"tables.{name}.rows", seal and seal.rows, len(table))
        yield Difference(f"tables.{name}.sha256", seal and seal.sha256, content_digest(table))
    stored = record.model_dump(mode="json", exclude_unset=True)
    values = json.loads(json.dumps(sections))
    if _is_earlier(record):
        values = _known_to(stored, values)
    for section, recomputed in values.items():
        yield from _leaves(section, stored.get(section), recomputed)


def _is_earlier(record: Record) -> bool:
    """Whether it was made when there were fewer numbers: its schema says so, or the facts it was made from."""
    return record.schema_ != SCHEMA or not (record.run or {}).keys() >= _LATER_FACTS


def _known_to(stored: dict[str, Any], recomputed: dict[str, Any]) -> dict[str, Any]:
    """`recomputed` without the numbers that a record of an earlier version does not have."""
    known = {}
    for key, value in recomputed.items():
        if key in stored:
            both = isinstance(stored[key], dict) and isinstance(value, dict)
            known[key] = _known_to(stored[key], value) if both else value
    return known


def _leaves(place: str, stored: Any, recomputed: Any) -> Iterator[Difference]:
    """Every value below `place` on either side; one that a side lacks is None there."""
    if isinstance(stored, dict) and isinstance(recomputed, dict):
        for key in stored | recomputed:
            yield from _leaves(f"{place}.{key}", stored.get(key), recomputed.get(key))
    elif isinstance(stored, list) and isinstance(recomputed, list) and len(stored) == len(recomputed):
        for index, (ours, theirs) in enumerate(zip(stored, recomputed, strict=True)):
            yield from _leaves(f"{place}[{index}]", ours, theirs)
    else:
        yield Difference(place, stored, recomputed)


def _agree(stored: Any, recomputed: Any) -> bool:
    numbers = (int, float)
    if isinstance(stored, numbers) and isinstance(recomputed, numbers):
        return math.isclose(stored, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)
    return bool(stored == recomputed)
