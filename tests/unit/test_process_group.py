"""What a process left behind is ended, whether it heeds that or not."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from bench.core.process_group import end_group, leads_group

HEEDS = "sleep 600 & echo $!"
IGNORES = f"trap '' TERM; {HEEDS}"
"""What is ignored stays so in what is started."""


def left_behind(script: str) -> tuple[int, int]:
    """The group of a leader that has ended, and a process it left in it."""
    leader = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leads_group(leader.pid)
    assert leader.stdout is not None
    with leader.stdout:
        child = int(leader.stdout.readline())
        assert leader.wait(30) == 0
    return leader.pid, child


def runs(pid: int) -> bool:
    """Not one that ended, also where nobody has asked how. Its command line would not tell: an `exec` empties it."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("script", [HEEDS, IGNORES])
def test_what_is_left_of_a_group_is_ended(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.core.process_group._GRACE_SECONDS", 0.3)
    group, child = left_behind(script)
    assert runs(child)
    asyncio.run(end_group(group))
    assert not runs(child)
    asyncio.run(end_group(group))
