"""Which processes of the machine are this run's own, and how much CPU time they have taken."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.node.facts import AbsentError

_PARENT, _TIMES = 1, slice(11, 15)
"""Of /proc/PID/stat behind the name: the parent, and user and system time, own and of ended children that were waited
for (proc_pid_stat(5): fields 4 and 14 to 17)."""


class ProcessTree:
    """A process and everything that came of it. What once belonged to it still does when its parent has ended.

    Only a process that has not been seen before is asked for its parent: on a server with hundreds of processes a look
    every second costs little more than a listing of /proc.
    """

    def __init__(self, pid: int | None = None, root: Path = Path("/")) -> None:
        """`pid` is the first process, by default this one."""
        self._proc = root / "proc"
        self._ours = {os.getpid() if pid is None else pid}
        self._others: set[int] = set()

    def others_among(self, pids: Iterable[int]) -> int:
        """How many of `pids` are not of this tree.

        Raises AbsentError when one of them is not to be seen here: a driver may tell a container the process ids of
        its host, among which nobody's own can be found.
        """
        wanted = set(pids)
        if not wanted:
            return 0
        self._look()
        unseen = wanted - self._ours - self._others
        if unseen:
            raise AbsentError(f"process {min(unseen)} is not to be seen from here: it may be this run's own")
        return len(wanted - self._ours)

    def cpu_s(self) -> float:
        """CPU time that the processes of the tree have taken, those included that ended and were waited for.

        Raises AbsentError where /proc cannot be read.
        """
        self._look()
        ticks = sum(sum(map(int, fields[_TIMES])) for pid in self._ours if (fields := self._stat(pid)))
        return ticks / os.sysconf("SC_CLK_TCK")

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

    def _stat(self, pid: int) -> list[str]:
        """The fields behind the name, which may hold anything; none of a process that has just ended."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return text.rpartition(")")[2].split()
