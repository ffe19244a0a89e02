"""Time every kernel against what memory and tensor cores allow, and against the committed baseline of this machine.

    python scripts/bench_kernels.py [--machine DIR] [--save]

The baseline lies in DIR/benchmarks; where there is one, what is timed is compared with it. `--save` makes a new one and
writes DIR/kernels.md: ours, the library's and the reference, each with its spread, and the share of the ceilings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from run_on_gpu import machine_name

_TESTS = "tests/benchmarks/kernels"
_COLUMNS = ("triton", "library", "reference")
_LEGEND = (
    "Microseconds of a launch: the median of all rounds, and the quarters around it. Share: of the ceilings measured",
    "in the same run, that the first time of a row reaches. `make bench-kernels` times and compares them.",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", type=Path, help="the machine's folder, below results if none is named")
    parser.add_argument("--save", action="store_true", help="make this the baseline")
    options = parser.parse_args()
    machine = options.machine or Path("results") / machine_name()
    storage = machine / "benchmarks"
    before = set(storage.rglob("*.json"))
    arguments = ["--benchmark-storage", f"file://{storage}"]
    if options.save:
        arguments += ["--benchmark-save", "kernels"]
    elif before:
        arguments += ["--benchmark-compare"]
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", _TESTS, *arguments], check=False).returncode
    for saved in set(storage.rglob("*.json")) - before:
        for older in before:
            older.unlink()
        (machine / "kernels.md").write_text(page(json.loads(saved.read_text()), machine.name))
        print(f"the baseline is {saved}, the table {machine / 'kernels.md'}")
    return code


def page(saved: dict[str, Any], machine: str) -> str:
    """What pytest-benchmark saved, as a table; one row a problem."""
    problems: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for timed in saved["benchmarks"]:
        info = timed["extra_info"]
        told = ", ".join(f"{name} {value}" for name, value in info["problem"].items())
        problems.setdefault((info["kernel"], told), {})[info["computed_by"]] = timed
    columns = [name for name in _COLUMNS if any(name in by for by in problems.values())]
    stack = saved["machine_info"]
    rows = [*_heading(columns), *(_row(key, by, columns) for key, by in problems.items())]
    made_by = f"Commit {saved['commit_info']['id'][:7]}, torch {stack['torch']}, Triton {stack['triton']}."
    return "\n".join([f"# Kernels on {machine}, {saved['datetime'][:10]}", "", made_by, *_LEGEND, "", *rows, ""])


def _heading(columns: Sequence[str]) -> Iterator[str]:
    cells = ["kernel", "problem", *(f"{name}, µs" for name in columns), "GB/s", "TFLOP/s", "share"]
    yield f"| {' | '.join(cells)} |"
    yield f"|{'|'.join(['---', '---', *['---:'] * (len(cells) - 2)])}|"


def _row(key: tuple[str, str], by: dict[str, dict[str, Any]], columns: Sequence[str]) -> str:
    info = next(by[name] for name in columns if name in by)["extra_info"]
    share = info.get("share_of_roofline")
    times = (_time(by[name]["stats"]) if name in by else "–" for name in columns)
    rates = (f"{info['gb_per_s']:,.1f}", f"{info['tflop_per_s']:,.2f}" if info["flops"] else "–")
    return f"| {' | '.join([*key, *times, *rates, '–' if share is None else f'{share:.0%}'])} |"


def _time(stats: dict[str, float]) -> str:
    return f"{stats['median'] * 1e6:,.1f} ({stats['q1'] * 1e6:,.1f}–{stats['q3'] * 1e6:,.1f})"


if __name__ == "__main__":
    sys.exit(main())
