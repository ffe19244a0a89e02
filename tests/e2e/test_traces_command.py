"""`bench traces` as a user calls it: what a file holds, and what is no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
"""Runs the command of its arguments and tells how many KiB it held at most."""


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "azure.csv"
    rows = [f"2023-11-16 18:15:{second:02d}.5000000,{100 * (second + 1)},{second}" for second in range(5)]
    path.write_text(AZURE + "\n".join(rows) + "\n")
    return path


def test_shows_every_row_also_one_that_cannot_be_asked(bench: Callable[..., Any], azure: Path) -> None:
    told = bench("traces", "show", azure, "--json").json
    assert (told["format"], told["rows"], told["sessions"]) == ("azure-csv", 5, 5)
    assert told["input_tokens"]["quantiles"]["p50"] == 300
    assert told["output_tokens"]["min"] == 0
    assert told["arrivals"]["gap_cv"] == pytest.approx(0, abs=1e-6)
    assert told["reuse"] is None


def test_prints_quantiles_arrivals_and_plots(bench: Callable[..., Any], azure: Path) -> None:
    printed = bench("traces", "show", azure).out
    assert "5 rows, 5 sessions" in printed
    assert "input tokens" in printed
    assert "half an octave a column" in printed
    assert "1.25 a second" in printed


def test_a_reader_that_goes_away_is_no_failure(azure: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    show = [Path(sys.executable).with_name("bench"), "traces", "show", azure]
    shown = subprocess.run(show, stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (shown.returncode, shown.stderr) == (0, b"")


def test_lists_every_format(bench: Callable[..., Any]) -> None:
    listed = {one["name"] for one in bench("traces", "list", "--json").json}
    assert {"azure-csv", "weka-json"} <= listed
    printed = bench("traces", "list").out
    assert all(name in printed for name in listed)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b\n1,2\n", b"\x00\xff\xfe", b'{"no": "trace"}\n', b"[]"])
def test_what_is_no_trace_is_told_in_one_line(bench: Callable[..., Any], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    refused = bench("traces", "show", path)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert str(path) in refused.err


@pytest.mark.parametrize("place", ["missing", "."])
def test_a_file_that_cannot_be_read(bench: Callable[..., Any], tmp_path: Path, place: str) -> None:
    refused = bench("traces", "show", tmp_path / place)
    assert refused.code == 2
    assert "cannot be read" in refused.err


@pytest.mark.slow
def test_a_million_rows_need_no_more_memory_than_the_program(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write(AZURE)
        for second in range(1_000_000):
            clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            file.write(f"2024-05-{10 + second // 86400} {clock}.0000000,{second % 8000 + 1},{second % 900}\n")
    # A process between, for a child begins with the peak of its parent, and this one has run other tests.
    show = [sys.executable, "-c", PEAK, Path(sys.executable).with_name("bench"), "traces", "show", path]
    ran = subprocess.run(show, check=True, capture_output=True, text=True, timeout=300)
    assert int(ran.stderr) < 400 * 1024  # the rows as sessions would be a gigabyte
