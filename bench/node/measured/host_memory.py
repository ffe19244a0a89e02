"""Bandwidth of the host's memory, of all of it and of each NUMA node alone."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from neokernels.roofline import Load, copy_stream, read_stream

from bench.core.host import available_memory_bytes
from bench.node.facts import AbsentError, read_int, read_text
from bench.node.measured.affinity import bound_to, cpus_of
from bench.node.measured.figure import Figure
from bench.node.measured.rates import load_rate, mebibytes
from bench.node.measured.trials import Step, step

_CPU = torch.device("cpu")
_LEAST_BYTES = 128 << 20
_TIMES_CACHE = 4
"""Of all last-level caches, as the rules of STREAM ask of each array (McCalpin, "STREAM: run rules")."""
_SHARE_OF_FREE = 0.25
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def memory_steps(root: Path = Path("/")) -> list[Step]:
    """Reading and copying with every thread the process may run; then reading of each NUMA node, where there are
    several, with its own threads."""
    nodes = numa_nodes(root)
    alone = nodes if len(nodes) > 1 else {}
    return [
        step("memory_read_bytes_per_s", partial(read_rate, root=root)),
        step("memory_copy_bytes_per_s", partial(copy_rate, root=root)),
        *(
            step(f"memory_numa{node}_read_bytes_per_s", partial(_node_read_rate, node, cpus, root))
            for node, cpus in alone.items()
        ),
    ]


def read_rate(seconds: float, root: Path = Path("/")) -> Figure:
    """Bytes a second that are read. Raises AbsentError where too little memory is free."""
    nbytes = _stream_bytes(root, arrays=1)
    method = f"sum over {mebibytes(nbytes)} of memory with {torch.get_num_threads()} threads"
    return load_rate(_CPU, read_stream(_CPU, nbytes), seconds, method)


def copy_rate(seconds: float, root: Path = Path("/")) -> Figure:
    """Bytes a second, read and written. Raises AbsentError where too little memory is free."""
    nbytes = _stream_bytes(root, arrays=2)
    method = (
        f"copy of {mebibytes(nbytes)} of memory with {torch.get_num_threads()} threads; counts what is read and written"
    )
    return load_rate(_CPU, copy_stream(_CPU, nbytes), seconds, method)


def numa_nodes(root: Path = Path("/")) -> dict[int, frozenset[int]]:
    """The CPUs of each NUMA node that this process may run on; one without any, as a GPU's memory is, is left out."""
    usable = os.sched_getaffinity(0)
    nodes: dict[int, frozenset[int]] = {}
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        with suppress(AbsentError):
            nodes[int(folder.name.removeprefix("node"))] = cpus_of(read_text(folder / "cpulist")) & usable
    return {node: cpus for node, cpus in sorted(nodes.items()) if cpus}


def last_level_cache_bytes(root: Path = Path("/")) -> int:
    """Of all last-level caches together; 0 where the kernel tells of none."""
    caches: dict[tuple[int, str], int] = {}
    for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index*"):
        with suppress(AbsentError):
            level, shared = read_int(folder / "level"), read_text(folder / "shared_cpu_list")
            caches[level, shared] = _bytes(read_text(folder / "size"))
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last)


def _node_read_rate(node: int, cpus: frozenset[int], root: Path, seconds: float) -> Figure:
    nbytes = _stream_bytes(root, arrays=1)
    with bound_to(cpus):
        # The kernel takes a page from the node of the thread that writes it first, and all of them are on this one.
        load: Load = read_stream(_CPU, nbytes)
        threads = torch.get_num_threads()
        method = f"sum over {mebibytes(nbytes)} of memory of NUMA node {node} with {threads} threads that run there"
        return load_rate(_CPU, load, seconds, method)


def _stream_bytes(root: Path, arrays: int) -> int:
    nbytes = max(_LEAST_BYTES, _TIMES_CACHE * last_level_cache_bytes(root))
    free = available_memory_bytes(root)
    if arrays * nbytes > _SHARE_OF_FREE * free:
        raise AbsentError(
            f"{arrays} x {nbytes:,} bytes, which no cache holds, are more than a quarter of the {free:,} that are free"
        )
    return nbytes


def _bytes(text: str) -> int:
    """Of a cache's size as the kernel writes it, `32768K`. Raises AbsentError for anything else."""
    number, unit = (text[:-1], text[-1]) if text[-1] in _UNITS else (text, "")
    if not number.isdigit():
        raise AbsentError(f"{text[:40]!r} is no size")
    return int(number) * _UNITS.get(unit, 1)
