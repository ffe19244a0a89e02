"""The end of processes that one of ours started and did not end itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

_GRACE_SECONDS = 3.0
_LOOK_SECONDS = 0.02


def leads_group(pid: int) -> bool:
    """Whether the process leads a group of its own, so that what it started can be told from what others did."""
    return os.getpgid(pid) == pid


async def end_group(group: int) -> None:
    """End what is left of `group`, whose leader has ended: by SIGTERM, and what stays after some seconds by SIGKILL.

    What tidies up after others, as multiprocessing's trackers of shared memory do, ignores the first and ends when it
    is done.
    """
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if not _is_alive(group):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, kind)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                while _is_alive(group):
                    await asyncio.sleep(_LOOK_SECONDS)


def kill_group(group: int) -> None:
    """End every process of `group` at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _is_alive(group: int) -> bool:
    """Whether a process of `group` runs. The dead whom nobody has asked about yet, who are signalled as well, do not:
    where the first process of a container reaps none, they stay."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # A name, in brackets, may hold anything.
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False
