"""New folders, and the operating system's refusals told in one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.core.errors import StorageError


def new_folder(out_dir: Path, name: str) -> Path:
    """`<out_dir>/<UTC time>-<name>`, which did not exist: those of one name within one second are numbered.

    Raises StorageError when it cannot be made.
    """
    stamped = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}"
    repeat = 1
    with told(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        while True:
            folder = out_dir / (stamped if repeat == 1 else f"{stamped}-{repeat}")
            try:
                folder.mkdir()
            except FileExistsError:
                repeat += 1
            else:
                return folder


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(refusal(path, error)) from error


def refusal(path: Path, error: OSError) -> str:
    why = os.strerror(error.errno) if error.errno else str(error)  # Arrow wraps the system's sentence in its own
    return f"{error.filename or path}: cannot be written: {why} (allowed: a folder with room)"
