"""A result read back: its record, and its tables whether the run was finished or cut off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.errors import InputError
from bench.results.record import RECORD_FILE, Record, read_record
from bench.results.tables import SCHEMAS, Tables, is_table

MANIFEST_FILE = "manifest.json"
NOTES_FILE = "notes.jsonl"


@dataclass(frozen=True)
class Result:
    """One result folder. Its tables are read when they are asked for."""

    path: Path
    record: Record

    @classmethod
    def open(cls, path: str | Path) -> Result:
        """The result in folder `path`, or of the record.json at `path`. Raises InputError where there is no record."""
        folder = Path(path)
        if folder.name == RECORD_FILE:
            folder = folder.parent
        return cls(path=folder, record=read_record(folder / RECORD_FILE))

    @property
    def finished(self) -> bool:
        """Whether the run was brought to its end and sealed by a manifest."""
        return (self.path / MANIFEST_FILE).is_file()

    def tables(self) -> Tables:
        """The four tables; of an unfinished run every batch that was wholly written.

        Raises InputError for a file that is missing or broken.
        """
        return Tables(**{name: self.table(name) for name in SCHEMAS})

    def table(self, name: str) -> Any:
        """One of them, as `pyarrow.Table`. Raises as `tables` does."""
        sealed = parquet_path(self.path, name)
        if self.finished or sealed.exists():
            return _read_parquet(sealed, name)
        return read_stream(stream_path(self.path, name), name)


def scan(paths: Iterable[str | Path]) -> list[Result]:
    """Every result at or below `paths`, each once, sorted by folder. Raises InputError for a path that holds none."""
    folders: set[Path] = set()
    for path in map(Path, paths):
        found = {file.parent for file in path.rglob(RECORD_FILE)} if path.is_dir() else {path.parent}
        if not found or not path.exists():
            raise InputError("holds no record", where=path, allowed=f"a folder with a {RECORD_FILE} in it or below it")
        folders |= found
    return [Result.open(folder) for folder in sorted(folders)]


def stream_path(folder: Path, name: str) -> Path:
    """Where table `name` grows while the run goes on."""
    return folder / f"{name}.arrow"


def parquet_path(folder: Path, name: str) -> Path:
    """Where table `name` rests when the run is done."""
    return folder / f"{name}.parquet"


def read_stream(path: Path, name: str) -> Any:
    """The whole batches of a stream that may end anywhere. Raises InputError if it may not be read or is another's."""
    batches, schema = [], SCHEMAS[name]
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            schema = reader.schema
            batches.extend(reader)
    except PermissionError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    except (OSError, pa.ArrowInvalid):
        pass  # the writer was cut off here: before the file, inside the schema, or inside a batch
    return _checked(pa.Table.from_batches(batches, schema=schema), path, name)


def _read_parquet(path: Path, name: str) -> Any:
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"is not a readable table: {str(error).splitlines()[0]}", where=path) from None
    return _checked(table, path, name)


def _checked(table: Any, path: Path, name: str) -> Any:
    if not is_table(name, table.schema):
        raise InputError("has other columns", where=path, allowed=", ".join(SCHEMAS[name].names))
    return table
