"""Writing a result while a case runs: append-only, readable after a crash, sealed when done."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.digest import file_digest
from bench.core.errors import StorageError
from bench.core.records import HealthRow, PowerRow, StepRow, TurnRow
from bench.core.spec import Case
from bench.results.batches import batch_of
from bench.results.folder import new_folder, refusal, told
from bench.results.record import RECORD_FILE, Record, TableSeal
from bench.results.result import MANIFEST_FILE, NOTES_FILE, Result, parquet_path, read_stream, stream_path
from bench.results.tables import SCHEMAS, Tables, content_digest
from bench.results.whole_file import whole_file, write_whole

FLUSH_EVERY_S = 1.0
FLUSH_VALUES = 10_000
"""So many values are not kept waiting for that: writing them takes about a millisecond, the longest that a client which
appends between two tokens may be held up."""
_WIDTHS = {name: len(schema) for name, schema in SCHEMAS.items()}


class ResultWriter:
    """The one writer of a new result folder `<out>/<UTC time>-<case name>-<short case id>`.

    The folder holds a readable result from the first moment: a record whose verdict is `interrupted` until `finish`.
    Every method raises StorageError when the disk refuses; what was written before stays readable.
    Not for use by several threads at once.
    """

    def __init__(
        self, out_dir: Path, *, case: Case, node: dict[str, Any], provenance: dict[str, Any], workload: dict[str, Any]
    ) -> None:
        self.path = new_folder(out_dir, f"{case.spec.name}-{case.id[:8]}")
        self.record = Record(id=self.path.name, case=case, node=node, provenance=provenance, workload=workload)
        self._pending: dict[str, list[object]] = {name: [] for name in SCHEMAS}
        self._pending_values = 0
        self._flushed_s = time.monotonic()
        self._streams: dict[str, _Stream] = {}
        with told(self.path):
            write_whole(self.path / RECORD_FILE, self.record.to_json().encode())
            self._streams = {name: _Stream(stream_path(self.path, name), name) for name in SCHEMAS}
            self._notes = (self.path / NOTES_FILE).open("x", encoding="utf-8", buffering=1)

    def append_turns(self, rows: Sequence[TurnRow]) -> None:
        self._append("turns", rows, in_lists=sum(2 * len(row.chunk_t_ns) + len(row.chunk_t_engine_ns) for row in rows))

    def append_steps(self, rows: Sequence[StepRow]) -> None:
        self._append("steps", rows)

    def append_power(self, rows: Sequence[PowerRow]) -> None:
        self._append("power", rows)

    def append_health(self, rows: Sequence[HealthRow]) -> None:
        self._append("health", rows)

    def note(self, message: str, **evidence: Any) -> None:
        """Keep a remark on the run, with the time of day."""
        line = {"time": datetime.now(UTC).isoformat(), "message": message, **evidence}
        with told(self.path / NOTES_FILE):
            self._notes.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand everything appended so far to the operating system, where a crash of this process cannot lose it."""
        for name, rows in self._pending.items():
            if rows:
                self._streams[name].write(rows)
                rows.clear()
        self._pending_values = 0
        self._flushed_s = time.monotonic()

    def tables(self) -> Tables:
        """Everything appended so far, also what a full disk refused."""
        return Tables(**{name: self._table(name) for name in SCHEMAS})

    def finish(self, record: Record) -> Result:
        """Seal the result: tables as Parquet, `record` with their digests, the manifest; then the streams go.

        `record` is `self.record.with_sections(...)` of what is now known. After a failed write it may still find room.
        """
        tables = self.tables()
        for stream in self._streams.values():
            stream.close()
        with told(self.path):
            self._notes.close()
            for name, table in tables.items():
                with whole_file(parquet_path(self.path, name)) as part:
                    pq.write_table(table, part, compression="zstd")
            seals = {name: TableSeal(rows=len(t), sha256=content_digest(t)) for name, t in tables.items()}
            record = record.model_copy(update={"tables": seals})
            write_whole(self.path / RECORD_FILE, record.to_json().encode())
            sealed = [RECORD_FILE, NOTES_FILE, *(parquet_path(self.path, name).name for name in SCHEMAS)]
            manifest = {"files": {name: file_digest(self.path / name) for name in sealed}}
            write_whole(self.path / MANIFEST_FILE, (json.dumps(manifest, indent=1) + "\n").encode())
            for name in SCHEMAS:
                stream_path(self.path, name).unlink()
        return Result(path=self.path, record=record)

    def discard(self) -> None:
        """Remove the folder: what was asked for could not be run, so there is no result."""
        for stream in self._streams.values():
            stream.close()
        self._notes.close()
        shutil.rmtree(self.path)

    def _append(self, name: str, rows: Sequence[object], in_lists: int = 0) -> None:
        self._pending[name].extend(rows)
        self._pending_values += len(rows) * _WIDTHS[name] + in_lists
        if self._pending_values >= FLUSH_VALUES or time.monotonic() - self._flushed_s >= FLUSH_EVERY_S:
            self.flush()

    def _table(self, name: str) -> Any:
        written = read_stream(stream_path(self.path, name), name)
        return pa.concat_tables([written, pa.Table.from_batches([batch_of(name, self._pending[name])])])


class _Stream:
    """One table growing on disk as an Arrow IPC stream."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._file = path.open("xb")
        self._writer = pa.ipc.new_stream(self._file, SCHEMAS[name])
        self._failed: str | None = None
        self._file.flush()

    def write(self, rows: Sequence[object]) -> None:
        """Append `rows` as one batch. After one failure nothing more is written: the stream may end inside a batch."""
        if self._failed is not None:
            raise StorageError(self._failed)
        try:
            self._writer.write_batch(batch_of(self._name, rows))
            self._file.flush()
        except OSError as error:
            self._failed = refusal(self._path, error)
            raise StorageError(self._failed) from error

    def close(self) -> None:
        if self._failed is None:
            self._writer.close()
        with contextlib.suppress(OSError):  # the rest of a batch that was refused before is refused again
            self._file.close()
