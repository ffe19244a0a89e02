"""Whose processes are whose, on this machine's own /proc and on a made-up one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from bench.node.facts import AbsentError
from bench.node.process_tree import ProcessTree

WITH_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process, and the pid of its child, which ends with the test also when its parent has ended before."""
    parent = subprocess.Popen([sys.executable, "-c", WITH_A_CHILD], stdin=PIPE, stdout=PIPE, text=True)
    assert parent.stdout is not None
    yield parent, int(parent.stdout.readline())
    parent.communicate(timeout=10)


def test_children_of_children_are_ours_and_stay_so_when_their_parent_has_ended(
    family: tuple[subprocess.Popen[str], int],
) -> None:
    parent, child = family
    assert ProcessTree(parent.pid).others_among([os.getpid(), child]) == 1
    tree = ProcessTree()
    assert tree.others_among([os.getpid(), parent.pid, child]) == 0
    parent.kill()
    parent.wait(timeout=10)
    assert tree.others_among([child, 1]) == 1


def test_cpu_time_of_an_ended_child_is_kept() -> None:
    tree = ProcessTree()
    before = tree.usage()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True, timeout=60)
    after = tree.usage()
    assert after.cpu_s - before.cpu_s >= 0.19
    assert after.minor_faults > before.minor_faults
    assert after.major_faults >= before.major_faults


def test_a_process_id_of_elsewhere_cannot_be_told(write: Callable[[str, object], Path], tmp_path: Path) -> None:
    for pid, parent in ((1, 0), (40, 1), (41, 40), (50, 1)):
        write(f"proc/{pid}/stat", f"{pid} (a (very) odd\tname) S {parent} 0 0 0 0 0 7 0 2 0 300 100 0 0 0 0 0 0 0")
    tree = ProcessTree(40, tmp_path)
    assert tree.others_among([]) == 0
    assert tree.others_among([40, 41, 50, 1]) == 2
    with pytest.raises(AbsentError, match="4711 is not to be seen"):
        tree.others_among([40, 4711])
    with pytest.raises(AbsentError, match="may be those of a host"):
        tree.others_among([50])
    usage = tree.usage()
    assert (usage.cpu_s, usage.minor_faults, usage.major_faults) == (800 / os.sysconf("SC_CLK_TCK"), 14, 4)


def test_no_proc_is_told(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="proc cannot be read"):
        ProcessTree(1, tmp_path).usage()
