"""Reading a trace piece by piece, plain or compressed, with every mistake told by its line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from bench.core.errors import InputError

LONGEST_LINE = 128 * 2**20
"""Bytes of a line, and characters of a JSON object over several: what has to be held at once."""
_BLOCK = 2**16
"""What a compressed stream that breaks off may take with it: whole lines before that are still read."""
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers from 1, blank ones left out.

    gzip and zstd are told by content, not by name. Raises InputError with the line where the file cannot be read, is no
    UTF-8, has a line over `LONGEST_LINE`, or its compressed stream breaks off.
    """
    before = length = 0
    unfinished: list[bytes] = []
    for block in blocks(path):
        whole, ended, rest = block.rpartition(b"\n")
        if ended:
            lines = decoded(b"".join((*unfinished, whole)), path, before).split("\n")
            yield from _not_blank(lines, before)
            before += len(lines)
            unfinished, length = [], 0
        unfinished.append(rest)
        length += len(rest)
        if length > LONGEST_LINE:
            raise InputError(
                "the line is too long", where=f"{path}:{before + 1}", allowed=f"{LONGEST_LINE} bytes at most"
            )
    yield from _not_blank(decoded(b"".join(unfinished), path, before).split("\n"), before)


def opening(path: Path) -> bytes:
    """The first byte that is no white space; empty where there is none. Raises InputError as `blocks` does."""
    return next((text[:1] for block in blocks(path) if (text := block.lstrip())), b"")


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, decompressed, some at a time and without a byte order mark.

    Raises InputError where it cannot be read, or, with the last whole line, where its compressed stream breaks off.
    """
    lines = 0
    try:
        if path.is_fifo():
            raise InputError("a pipe, which can be read only once", where=path, allowed="a file")
        with path.open("rb") as file:
            magic = file.peek(4)[:4]
            with _decompressed(file, magic) as source:
                first = True
                while block := source.read1(_BLOCK):
                    yield block.removeprefix(_BYTE_ORDER_MARK) if first else block
                    first = False
                    lines += block.count(b"\n")
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"cannot be read: {error.strerror}", where=path, allowed="a readable file") from error
        raise InputError(
            f"the {_compression(magic)} stream is broken after this line: {error}",
            where=f"{path}:{max(1, lines)}",
            allowed="a whole file",
        ) from error


def decoded(raw: bytes, path: Path, before: int) -> str:
    """`raw` as text with plain line ends. `before` is the number of lines before it, for the mistake."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line_start = raw.rfind(b"\n", 0, error.start) + 1
        line = before + 1 + raw.count(b"\n", 0, line_start)
        raise InputError(
            f"not UTF-8 at byte {error.start - line_start} of the line",
            where=f"{path}:{line}",
            allowed="UTF-8",
        ) from error
    return text.replace("\r\n", "\n").removesuffix("\r") if "\r" in text else text


def _not_blank(lines: list[str], before: int) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, before + 1) if line and not line.isspace())


def _compression(magic: bytes) -> str | None:
    if magic == _ZSTD_MAGIC:
        return "zstd"
    return "gzip" if magic.startswith(_GZIP_MAGIC) else None


class _Source(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _decompressed(file: BufferedReader, magic: bytes) -> AbstractContextManager[_Source]:
    match _compression(magic):
        case "gzip":
            return gzip.GzipFile(fileobj=file)
        case "zstd":
            import pyarrow  # only traces that need it pay for the import

            stream: AbstractContextManager[_Source] = pyarrow.CompressedInputStream(file, "zstd")
            return stream
        case _:
            return file
