"""How the kernel was started and what it does against attacks, as far as it changes how fast a machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.node.facts import Facts, entries_of, read_text

_PARAMETERS = (
    *("mitigations", "spectre_v2", "spec_store_bypass_disable", "nospectre_v1", "nospectre_v2", "pti", "nopti"),
    *("nosmt", "maxcpus", "nr_cpus", "isolcpus", "nohz", "nohz_full", "rcu_nocbs", "irqaffinity", "numa", "preempt"),
    *("intel_pstate", "amd_pstate", "cpufreq.default_governor", "cpuidle.governor", "idle", "skew_tick"),
    *("intel_idle.max_cstate", "processor.max_cstate", "pcie_aspm", "pci", "clocksource", "tsc", "nowatchdog"),
    *("transparent_hugepage", "default_hugepagesz", "hugepagesz", "hugepages", "numa_balancing", "init_on_alloc"),
    *("iommu", "intel_iommu", "amd_iommu", "iommu.passthrough", "iommu.strict", "mem", "memmap"),
    *("systemd.unified_cgroup_hierarchy", "swiotlb"),
)
"""The kernel parameters that are told. Others may name disks, networks or people, and are left out."""

_UNAFFECTED = "Not affected"


def kernel_facts(root: Path) -> dict[str, Any]:
    """Parameters that change speed, defences that are up, the clock that time is read from, and the IOMMU."""
    facts = Facts()
    facts.take("parameters", lambda: _parameters(root))
    facts.take("vulnerabilities", lambda: _vulnerabilities(root))
    facts.take("clock_source", lambda: read_text(_clock_sources(root) / "current_clocksource"))
    facts.take("iommu", lambda: bool(entries_of(root / "sys/class/iommu")))
    facts.take("tuned_profile", lambda: read_text(root / "etc/tuned/active_profile"))
    return facts.as_dict()


def clock_sources(root: Path) -> list[str]:
    """The clocks the kernel can read time from, best first. Raises AbsentError where they are not told."""
    return read_text(_clock_sources(root) / "available_clocksource").split()


def _clock_sources(root: Path) -> Path:
    return root / "sys/devices/system/clocksource/clocksource0"


def _parameters(root: Path) -> list[str]:
    # What follows a lone `--` is for the first process and not for the kernel.
    given = read_text(root / "proc/cmdline").split(" -- ")[0].split()
    return [one for one in given if one.partition("=")[0] in _PARAMETERS]


def _vulnerabilities(root: Path) -> dict[str, str]:
    """By name of each attack that these processors are open to: what stands against it, or that nothing does."""
    told = {file.name: read_text(file) for file in entries_of(root / "sys/devices/system/cpu/vulnerabilities")}
    return {name: text for name, text in told.items() if text != _UNAFFECTED}
