"""The machine's memory, the process's share of it, and in which pages the kernel hands it out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.core.cgroup import memory_limit_bytes
from bench.node.facts import AbsentError, Facts, chosen_in, entries_of, read_int, read_text, told

_MM = "sys/kernel/mm"


def memory_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Sizes in bytes, huge pages set aside by their size, and what is done with transparent ones and between nodes."""
    facts = Facts()
    facts.take("total_bytes", lambda: memory_bytes(root, "MemTotal"))
    facts.take("limit_bytes", lambda: told(memory_limit_bytes(root), "no control group limits memory"))
    facts.take("swap_bytes", lambda: memory_bytes(root, "SwapTotal"))
    facts.take("page_bytes", lambda: os.sysconf("SC_PAGE_SIZE"))
    facts.take("hugepages", lambda: _hugepages(root))
    facts.take("transparent_hugepages", lambda: chosen_in(root / _MM / "transparent_hugepage/enabled"))
    facts.take("transparent_hugepages_defrag", lambda: chosen_in(root / _MM / "transparent_hugepage/defrag"))
    facts.take("numa_balancing", lambda: bool(read_int(root / "proc/sys/kernel/numa_balancing")))
    return facts.as_dict()


def memory_bytes(root: Path, name: str) -> int:
    """A line of /proc/meminfo. Raises AbsentError when it is not there."""
    for line in read_text(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise AbsentError(f"/proc/meminfo has no {name}")


def _hugepages(root: Path) -> dict[str, int]:
    """By size, as the kernel writes it (`2048kB`): how many pages are set aside."""
    folders = entries_of(root / _MM / "hugepages")
    return {folder.name.removeprefix("hugepages-"): read_int(folder / "nr_hugepages") for folder in folders}
