"""Reading a trace line by line, plain or gzipped, with every mistake told by its line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench.core.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers from 1, blank ones left out; gzip is told by content, not by name.

    Raises InputError with the line where the file cannot be read, is no UTF-8, or its gzip stream breaks off.
    """
    number = 0
    try:
        with _opened(path) as file:
            for number, raw in enumerate(file, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start} of the line", where=f"{path}:{number}", allowed="UTF-8"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"the gzip stream is broken after this line: {error}", where=f"{path}:{number}", allowed="a whole .gz file"
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, allowed="a readable file") from error


def _opened(path: Path) -> AbstractContextManager[Iterable[bytes]]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
    return gzip.open(path) if zipped else path.open("rb")
