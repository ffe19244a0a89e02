"""Who else used the processors while a node was measured: what then comes out is of less than the machine."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from bench.node.cpu_health import allowed_cpus, cpu_times
from bench.node.facts import AbsentError


class Company:
    """Counts from when it is made."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._cpus = allowed_cpus(root)
        self._began, self._before = time.monotonic(), self._others_cpu_s()

    def share(self) -> float | None:
        """Of the time of the CPUs this process may run on, what neither it nor its ended children had, nor was idle.

        None where the kernel does not tell.
        """
        now = self._others_cpu_s()
        if self._before is None or now is None or not self._cpus:
            return None
        return max(0.0, now - self._before) / (len(self._cpus) * (time.monotonic() - self._began))

    def _others_cpu_s(self) -> float | None:
        """Since boot, with what the hypervisor kept from this machine."""
        try:
            busy, stolen, _ = cpu_times(self._root, self._cpus)
        except AbsentError:
            return None
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return busy + stolen - sum(usage.ru_utime + usage.ru_stime for usage in usages)
