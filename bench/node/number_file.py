"""A number of the kernel's that is read many times a second."""

from __future__ import annotations

import os
from pathlib import Path

from bench.node.facts import AbsentError, whole_number, why_absent

_MOST_BYTES = 64


class NumberFile:
    """A file of /sys that holds a whole number. It stays open, because opening it costs ten times what reading does.

    The kernel makes the text anew for who reads from its beginning (Documentation/filesystems/sysfs.rst).
    """

    def __init__(self, path: Path) -> None:
        """Raises AbsentError when it cannot be opened."""
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise why_absent(path, error) from error

    def read(self) -> int:
        """Raises AbsentError when it cannot be read or holds something else."""
        try:
            text = os.pread(self._file.fileno(), _MOST_BYTES, 0)
        except OSError as error:
            raise why_absent(self._path, error) from error
        if not text.strip():
            raise AbsentError(f"{self._path} is empty")
        return whole_number(self._path, text.decode(errors="replace").strip())

    def close(self) -> None:
        self._file.close()
