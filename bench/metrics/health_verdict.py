"""What the machine's health says against a run's numbers, or beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.core.spec import ClosedLoadSpec, Spec
from bench.metrics.context import HealthWatch
from bench.metrics.drift import THROUGHPUT
from bench.metrics.health import CpuHealth, GpuHealth, Health
from bench.metrics.reason import NoteCode, Reason, ReasonCode
from bench.metrics.steady_state import NoWindow, Window

THROTTLED_SHARE = 0.01
"""Share of time with a throttle above which it counts: the hardware then halves the clock, or worse (NVML on HW
slowdown), so that a hundredth of the time is half a percent of the work; repeated runs are to agree within 3 %."""
CROWDED_SHARE = 0.25
"""A run that computes on processors was crowded when others took more than this share of their time, and something
waited for one of them for more than this share of the time. What others take while cores stand idle costs a run some
cache and clock, and is noted; what it waits for is lost to it, and a quarter is far more than runs may differ by."""
AMPLE_SHARE = 0.5
"""With this share of the processors' time left nothing waits for long: on a machine of many, something always does."""
SPARE_SHARE = 0.1
"""Where the kernel does not tell that waiting: share of the processors' time left, below which there is some."""
COMPANY_SHARE = 0.1
"""Share of the processors' time taken by others above which it is noted."""
CPU_TOLD_S = 10.0
"""What others took of a shorter window is told by looks a second apart only to more than a tenth of it."""
STARVED_SHARE = 0.05
"""Share of time above which it is noted that the run waited for memory, or for a CPU quota's next period."""
DRIFT = 0.05
"""Change over the window that throughput or a clock must exceed with its whole interval to have drifted: the mean then
is over 2 % from what either end of the window showed."""

_HARD_THROTTLES = ("sw_thermal", "hw_thermal", "thermal_violation", "hw_power_brake", "hw_slowdown")
_PASSING = ("hw_slowdown",)
"""What NVML may also tell of a clock that is just changing (nvml.h), so that one look that finds it says nothing."""
_CAPS = ("sw_power_cap", "sync_boost")
"""Under load a GPU is expected to hit the first: its clocks are then what its power limit allows."""
_FATAL_ERRORS = ("ecc_uncorrected", "remapped_rows_uncorrected")
_PROGRAM_XIDS = (13, 31, 43, 45)
"""Events that a faulty program brings about as well as a faulty device (NVIDIA, "XID Errors", causes by number)."""


def health_reasons(
    health: Health | None, window: Window | NoWindow, spec: Spec, watched: HealthWatch | None
) -> Iterator[Reason]:
    """Why the numbers are not those of a sound and steady machine that was the run's own."""
    if health is None or watched is None:
        return
    gpus, known = _used(health, watched)
    hung = watched.hangs
    if hung is not None and hung != "cpu" and (hung in gpus or not gpus):
        message = f"{hung} never answered the last look at it, and health is that of the time before"
        yield Reason("hardware_error", message, {"device": hung})
    for name, gpu in gpus.items():
        yield from _hardware_errors(name, gpu)
        yield from _held_back("throttled", name, gpu, _HARD_THROTTLES)
        if known and gpu.other_compute_processes:
            yield _shared_gpu(name, gpu)
    if watched.computes_on_cpu:
        yield from _hot_processor(health.cpu)
        if _crowded(health.cpu, window):
            yield _company(health.cpu, spec)
    yield from _drifted(health, (THROUGHPUT,), spec)


def health_notes(
    health: Health | None, window: Window | NoWindow, spec: Spec, watched: HealthWatch | None
) -> Iterator[Reason]:
    """What is worth knowing of the machine and no reason to refuse the numbers."""
    if health is None or watched is None:
        return
    gpus, known = _used(health, watched)
    for name, gpu in gpus.items():
        yield from _held_back("power_capped", name, gpu, _CAPS)
        yield from _corrected_errors(name, gpu)
        untold = not known or gpu.other_compute_processes is None
        if untold and (gpu.compute_processes or 0) > 1:
            yield _perhaps_shared_gpu(name, gpu)
    if (_taken(health.cpu) or 0) > COMPANY_SHARE and not (watched.computes_on_cpu and _crowded(health.cpu, window)):
        yield _company(health.cpu, spec)
    yield from _starved(health.cpu)
    yield from _drifted(health, [name for name in health.drift if name != THROUGHPUT], spec)


def _used(health: Health, watched: HealthWatch) -> tuple[dict[str, GpuHealth], bool]:
    """The GPUs that the run used, and whether that is known: where it is not, those that may be are all that there are.

    An engine that does not say which ones it uses is found by its processes, where those can be seen.
    """
    if watched.gpus_used is not None:
        return health.gpus, True
    ours = {name: gpu for name, gpu in health.gpus.items() if gpu.own_compute_processes}
    return (ours, True) if ours else (health.gpus, False)


def _hardware_errors(name: str, gpu: GpuHealth) -> Iterator[Reason]:
    if gpu.lost_at_s is not None:
        message = f"{name} answered no more from {gpu.lost_at_s:.1f} s on"
        yield Reason("hardware_error", message, {"device": name, "lost_at_s": gpu.lost_at_s})
    if gpu.errors["xid_events"]:
        events, xid = int(gpu.errors["xid_events"]), gpu.last_xid or 0
        cause = ", which a faulty program can cause as well as the device" if xid in _PROGRAM_XIDS else ""
        message = f"the driver reported {_counted(events, 'XID event')} of {name}, the last with number {xid}{cause}"
        yield Reason("hardware_error", message, {"device": name, "xid_events": events, "last_xid": xid})
    if gpu.remapping_failed:
        yield Reason("hardware_error", f"{name} has memory rows that could not be remapped", {"device": name})
    for error in _FATAL_ERRORS:
        if count := gpu.errors[error]:
            message = f"{name} counted {count:.0f} {_words(error)} during the run"
            yield Reason("hardware_error", message, {"device": name, error: count})


def _corrected_errors(name: str, gpu: GpuHealth) -> Iterator[Reason]:
    counted = {
        error: count for error, count in gpu.errors.items() if count and error not in (*_FATAL_ERRORS, "xid_events")
    }
    if counted:
        told = ", ".join(f"{count:.0f} {_words(error)}" for error, count in counted.items())
        yield Reason("device_errors", f"{name} counted during the run: {told}", {"device": name, **counted})
    if gpu.remapping_pending:
        message = f"{name} has memory rows that are remapped when it is next reset"
        yield Reason("device_errors", message, {"device": name, "remapping_pending": 1})


def _held_back(code: ReasonCode | NoteCode, name: str, gpu: GpuHealth, throttles: Iterable[str]) -> Iterator[Reason]:
    shares = {
        reason: throttle.share
        for reason in throttles
        if (throttle := gpu.throttled[reason]) is not None
        and throttle.share > THROTTLED_SHARE
        and not (reason in _PASSING and throttle.found in (0, 1))
    }
    if shares:
        told = ", ".join(f"{_words(reason)} {share:.0%} of the time" for reason, share in shares.items())
        yield Reason(code, f"clocks of {name} were held back: {told}", {"device": name, **shares})


def _hot_processor(cpu: CpuHealth) -> Iterator[Reason]:
    share = cpu.package_throttle_share
    if share is not None and share > THROTTLED_SHARE:
        message = f"a processor was slowed down for its heat {share:.0%} of the time"
        yield Reason("throttled", message, {"device": "cpu", "package_throttle_share": share})


def _shared_gpu(name: str, gpu: GpuHealth) -> Reason:
    others = gpu.other_compute_processes or 0
    message = f"{_counted(others, 'process', 'es')} not of this run held a compute context on {name}"
    return Reason("not_alone", message, {"device": name, "others": others})


def _perhaps_shared_gpu(name: str, gpu: GpuHealth) -> Reason:
    processes = gpu.compute_processes or 0
    message = f"{processes} processes held a compute context on {name}, and which are of this run is not told here"
    return Reason("not_alone", message, {"device": name, "compute_processes": processes})


def _taken(cpu: CpuHealth) -> float | None:
    """Share of the processors' time that neither the run had nor could have had."""
    return None if cpu.others_share is None else cpu.others_share + (cpu.steal_share or 0.0)


def _crowded(cpu: CpuHealth, window: Window | NoWindow) -> bool:
    told = isinstance(window, Window) and window.seconds >= CPU_TOLD_S
    return told and (_taken(cpu) or 0.0) > CROWDED_SHARE and _contended(cpu)


def _contended(cpu: CpuHealth) -> bool:
    waiting = cpu.pressure["cpu"]
    idle = 1.0 if cpu.idle_share is None else cpu.idle_share
    if waiting is None:
        return idle < SPARE_SHARE
    return waiting > CROWDED_SHARE and idle < AMPLE_SHARE


def _company(cpu: CpuHealth, spec: Spec) -> Reason:
    shares = {"others_share": cpu.others_share or 0.0, "steal_share": cpu.steal_share or 0.0}
    idle, own = cpu.idle_share or 0.0, cpu.own_share or 0.0
    server = ", the server among them where it runs here," if spec.engine.kind == "endpoint" else ""
    message = (
        f"of the time of {cpu.cpus} CPUs other processes{server} took {shares['others_share']:.0%} and the hypervisor "
        f"{shares['steal_share']:.0%}, this run {own:.0%}, and {idle:.0%} was left"
    )
    evidence = {"cpus": cpu.cpus or 0, **shares, "own_share": own, "idle_share": idle}
    waiting = cpu.pressure["cpu"]
    if waiting is None:
        return Reason("not_alone", message, evidence)
    message += f"; something waited for a CPU {waiting:.0%} of the time"
    return Reason("not_alone", message, {**evidence, "cpu_pressure_share": waiting})


def _starved(cpu: CpuHealth) -> Iterator[Reason]:
    quota, memory = cpu.quota_throttled_share, cpu.pressure["memory"]
    if quota is not None and quota > STARVED_SHARE:
        message = f"the CPU quota of the run's control group held it back in {quota:.0%} of its periods"
        yield Reason("starved", message, {"quota_throttled_share": quota})
    if memory is not None and memory > STARVED_SHARE:
        message = f"processes of this machine waited for memory {memory:.0%} of the time"
        yield Reason("starved", message, {"memory_pressure_share": memory})


def _drifted(health: Health, names: Iterable[str], spec: Spec) -> Iterator[Reason]:
    for name in names:
        change = health.drift.get(name)
        if change is None or change.value is None or change.low is None or change.high is None:
            continue
        if change.low > DRIFT or change.high < -DRIFT:
            message = f"{name} changed by {change.value:+.0%} over the window ({change.low:+.0%} to {change.high:+.0%})"
            evidence: dict[str, float | str] = {"figure": name, "change": change.value}
            evidence |= {"low": change.low, "high": change.high}
            yield Reason("drifting", message + _remedy(name, spec), evidence)


def _remedy(name: str, spec: Spec) -> str:
    if name != THROUGHPUT or not isinstance(spec.load, ClosedLoadSpec) or spec.load.random_start:
        return ""
    return "; sessions that start in their middle (load.random_start) do not grow longer together"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"
