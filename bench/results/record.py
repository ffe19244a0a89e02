"""`record.json`: everything there is to say of one run of one case on one node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from bench.core.errors import InputError
from bench.core.spec import Case
from bench.core.suite import parse

Schema = Literal["neobench.record/3", "neobench.record/2", "neobench.record/1"]
SCHEMA: Schema = "neobench.record/3"
"""What is written. Records of `/1` and `/2` are read; they lack numbers that were defined later."""
RECORD_FILE = "record.json"


class TableSeal(BaseModel):
    """What a table held when the record was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    sha256: str
    """Digest of the table's content, not of the file that carries it."""


class Verdict(BaseModel):
    """Whether the numbers may be ranked, and every reason why not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["valid", "invalid"]
    reasons: list[dict[str, Any]] = []
    """Each with `code`, `message` and `evidence`."""
    notes: list[dict[str, Any]] = []
    """Worth knowing, of the same shape, but no reason to refuse the numbers."""


UNFINISHED = Verdict(
    status="invalid",
    reasons=[{"code": "interrupted", "message": "the run has not been brought to its end", "evidence": {}}],
)


class Record(BaseModel):
    """One run of one case on one node. What is only known at the end is null or empty while the run is unfinished.

    `window`, `requests`, `latency` to `energy`, `roofline` and `verdict` follow from `case`, `run` and the tables, so
    they can be recomputed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Schema = Field(default=SCHEMA, alias="schema")
    id: str
    """Name of the result's folder."""
    case: Case
    node: dict[str, Any]
    provenance: dict[str, Any]
    workload: dict[str, Any]
    """What the workload was made from: sessions, turns and tokens of the source, and what was left out and why."""
    run: dict[str, Any] | None = None
    """Facts that no table holds and the numbers need: the run's limits in time, accelerators, why power is missing."""
    startup: dict[str, Any] | None = None
    window: dict[str, Any] | None = None
    requests: dict[str, Any] | None = None
    latency: dict[str, Any] | None = None
    throughput: dict[str, Any] | None = None
    goodput: dict[str, Any] | None = None
    sessions: dict[str, Any] | None = None
    """Where the sessions' time went, what of their prompts was computed twice, how long nothing was in flight."""
    efforts: dict[str, Any] | None = None
    """By effort level, where several were asked for."""
    success: dict[str, Any] | None = None
    """How many answers were correct, where they were checked."""
    energy: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    roofline: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    health: dict[str, Any] | None = None
    """How the machine fared; None where it was not watched throughout the run."""
    verdict: Verdict = UNFINISHED
    tables: dict[str, TableSeal] = {}

    def with_sections(self, **sections: Any) -> Record:
        """This record with `sections` (plain values, no NaN) put in. Raises ValueError for what the schema lacks."""
        plain = json.loads(json.dumps(sections, allow_nan=False))
        return Record.model_validate(self.model_dump(mode="json", by_alias=True) | plain)

    def to_json(self) -> str:
        """The record as it is stored: UTF-8 text, keys in the order of this class, no NaN."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


def read_record(path: Path) -> Record:
    """The record in file `path`. Raises InputError when it is missing, not JSON, or not of this schema."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("holds no record", where=path.parent, allowed=f"a folder with a {RECORD_FILE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"is not a record: {error}", where=path, allowed="JSON as `bench run` wrote it") from None
    if not isinstance(document, dict) or document.get("schema") not in get_args(Schema):
        found = document.get("schema") if isinstance(document, dict) else None
        raise InputError(f"has schema {found!r}", where=path, allowed=", ".join(get_args(Schema)))
    return parse(Record, document, str(path))
