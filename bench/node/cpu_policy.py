"""How the processors are run: at which clocks, how deep they sleep, and how many threads a core has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.node.facts import AbsentError, Facts, read_int, read_text

_CPUS = "sys/devices/system/cpu"


def cpu_policy_facts(root: Path) -> dict[str, Any]:
    """The first processor's frequency policy, which those of one machine share, and whether it boosts and has SMT."""
    policy = root / _CPUS / "cpu0/cpufreq"
    facts = Facts()
    facts.take("governor", lambda: read_text(policy / "scaling_governor"))
    facts.take("energy_preference", lambda: read_text(policy / "energy_performance_preference"))
    facts.take("frequency_driver", lambda: read_text(policy / "scaling_driver"))
    facts.take("max_mhz", lambda: read_int(policy / "cpuinfo_max_freq") / 1000)
    facts.take("allowed_max_mhz", lambda: read_int(policy / "scaling_max_freq") / 1000)
    facts.take("turbo", lambda: _turbo(root / _CPUS))
    facts.take("smt", lambda: bool(read_int(root / _CPUS / "smt/active")))
    facts.take("idle_driver", lambda: read_text(root / _CPUS / "cpuidle/current_driver"))
    return facts.as_dict()


def _turbo(cpus: Path) -> bool:
    try:
        return not read_int(cpus / "intel_pstate/no_turbo")
    except AbsentError:
        pass  # another driver than Intel's
    try:
        return bool(read_int(cpus / "cpufreq/boost"))
    except AbsentError:
        raise AbsentError("neither intel_pstate/no_turbo nor cpufreq/boost tells whether clocks are boosted") from None
