"""What a GPU at hand is used for, within nine minutes: are kernels and engine right on it, what does the node do in a
second, what do decode, prefill and idling take in joules, does it stay so, how fast are kernels and steps.

    python scripts/run_on_gpu.py [--part PART ...] [--minutes M] [--results DIR]

Each part gets its share of the minutes, and what earlier ones left: the numbers of kernels; the tests of the engine
that are marked `gpu`; the node's fingerprint and measured figures, which go to `node.json`; what the driver answers to
a run, recorded in `nvml.jsonl`; the suite `energy`; a short soak; the timings of steps; those of kernels, which it
writes to `kernels.md`; and the suite `gpu`, of which it prints an entry for `results/LOG.md`. A case that was measured
when the time ran out stays, marked as interrupted.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import torch
from energy_lines import energy_lines

from bench.cli.main import INTERRUPTED, execute
from bench.core import time_shares
from bench.hardware.datasheet import name_patterns
from bench.node.fingerprint import fingerprint, hardware_key
from bench.results.result import Result, scan

SHARES = {
    "test-kernels": 6.0,
    "test-engine": 4.0,
    "node": 2.0,
    "record": 0.5,
    "energy": 9.0,
    "soak": 3.0,
    "time-steps": 1.0,
    "time-kernels": 3.0,
    "suite": 4.0,
}
"""The parts in their order, and how the time is dealt out to them."""
_COMMANDS = {
    # Most of their time is the compiler's, on the host.
    "test-kernels": ("-m", "pytest", "-q", "-m", "gpu", "-n", "16", "tests/triton/numerics"),
    "test-engine": ("-m", "pytest", "-q", "-m", "gpu", "--ignore", "tests/triton/numerics"),
    "time-steps": (
        *("-m", "pytest", "-q", "tests/benchmarks", "--ignore", "tests/benchmarks/kernels"),
        *("-k", "not (startup or scheduler)", "--benchmark-max-time=0.2"),  # which are the host's
    ),
}
_ENDING_SECONDS = 20.0
"""For the case in progress to end and be recorded, and for tests to clear away what they started."""
_STARTING_SECONDS = 15.0
"""Of what measures a node, and of an engine, before their own time begins."""
_MEASURED_SECONDS = 60.0
_RECORDED_SECONDS = 10.0
"""More of either tells nothing new."""
_SOAK = ("--load", "energy", "--case", "decode", "--set", "measure.max_seconds=5", "--set", "power.idle_s=null")
"""Too short to call anything stable: it shows that it runs, and fails if the engine is lost."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check, time and measure kernels, engine and node on this GPU.")
    parser.add_argument("--part", action="append", choices=SHARES, dest="parts", help="all of them if none is named")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the machine's folder goes")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("make gpu: torch finds no CUDA device on this machine", file=sys.stderr)
        return 3
    folder, codes = options.results / machine_name(), dict[str, int]()
    folder.mkdir(parents=True, exist_ok=True)
    for part, seconds in dealt(options.parts or list(SHARES), 60 * options.minutes - _ENDING_SECONDS):
        print(f"\nmake gpu: {part}, {seconds:.0f} s", file=sys.stderr, flush=True)
        codes[part] = run_part(part, folder, seconds)
    if any(code for part, code in codes.items() if part.startswith("test")):
        print("the tests on this device did not pass: the figures mean nothing before they do", file=sys.stderr)
        return 1
    return next((code for part, code in codes.items() if code and not part.startswith("time")), 0)


def dealt(parts: Sequence[str], seconds: float) -> Iterator[tuple[str, float]]:
    """Each part, in the order of `SHARES`, with its share of what is left of `seconds` when it begins."""
    return time_shares.dealt({part: share for part, share in SHARES.items() if part in parts}, seconds)


def run_part(part: str, folder: Path, seconds: float) -> int:
    """Its exit code."""
    match part:
        case "node":
            return describe_node(folder, seconds)
        case "record":
            return record_driver(folder, seconds)
        case "energy":
            return run_energy(["energy"], folder, seconds)
        case "soak":
            return run_soak(_SOAK, folder, seconds)
        case "suite":
            return run_suite(folder, seconds)
        case "time-kernels":
            return run(["scripts/bench_kernels.py", "--machine", str(folder), "--save"], seconds)
    return run(_COMMANDS[part], seconds)


def describe_node(folder: Path, seconds: float) -> int:
    measuring = min(_MEASURED_SECONDS, max(1.0, seconds - _STARTING_SECONDS))
    arguments = ["node", "show", "--measure", "--seconds", f"{measuring:.0f}", "--out", str(folder / "node.json")]
    return bench(arguments, seconds + _ENDING_SECONDS)


def record_driver(folder: Path, seconds: float) -> int:
    """A recording that did not end well does not take the place of an earlier one."""
    fresh = folder / "nvml.new.jsonl"
    fresh.unlink(missing_ok=True)
    recording = min(_RECORDED_SECONDS, max(1.0, seconds / 2))
    code = bench(["node", "record", str(fresh), "--seconds", f"{recording:.0f}"], seconds)
    if code == 0:
        fresh.replace(folder / "nvml.jsonl")
    fresh.unlink(missing_ok=True)
    return code


def run_energy(arguments: Sequence[str], folder: Path, seconds: float) -> int:
    code, results = measure(arguments, folder, seconds)
    print("\njoules, repeats of one case side by side")
    for line in energy_lines([result.record for result in results]):
        print(line)
    if code == INTERRUPTED:
        print("not every case was measured: the time was over", file=sys.stderr)
    return code


def run_soak(arguments: Sequence[str], folder: Path, seconds: float) -> int:
    minutes = max(1.0, seconds - _STARTING_SECONDS) / 60
    code = bench(["node", "soak", "--minutes", f"{minutes:.3f}", *arguments, "--out", str(folder)], seconds)
    return 0 if code == 1 else code  # too little was seen to call it stable


def run_suite(folder: Path, seconds: float) -> int:
    code, results = measure(["gpu"], folder, seconds)
    print(f"\nfor results/LOG.md:\n\n{log_entry(results, folder)}" if results else "nothing was measured")
    if code == INTERRUPTED:
        print("not every case was measured: the time was over", file=sys.stderr)
    return code


def run(arguments: Sequence[str], seconds: float) -> int:
    """The exit code of this Python with `arguments`; after `seconds` it is interrupted, then killed."""
    heed_interrupts()
    with subprocess.Popen([sys.executable, *arguments]) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def heed_interrupts() -> None:
    """Here and in what is started: a shell lets its background jobs ignore them, and the time would never be over."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def machine_name() -> str:
    """Of the folder below `results`: the accelerator's key and how many there are."""
    hardware = hardware_key(fingerprint(), name_patterns())
    return f"{hardware.key.replace('_', '-')}-x{hardware.units}"


def measure(arguments: Sequence[str], out: Path, seconds: float) -> tuple[int, list[Result]]:
    """`bench run` with `arguments`, interrupted after `seconds`: its exit code and the results it left in `out`."""
    before = set(out.glob("*"))
    code = bench(["run", *arguments, "--out", str(out)], seconds)
    left = [path for path in sorted(set(out.glob("*")) - before) if path.is_dir()]
    return code, scan(left) if left else []


def bench(arguments: Sequence[str], seconds: float) -> int:
    """The exit code of `bench` with `arguments`, interrupted after `seconds`."""
    heed_interrupts()
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    code = execute(arguments)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return code


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
