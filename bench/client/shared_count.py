"""A count that processes share: of the sessions that have begun, so that they take them in one order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


class SharedCount(Iterator[int]):
    """Counts from 0 in an empty file; no two that count in it ever get the same number.

    Each number is a byte that is appended, which the kernel does for one process at a time; where it landed is the
    number. A process that dies holds up no other.
    """

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_APPEND)

    def __next__(self) -> int:
        os.write(self._fd, b".")
        return os.lseek(self._fd, 0, os.SEEK_CUR) - 1

    def close(self) -> None:
        os.close(self._fd)
