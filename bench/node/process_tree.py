"""Which processes of the machine are this run's own, and what they have taken of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.node.facts import AbsentError

_PARENT, _MINOR_FAULTS, _MAJOR_FAULTS, _TIMES = 1, slice(7, 9), slice(9, 11), slice(11, 15)
"""Of /proc/PID/stat behind the name: the parent, then faults without and with a disk, then user and system time, each
own and of ended children that were waited for (proc_pid_stat(5): fields 4 and 10 to 17)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a tree have taken, those included that ended and were waited for."""

    cpu_s: float
    minor_faults: int
    major_faults: int
    """Page faults that had to wait for a disk."""


class ProcessTree:
    """A process and everything that came of it. What once belonged to it still does when its parent has ended.

    Only a process that has not been seen before is asked for its parent: on a server with hundreds of processes a look
    every second costs little more than a listing of /proc.
    """

    def __init__(self, pid: int | None = None, root: Path = Path("/")) -> None:
        """`pid` is the first process, by default this one."""
        self._proc = str(root / "proc")
        self._ours = {os.getpid() if pid is None else pid}
        self._others: set[int] = set()

    def others_among(self, pids: Iterable[int]) -> int:
        """How many of `pids` are not of this tree.

        Raises AbsentError where that cannot be told: a driver may tell a container the process ids of its host, which
        are not to be seen from here, or are by chance those of other processes here.
        """
        wanted = set(pids)
        if wanted - self._ours - self._others:
            self._look()
        if unseen := wanted - self._ours - self._others:
            raise AbsentError(f"process {min(unseen)} is not to be seen from here: it may be this run's own")
        if wanted and not wanted & self._ours:
            raise AbsentError("none of the processes is known here as this run's: their ids may be those of a host")
        return len(wanted - self._ours)

    def usage(self) -> Usage:
        """Raises AbsentError where /proc cannot be read."""
        self._look()
        stats = [fields for pid in self._ours if (fields := self._stat(pid))]

        def total(columns: slice) -> int:
            return sum(int(field) for fields in stats for field in fields[columns])

        cpu_s = total(_TIMES) / os.sysconf("SC_CLK_TCK")
        return Usage(cpu_s, total(_MINOR_FAULTS), total(_MAJOR_FAULTS))

    def _look(self) -> None:
        try:
            pids = {int(name) for name in os.listdir(self._proc) if name.isdigit()}
        except OSError as error:
            raise AbsentError(f"{self._proc} cannot be read: {error.strerror}") from error
        self._ours &= pids
        self._others &= pids
        new = pids - self._ours - self._others
        parents = {pid: int(fields[_PARENT]) for pid in new if (fields := self._stat(pid))}
        for pid in parents:
            (self._ours if self._descends(pid, parents) else self._others).add(pid)

    def _descends(self, pid: int, parents: Mapping[int, int]) -> bool:
        while pid in parents and pid not in self._ours:
            pid = parents[pid]
        return pid in self._ours

    def _stat(self, pid: int) -> list[bytes]:
        """The fields behind the name, which may hold anything; none of a process that has just ended."""
        return _content(f"{self._proc}/{pid}/stat").rpartition(b")")[2].split()


def _content(path: str) -> bytes:
    """Of a file of /proc; empty where there is none, or no longer. Hundreds are read a second, so at little cost."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 14)
    except OSError:
        return b""
    finally:
        os.close(file)
