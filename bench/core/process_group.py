"""The end of processes that one of ours started and did not end itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

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
        try:
            os.killpg(group, kind)
            async with asyncio.timeout(_GRACE_SECONDS):
                while True:
                    await asyncio.sleep(_LOOK_SECONDS)
                    os.killpg(group, 0)
        except ProcessLookupError:
            return
        except TimeoutError:
            continue


def kill_group(group: int) -> None:
    """End every process of `group` at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
