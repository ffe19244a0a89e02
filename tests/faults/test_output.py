"""A standard output that takes nothing more, or not every character: no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

COMMAND = (sys.executable, "-c", "from bench.cli.main import main; main()")


def test_a_full_disk_behind_the_output() -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run([*COMMAND, "offers", "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (3, "bench: what was to be printed: No space left on device\n")


def test_a_reader_that_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([*COMMAND, "offers", "list", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_terminal_that_lacks_characters() -> None:
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([*COMMAND, "offers", "list", "coreweave-gb300"], env=ascii_only, capture_output=True)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert rb"\u2013" in ran.stdout  # the dash for a price that was not given
