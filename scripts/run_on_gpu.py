"""What a GPU at hand is used for, within nine minutes: are kernels and engine right on it, how fast are kernels and
steps, what do graphs buy.

    python scripts/run_on_gpu.py [--minutes M] [--results DIR]

Runs the tests marked `gpu`, the timings of steps, those of kernels, which it writes to `kernels.md`, then the suite
`gpu` until the time is over, and prints an entry for `results/LOG.md`. A case that was measured when the time ran out
stays, marked as interrupted.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

from bench.cli.main import INTERRUPTED, execute
from bench.hardware.datasheet import name_patterns
from bench.node.fingerprint import fingerprint, hardware_key
from bench.results.result import Result, scan

_TEST_SECONDS = 150.0
_TIMING_SECONDS = 45.0
_KERNEL_SECONDS = 120.0
_ENDING_SECONDS = 20.0
"""For the case in progress to end and be recorded."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check, time and measure the engine on this machine's GPU.")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the machine's folder goes")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes - _ENDING_SECONDS
    if not torch.cuda.is_available():
        print("make gpu: torch finds no CUDA device on this machine", file=sys.stderr)
        return 3
    folder = options.results / machine_name()
    wrong = run(["-m", "pytest", "-q", "-m", "gpu"], _TEST_SECONDS)
    elsewhere = ["--ignore", "tests/benchmarks/kernels", "-k", "not (startup or scheduler)"]  # the latter on the host
    run(["-m", "pytest", "-q", "tests/benchmarks", *elsewhere, "--benchmark-max-time=0.2"], _TIMING_SECONDS)
    run(["scripts/bench_kernels.py", "--machine", str(folder), "--save"], _KERNEL_SECONDS)
    code, results = measure(["gpu"], folder, end - time.monotonic())
    print(f"\nfor results/LOG.md:\n\n{log_entry(results, folder)}" if results else "nothing was measured")
    if code == INTERRUPTED:
        print("not every case was measured: the time was over", file=sys.stderr)
    if wrong:
        print("the tests on this device did not pass: the figures mean nothing before they do", file=sys.stderr)
    return 1 if wrong else code


def run(arguments: Sequence[str], seconds: float) -> int:
    """The exit code of this Python with `arguments`; after `seconds` it is interrupted."""
    with subprocess.Popen([sys.executable, *arguments]) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            return process.wait()


def machine_name() -> str:
    """Of the folder below `results`: the accelerator's key and how many there are."""
    hardware = hardware_key(fingerprint(), name_patterns())
    return f"{hardware.key.replace('_', '-')}-x{hardware.units}"


def measure(arguments: Sequence[str], out: Path, seconds: float) -> tuple[int, list[Result]]:
    """`bench run` with `arguments`, interrupted after `seconds`: its exit code and the results it left in `out`."""
    before = set(out.glob("*"))
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    code = execute(["run", *arguments, "--out", str(out)])
    signal.setitimer(signal.ITIMER_REAL, 0)
    left = sorted(set(out.glob("*")) - before)
    return code, scan(left) if left else []


def log_entry(results: Sequence[Result], folder: Path) -> str:
    """What was measured, one line a graph mode: output tokens per second at each number of requests."""
    commit = results[0].record.provenance["git_sha"]
    modes: dict[str, list[str]] = {}
    for result in results:
        spec = result.record.case.spec
        rate = (result.record.throughput or {}).get("output_tokens_per_s", {}).get("value")
        figure = "–" if rate is None else f"{rate:,.0f}"
        flaw = "" if result.record.verdict.status == "valid" else " (invalid)"
        figures = modes.setdefault(getattr(spec.engine, "graph_mode", spec.engine.kind), [])
        figures.append(f"{figure}{flaw} at {getattr(spec.load, 'concurrency', spec.load.kind)}")
    lines = "\n".join(f"{mode}: {', '.join(figures)}" for mode, figures in modes.items())
    heading = f"## {date.today()}, {folder.name}, `make gpu`, {str(commit)[:7]}"
    return f"{heading}\n\nMeasured, output tok/s by graph mode and requests at once; `{folder}/`\n\n{lines}\n"


if __name__ == "__main__":
    sys.exit(main())
