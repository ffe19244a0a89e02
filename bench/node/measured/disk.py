"""What the file system that results go to reads in a second, past the page cache."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from mmap import mmap
from pathlib import Path
from typing import IO

from bench.node.facts import AbsentError, read_text
from bench.node.measured.figure import Figure, rate
from bench.node.measured.rates import mebibytes
from bench.node.measured.trials import repeated

_MOST_BYTES = 512 << 20
_SHARE_OF_FREE = 0.1
_PIECE_BYTES = 32 << 20
"""Read in one trial."""
_BLOCK_BYTES = 4 << 20
"""Read in one call."""
_WRITING_SHARE = 0.4
"""Of the time; a slow disk gets a smaller file."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})

ReadPiece = Callable[[int], None]
"""Reads a piece of the file from its place in bytes."""


def read_rate(folder: Path, seconds: float, root: Path = Path("/"), most_bytes: int = _MOST_BYTES) -> Figure:
    """Bytes a second of one reader, from a file without a name in `folder`, which is gone whatever happens.

    A folder that is still to be made is taken to come where the nearest one above it is. Raises AbsentError for a file
    system in memory or with too little room, and OSError where nothing can be written.
    """
    end = time.monotonic() + seconds
    folder = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    kind = file_system(folder, root)
    if kind in _IN_MEMORY:
        raise AbsentError(f"the folder is in memory ({kind})")
    room = min(most_bytes, int(_SHARE_OF_FREE * shutil.disk_usage(folder).free)) // _PIECE_BYTES
    if not room:
        raise AbsentError(f"a tenth of what is free there is less than {mebibytes(_PIECE_BYTES)}")
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        pieces = _write(file, room, time.monotonic() + _WRITING_SHARE * seconds)
        with _reading(file) as (read_piece, way):
            places = cycle(range(0, pieces * _PIECE_BYTES, _PIECE_BYTES))
            taken = repeated(lambda: _seconds_of(partial(read_piece, next(places))), end - time.monotonic())
    method = (
        f"{mebibytes(_PIECE_BYTES)} of a file of {mebibytes(pieces * _PIECE_BYTES)} on {kind}, "
        f"{mebibytes(_BLOCK_BYTES)} at a time, {way}; a disk or a host with a cache of its own may answer from there"
    )
    return rate(_PIECE_BYTES, taken, method)


def file_system(folder: Path, root: Path = Path("/")) -> str:
    """The kind of the file system that `folder` is on, as `ext4`. Raises AbsentError where the kernel does not tell."""
    place, found, kind = folder.resolve(), 0, ""
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        mount = Path(_unescaped(before.split()[4]))
        # What is mounted later on the same place hides what was there.
        if place.is_relative_to(mount) and len(mount.parts) >= found:
            found, kind = len(mount.parts), after.split()[0]
    if not kind:
        raise AbsentError("/proc/self/mountinfo does not tell where the folder is mounted")
    return kind


def _write(file: IO[bytes], most: int, end: float) -> int:
    """Write pieces to the disk itself, one at least and no further one after `end`; returns how many."""
    for written in range(1, most + 1):
        # At random: a file system that compresses or finds what is equal would not read the disk.
        file.write(os.urandom(_PIECE_BYTES))
        os.fdatasync(file.fileno())
        if time.monotonic() >= end:
            return written
    return most


@contextmanager
def _reading(file: IO[bytes]) -> Iterator[tuple[ReadPiece, str]]:
    """How a piece is read, and that in words: around the page cache, or after the cache was emptied."""
    block = mmap(-1, _BLOCK_BYTES)  # begins at a page, as reading around the cache requires
    direct = _opened_around_cache(file, block)
    if direct is None:
        yield partial(_read_emptied, file.fileno(), block), "dropped from the page cache before"
        return
    try:
        yield partial(_read, direct, block), "around the page cache (O_DIRECT)"
    finally:
        os.close(direct)


def _opened_around_cache(file: IO[bytes], block: mmap) -> int | None:
    """A descriptor of the same file that reads around the page cache; None where the file system cannot."""
    try:
        descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return None
    try:
        os.preadv(descriptor, [block], 0)
    except OSError:  # some open what they then refuse to read
        os.close(descriptor)
        return None
    return descriptor


def _read_emptied(descriptor: int, block: mmap, place: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    _read(descriptor, block, place)


def _read(descriptor: int, block: mmap, place: int) -> None:
    for offset in range(place, place + _PIECE_BYTES, _BLOCK_BYTES):
        if os.preadv(descriptor, [block], offset) != _BLOCK_BYTES:
            raise AbsentError("the disk gave less than was written")


def _seconds_of(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _unescaped(path: str) -> str:
    """As the kernel writes a space in it, `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
