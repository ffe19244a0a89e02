"""Processes of this machine, by what /proc tells of them."""

from __future__ import annotations

from pathlib import Path


def workers(pid: int) -> list[int]:
    """Engine workers among the children of process `pid`."""
    found = [entry for entry in Path("/proc").glob("[0-9]*") if parent_of(entry) == pid]
    return [int(entry.name) for entry in found if b"bench.native.worker" in command_line(entry)]


def command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(entry: Path) -> int | None:
    """The parent of a process that runs, None for one that has ended."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def has_ended(pid: int) -> bool:
    return parent_of(Path("/proc") / str(pid)) is None
